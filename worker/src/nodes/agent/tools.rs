//! The tools of an agent: one file an implementation.

mod finish;
mod http;
mod mcp;
mod path;

use std::borrow::Cow;
use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;
use skein_shared::domain::failure::Failure;
use skein_shared::workflow::input::InputSchema;

use super::strategy::ToolResult;
use crate::models::{ToolCall, ToolSpec, parse_json};
use crate::nodes::{NodeContext, NodeError};

pub(super) use http::HttpTool;
pub(super) use mcp::{McpServer, Pinned};

/// Bytes of what a tool yields that the model reads. It stands in every request that follows: some fifteen thousand
/// tokens.
const OBSERVATION_BYTES_MAX: usize = 64 * 1024;
/// What checking arguments takes at most, in steps of some fifty nanoseconds: others wait for the thread. Arguments are
/// some hundred bytes.
const CHECK_STEPS_MAX: u64 = 100_000;
/// Bytes of the name of a tool that a model has made up, where it is shown.
const NAME_BYTES_MAX: usize = 64;

/// A tool.
///
/// It is called in a step: its intent is durable before, and what it yields is written down after. A crash in between
/// leaves open whether it was called; it is called again only if [`Tool::is_repeatable`], or if the node's `on_uncertain`
/// says so. Dropping a call abandons it.
#[async_trait]
pub(super) trait Tool: Send + Sync {
    /// How models are shown it.
    fn spec(&self) -> &ToolSpec;

    /// What OpenTelemetry calls its kind: `function` or `extension`.
    fn kind(&self) -> &'static str;

    /// Whether calling it twice with the same key does the same as calling it once.
    fn is_repeatable(&self) -> bool;

    /// Calls it. The arguments match its schema. `context` has the span and the time of the call. What goes wrong is
    /// what it yields: nothing of it fails the node.
    async fn call(
        &self,
        context: &NodeContext,
        idempotency_key: &str,
        arguments: Value,
    ) -> Observation;
}

/// What a tool yielded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observation {
    /// What came back, or what went wrong, for the model to read.
    pub(super) value: Value,
    /// Why it failed.
    pub(super) error: Option<Failure>,
}

impl Observation {
    /// What it is for.
    pub(super) fn of(value: Value) -> Self {
        Self { value, error: None }
    }

    /// A call that failed.
    pub(super) fn failed(failure: Failure) -> Self {
        let value = match &failure.details {
            Some(details) => format!("{}: {details}", failure.message),
            None => failure.message.clone(),
        };
        Self { value: value.into(), error: Some(failure) }
    }

    /// The same, cut where it gets too long for a model, with a note of how much was cut.
    pub(super) fn bounded(self) -> Self {
        let text = content(&self.value);
        if text.len() <= OBSERVATION_BYTES_MAX
            && escaped_len(&self.value) <= 2 * OBSERVATION_BYTES_MAX
        {
            return self;
        }
        let mut end = text.floor_char_boundary(OBSERVATION_BYTES_MAX);
        // Control characters grow sixfold where it is written down.
        while escaped_len(&Value::from(&text[..end])) > 2 * OBSERVATION_BYTES_MAX {
            end = text.floor_char_boundary(end / 2);
        }
        let note = format!("{}\n[cut: {end} of {} bytes]", &text[..end], text.len());
        Self { value: note.into(), ..self }
    }
}

impl From<NodeError> for Observation {
    fn from(error: NodeError) -> Self {
        Self::failed(error.failure)
    }
}

fn escaped_len(value: &Value) -> usize {
    // Keys are strings, so this does not fail.
    serde_json::to_string(value).map_or(0, |text| text.len())
}

/// What a tool yielded as a model reads it.
pub(super) fn content(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        value => Cow::Owned(value.to_string()),
    }
}

/// The tools that there are. What is not among them cannot be called, whatever the model says.
pub(super) struct Toolbox {
    /// By name.
    tools: BTreeMap<String, Offered>,
    /// As models are shown them, in the order of the document, the one that ends it last.
    specs: Vec<ToolSpec>,
}

struct Offered {
    tool: Box<dyn Tool>,
    /// What its arguments are checked by; absent where a server's schema cannot be bounded, which checks them itself.
    schema: Option<InputSchema>,
}

/// What a call of the model's comes to.
pub(super) enum Resolved<'t> {
    /// A tool is to be called.
    Call(&'t dyn Tool, Value),
    /// It is the one that ends the agent, with this answer.
    Finish(String),
    /// It cannot be called, and this is why, to the model.
    Malformed(String),
    /// There is no such tool.
    Unknown,
}

impl Toolbox {
    pub(super) fn new(tools: Vec<Box<dyn Tool>>) -> Self {
        let finish = finish::spec();
        let specs = tools.iter().map(|tool| tool.spec().clone()).chain([finish]).collect();
        let offered = tools.into_iter().map(|tool| {
            let schema = InputSchema::compile(&tool.spec().parameters, "").ok();
            (tool.spec().name.clone(), Offered { tool, schema })
        });
        Self { tools: offered.collect(), specs }
    }

    /// As models are shown them.
    pub(super) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Whether there is one besides the one that ends the agent.
    pub(super) fn has_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    /// What a call comes to. Pure: it comes to the same when the agent is taken up again.
    pub(super) fn resolve(&self, call: &ToolCall) -> Resolved<'_> {
        let is_finish = call.name == finish::NAME;
        let offered = self.tools.get(&call.name);
        if offered.is_none() && !is_finish {
            return Resolved::Unknown;
        }
        let arguments = match parse_json(&call.arguments) {
            Ok(Value::Object(arguments)) => Value::Object(arguments),
            Ok(_) => return Resolved::Malformed("the arguments are no JSON object".to_owned()),
            Err(error) => {
                return Resolved::Malformed(format!("the arguments are no JSON: {error}"));
            }
        };
        match offered {
            None => finish::answer(&arguments).map_or_else(Resolved::Malformed, Resolved::Finish),
            Some(Offered { tool, schema }) => match checked(schema.as_ref(), arguments) {
                Ok(arguments) => Resolved::Call(&**tool, arguments),
                Err(message) => Resolved::Malformed(message),
            },
        }
    }

    /// What the model reads that has called a tool that there is not.
    pub(super) fn unknown(&self, name: &str) -> ToolResult {
        let names: Vec<_> = self.specs.iter().map(|spec| &*spec.name).collect();
        let message =
            format!("there is no tool {}; there are {}", shown_name(name), names.join(", "));
        ToolResult { content: message, is_error: true, is_denied: false }
    }
}

/// The name of a tool that a model has made up, for people.
pub(super) fn shown_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

/// The arguments with the schema's defaults, if they match it.
fn checked(schema: Option<&InputSchema>, arguments: Value) -> Result<Value, String> {
    let Some(schema) = schema else { return Ok(arguments) };
    let mismatch =
        |message: String| format!("the arguments do not match the tool's schema: {message}");
    let completed = schema.complete(&arguments).map_err(|it| mismatch(it.message))?;
    let arguments = completed.unwrap_or(arguments);
    if schema.steps(&arguments) > CHECK_STEPS_MAX {
        return Err(mismatch("they are too large to be checked by it".to_owned()));
    }
    match schema.validate(&arguments) {
        Ok(()) => Ok(arguments),
        Err(diagnostics) => {
            let each = diagnostics.iter().take(10).map(|it| {
                let at = if it.pointer.is_empty() { "the whole" } else { &it.pointer };
                match it.hint.is_empty() {
                    true => format!("{at} {}", it.message),
                    false => format!("{at} {} ({})", it.message, it.hint),
                }
            });
            Err(mismatch(each.collect::<Vec<_>>().join("; ")))
        }
    }
}

#[cfg(test)]
mod tests;
