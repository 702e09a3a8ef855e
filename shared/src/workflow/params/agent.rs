//! `agent`: has a model reach a goal, by tools that it may call.
//!
//! Each call to the model and each call to a tool is a step: written down before it is made and when it is done, so that
//! a crash costs no more than the one under way. The output is `{answer, iterations, usage, cost_usd, stopped_by, steps}`.
//!
//! # What ends it
//!
//! `stopped_by` is `answer` (the model answered without calling a tool, or its framework has come to its end), `finish`
//! (it called the built-in tool of that name), `denied` (it ended in its first answer after a call was forbidden),
//! or the limit of its own that was reached: `iterations`, `tokens`, `usd` or `wall`. Limits are looked at between two
//! steps, so the last one may exceed them; a budget is what is never exceeded. What a limit stops ends well, with what
//! the model has said so far, unless `on_exhausted: fail` says that it is a failure (`agent_exhausted`).
//!
//! # Tools
//!
//! The templates of an `http` tool are rendered when it is called, with what the model calls it with as `args`. Those can
//! never choose scheme, host or port, and names of headers hold no expressions at all. Of an MCP server only the tools in
//! `allow` exist. What a tool answers is what the model reads, cut where it gets too long; a tool that fails is no failure
//! of the node, but something that the model reads as well.
//!
//! # When it is repeated
//!
//! After a crash a call is made again with the same `Idempotency-Key`, which is `{run}_{node}_{scope}_{step}`. A tool of
//! an MCP server, and a POST or PATCH with `idempotency_key: false`, cannot be repeated safely: then the node's
//! `on_uncertain` says whether it is.

mod limits;
mod tools;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::llm::{self, MAX_TOKENS, is_max_tokens, max_tokens};
use super::{Definition, Output, Parameter, Reader, Rendered, Shape};
use crate::domain::diagnostic::nearest;
use crate::domain::diagnostic::quoted;
use crate::domain::kind::Effect;
use crate::domain::limits::DELAY_MAX;
use crate::domain::words::words;
use crate::workflow::fields::type_of;
use crate::workflow::json_schema::duration;

pub use limits::AgentLimits;
pub use tools::{FINISH, HttpToolParams, McpParams, ToolParams, authority_end};

/// Tokens of an answer at most, unless given.
const MAX_TOKENS_DEFAULT: u32 = 4_096;
/// How long somebody may think about a call, unless given.
const APPROVAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// The time of an attempt. What an agent may work has a limit of its own, and no attempt is longer than that.
const TIMEOUT: Duration = Duration::from_secs(25 * 3600);

words!(
    /// How an agent goes about its goal.
    #[derive(Default)]
    "framework" Framework {
        /// Thinks and acts in turns until it has an answer.
        #[default]
        React = "react",
        /// Makes a list of tasks, works them off and puts the rest in a new order after each.
        AgentGpt = "agentgpt",
        /// Makes a plan, acts and criticizes itself until it says that it is done.
        AutoGpt = "autogpt",
    }
);

words!(
    /// What becomes of an agent that has reached a limit of its own.
    #[derive(Default)]
    "way to end" OnLimit {
        /// It ends with what it has.
        #[default]
        Stop = "stop",
        /// It fails.
        Fail = "fail",
    }
);

/// Rendered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentParams {
    /// How it goes about its goal.
    #[serde(default)]
    pub framework: Framework,
    /// What it is to reach.
    pub goal: String,
    /// What it is besides, to the model.
    pub system: Option<String>,
    /// Who is asked; the only provider there is, unless given.
    pub provider: Option<String>,
    /// Which model.
    pub model: String,
    /// What it may call.
    #[serde(default)]
    pub tools: Vec<ToolParams>,
    /// What it may take.
    pub limits: AgentLimits,
    /// The tools that wait for somebody's decision before each call.
    #[serde(default)]
    pub approve: Vec<String>,
    /// How long they wait for it, in milliseconds.
    pub approval_timeout_ms: u64,
    /// What becomes of it when it has reached a limit.
    #[serde(default)]
    pub on_exhausted: OnLimit,
    /// Tokens of each answer at most.
    #[serde(deserialize_with = "max_tokens")]
    pub max_tokens: u32,
    /// How freely the model chooses.
    pub temperature: Option<f64>,
}

impl Rendered for AgentParams {}

pub(super) const DEFINITION: Definition = Definition {
    parameters: &[
        Parameter {
            name: "framework",
            shape: Shape::Word(Framework::WORDS),
            required: false,
            doc: "How it goes about its goal: react unless given.",
        },
        Parameter {
            name: "goal",
            shape: Shape::Text,
            required: false,
            doc: "What it is to reach.",
        },
        Parameter {
            name: "prompt",
            shape: Shape::Text,
            required: false,
            doc: "Another word for `goal`.",
        },
        Parameter {
            name: "system",
            shape: Shape::Text,
            required: false,
            doc: "What the model is to be and do, before what its framework says.",
        },
        Parameter {
            name: "provider",
            shape: Shape::Text,
            required: false,
            doc: "Who is asked: a provider of the worker; the only one that there is, unless given.",
        },
        Parameter {
            name: "model",
            shape: Shape::Text,
            required: true,
            doc: "The model, as its provider calls it.",
        },
        Parameter {
            name: "tools",
            shape: Shape::Special(tools::schema),
            required: false,
            doc: "What it may call: a list of `{http: {name, description, parameters, method, url, headers, body, idempotency_key}}` and `{mcp: {url, headers, allow}}`.",
        },
        Parameter {
            name: "limits",
            shape: Shape::Special(limits::schema),
            required: false,
            doc: "What it may take: `{iterations, tokens, usd, wall}`; 20 iterations and an hour of work unless given.",
        },
        Parameter {
            name: "approve",
            shape: Shape::Special(approve_schema),
            required: false,
            doc: "The tools of which each call waits for somebody's decision: a list of names, or true for all.",
        },
        Parameter {
            name: "approval_timeout",
            shape: Shape::Special(approval_timeout_schema),
            required: false,
            doc: "When no decision counts as a refusal: 24h unless given.",
        },
        Parameter {
            name: "on_exhausted",
            shape: Shape::Word(OnLimit::WORDS),
            required: false,
            doc: "Whether a limit that is reached is an end (stop, unless given) or a failure (fail).",
        },
        Parameter {
            name: "max_tokens",
            shape: Shape::Checked(llm::max_tokens_schema),
            required: false,
            doc: "Tokens of each answer at most: 4096 unless given.",
        },
        Parameter {
            name: "temperature",
            shape: Shape::Checked(llm::temperature_schema),
            required: false,
            doc: "How freely the model chooses, from 0 to 2.",
        },
    ],
    chooses_branch: false,
    always_fails: false,
    effect,
    timeout: TIMEOUT,
    output: Output::Members(&["answer", "iterations", "usage", "cost_usd", "stopped_by", "steps"]),
    compile,
};

/// That of the most harmful of its tools. `params` as written.
fn effect(params: &Value) -> Effect {
    let tools = params.get("tools").and_then(Value::as_array);
    let is_unsafe = tools.into_iter().flatten().any(|tool| tools::effect(tool) == Effect::Unsafe);
    if is_unsafe { Effect::Unsafe } else { Effect::Keyed }
}

fn compile(reader: &mut Reader<'_, '_>) {
    if !reader.fields.has("framework") {
        reader.put_constant("framework", Framework::default().as_str());
    }
    if !reader.fields.has("on_exhausted") {
        reader.put_constant("on_exhausted", OnLimit::default().as_str());
    }
    reader.take(&["framework", "system", "provider", "model", "on_exhausted"]);
    goal(reader);
    let names = tools::compile(reader);
    limits::compile(reader);
    approve(reader, &names);
    numbers(reader);
}

fn goal(reader: &mut Reader<'_, '_>) {
    let name = match (reader.fields.has("goal"), reader.fields.has("prompt")) {
        (true, true) => {
            reader.diagnostic("prompt", "`prompt` beside `goal`", "an agent has one of the two");
            return;
        }
        (false, false) => {
            let (pointer, hint) = (reader.fields.pointer.clone(), "write what it is to reach");
            reader.diagnostics.add(pointer, "`goal` is missing", hint);
            return;
        }
        (true, false) => "goal",
        (false, true) => "prompt",
    };
    let pointer = reader.fields.at(name);
    let Some(value) = reader.fields.get(name) else { return };
    if let Some(text) = reader.text(name, value, &pointer) {
        reader.put("goal", text);
    }
    if value.as_str().is_some_and(|text| text.trim().is_empty()) {
        reader.diagnostic(name, format!("`{name}` is empty"), "write what it is to reach");
    }
}

/// `names` are those of its tools.
fn approve(reader: &mut Reader<'_, '_>, names: &[String]) {
    let approved: Vec<String> = match reader.fields.get("approve") {
        None | Some(Value::Bool(false)) => Vec::new(),
        Some(Value::Bool(true)) => names.to_vec(),
        Some(Value::Array(entries)) => {
            for (at, entry) in entries.iter().enumerate() {
                let pointer = format!("{}/{at}", reader.fields.at("approve"));
                unknown_tool(entry, names).into_iter().for_each(|(message, hint)| {
                    reader.diagnostics.add(&pointer, message, hint);
                });
            }
            entries.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(other) => {
            let message = format!("`approve` is {}, not a list of tools", type_of(other));
            reader.diagnostic("approve", message, "names of tools, or true for all");
            Vec::new()
        }
    };
    reader.put_constant("approve", approved);
    let timeout = reader.fields.duration("approval_timeout", DELAY_MAX, reader.diagnostics);
    if timeout == Some(Duration::ZERO) {
        let hint = "how long somebody has to decide, like `24h`";
        reader.diagnostic("approval_timeout", "`approval_timeout` is nothing", hint);
    }
    let timeout = timeout.unwrap_or(APPROVAL_TIMEOUT_DEFAULT);
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    reader.put_constant("approval_timeout_ms", millis);
}

fn approve_schema() -> Value {
    let name = json!({ "type": "string" });
    json!({ "anyOf": [{ "type": "boolean" }, { "type": "array", "items": name }] })
}

fn approval_timeout_schema() -> Value {
    duration(DELAY_MAX)
}

/// What is wrong with the name of a tool that is to be approved, and what would be right.
fn unknown_tool(entry: &Value, names: &[String]) -> Option<(String, String)> {
    let Some(name) = entry.as_str() else {
        let message = format!("{} where the name of a tool is due", type_of(entry));
        return Some((message, "one of its tools".to_owned()));
    };
    if names.iter().any(|known| known == name) {
        return None;
    }
    let known = names.iter().map(String::as_str);
    let hint = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if name == FINISH => "ending needs no approval".to_owned(),
        None if names.is_empty() => "there are none".to_owned(),
        None => format!("there are {}", names.join(", ")),
    };
    Some((format!("there is no tool {}", quoted(name)), hint))
}

fn numbers(reader: &mut Reader<'_, '_>) {
    let max_tokens = reader.fields.get("max_tokens");
    if max_tokens.is_none() {
        reader.put_constant("max_tokens", MAX_TOKENS_DEFAULT);
    }
    reader.take(&["max_tokens", "temperature"]);
    let is_written = |value: &&Value| !value.as_str().is_some_and(|text| text.contains("{{"));
    if let Some(value) = max_tokens.filter(is_written)
        && !is_max_tokens(value)
    {
        let hint = MAX_TOKENS;
        reader.diagnostic("max_tokens", "`max_tokens` is no number of tokens", hint);
    }
    if let Some(value) = reader.fields.get("temperature").filter(is_written)
        && !value.as_f64().is_some_and(|number| (0.0..=2.0).contains(&number))
    {
        reader.diagnostic("temperature", "`temperature` is none", "a number from 0 to 2");
    }
}

#[cfg(test)]
mod tests;
