//! What the spans of calls to models, of agents and of tools say: the table of the contract, key by key, with the types.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use skein_tests::otlp::{Kind, Span, Status};
use skein_tests::stack::{IDENTITY, workspace};

/// The spans, and what the collector is told that they are.
pub(crate) const KINDS: [(&str, Kind); 3] =
    [(LLM, Kind::Client), (AGENT, Kind::Internal), (TOOL, Kind::Internal)];
const LLM: &str = "llm.generate";
const AGENT: &str = "agent.execute";
const TOOL: &str = "tool.execute";
const STEPS: &[&str] = &[LLM, TOOL];
const ALL: &[&str] = &[LLM, AGENT, TOOL];

/// What a value is in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    /// `stringValue`.
    Text,
    /// `intValue`.
    Integer,
    /// `doubleValue`.
    Double,
    /// `boolValue`.
    Boolean,
    /// `arrayValue` of `stringValue`s.
    Texts,
}

/// When an attribute is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Always, also where the worker died and another one tells of it.
    Always,
    /// Where whoever made it has seen its end.
    Seen,
    /// Where the model has answered.
    Answered,
    /// Where it has failed.
    Failed,
    /// Where the workflow asks for it.
    Chosen,
    /// Where the model gives its calls names.
    Named,
    /// Where the operator wants contents to be exported.
    Content,
}

use Type::{Boolean, Double, Integer, Text, Texts};
use When::{Always, Answered, Chosen, Content, Failed, Named, Seen};

const TABLE: &[(&[&str], &str, Type, When)] = &[
    (ALL, "user.id", Text, Always),
    (ALL, "organization.id", Text, Always),
    (ALL, "workspace.id", Text, Always),
    (ALL, "workflow.id", Text, Always),
    (ALL, "workflow.version", Integer, Always),
    (ALL, "workflow.execution_id", Text, Always),
    (ALL, "node.id", Text, Always),
    (ALL, "error.type", Text, Failed),
    (ALL, "gen_ai.operation.name", Text, Always),
    (STEPS, "step.number", Integer, Always),
    (STEPS, "step.attempt", Integer, Always),
    // What the design says of llm.generate.
    (&[LLM], "llm.provider", Text, Always),
    (&[LLM], "llm.model", Text, Always),
    (&[LLM], "llm.input_tokens", Integer, Always),
    (&[LLM], "llm.output_tokens", Integer, Always),
    (&[LLM], "llm.total_tokens", Integer, Always),
    (&[LLM], "llm.cost_usd", Double, Always),
    (&[LLM], "llm.estimated", Boolean, Always),
    (&[LLM], "llm.latency_ms", Integer, Always),
    // What the conventions say of inference.
    (&[LLM], "gen_ai.provider.name", Text, Always),
    (&[LLM], "gen_ai.request.model", Text, Always),
    (&[LLM], "gen_ai.request.max_tokens", Integer, Always),
    (&[LLM], "gen_ai.request.stream", Boolean, Seen),
    (&[LLM], "gen_ai.request.temperature", Double, Chosen),
    (&[LLM], "gen_ai.request.top_p", Double, Chosen),
    (&[LLM], "gen_ai.request.seed", Integer, Chosen),
    (&[LLM], "gen_ai.request.stop_sequences", Texts, Chosen),
    (&[LLM], "gen_ai.output.type", Text, Seen),
    (&[LLM], "gen_ai.response.id", Text, Answered),
    (&[LLM], "gen_ai.response.model", Text, Answered),
    (&[LLM], "gen_ai.response.finish_reasons", Texts, Answered),
    (&[LLM], "gen_ai.response.time_to_first_chunk", Double, Answered),
    (&[LLM], "gen_ai.server.ttft", Double, Answered),
    (&[LLM], "gen_ai.usage.input_tokens", Integer, Answered),
    (&[LLM], "gen_ai.usage.output_tokens", Integer, Answered),
    (&[LLM], "gen_ai.usage.cache_read.input_tokens", Integer, Answered),
    (&[LLM], "gen_ai.usage.cache_creation.input_tokens", Integer, Answered),
    (&[LLM], "gen_ai.input.messages", Text, Content),
    (&[LLM], "gen_ai.output.messages", Text, Content),
    (&[LLM], "server.address", Text, Seen),
    (&[LLM], "server.port", Integer, Seen),
    // What the design says of agent.execute.
    (&[AGENT], "agent.id", Text, Always),
    (&[AGENT], "agent.type", Text, Always),
    (&[AGENT], "agent.framework", Text, Seen),
    (&[AGENT], "agent.provider", Text, Seen),
    (&[AGENT], "agent.model", Text, Seen),
    (&[AGENT], "agent.tokens_used", Integer, Seen),
    (&[AGENT], "agent.cost", Double, Seen),
    (&[AGENT], "agent.iterations", Integer, Seen),
    // What the conventions say of agents and of their tools.
    (&[AGENT], "gen_ai.agent.name", Text, Always),
    (&[AGENT], "gen_ai.agent.id", Text, Always),
    (&[TOOL], "gen_ai.tool.name", Text, Always),
    (&[TOOL], "gen_ai.tool.type", Text, Seen),
    (&[TOOL], "gen_ai.tool.call.id", Text, Named),
    (&[TOOL], "gen_ai.tool.call.arguments", Text, Content),
    (&[TOOL], "gen_ai.tool.call.result", Text, Content),
];

impl Type {
    /// What semconv calls them.
    const WORDS: [(&str, Self); 5] = [
        ("String", Text),
        ("Integer", Integer),
        ("Double", Double),
        ("Boolean", Boolean),
        ("Strings", Texts),
    ];

    fn is_of(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Integer => value.is_i64(),
            Self::Double => value.is_f64(),
            Self::Boolean => value.is_boolean(),
            Self::Texts => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
        }
    }
}

/// Checks that a span has exactly the attributes that the table says for what holds of it, [`When::Always`] apart: each
/// once, with its type; and its kind, its status and whose it is.
///
/// # Panics
/// When it is not so; says all that is wrong.
pub(crate) fn assert_attributes(span: &Span, holds: &[When]) {
    let wrong = mismatches(span, holds);
    assert!(wrong.is_empty(), "{}:\n  {}\n{span:#?}", span.name, wrong.join("\n  "));
}

/// What [`assert_attributes`] finds wrong.
pub(crate) fn mismatches(span: &Span, holds: &[When]) -> Vec<String> {
    let mut wrong = Vec::new();
    let of_span: BTreeMap<_, _> = TABLE
        .iter()
        .filter(|(spans, ..)| spans.contains(&span.name.as_str()))
        .map(|(_, key, value, when)| (*key, (*value, *when)))
        .collect();
    for (key, (value, when)) in &of_span {
        let is_due = *when == Always || holds.contains(when);
        match span.attributes.get(*key) {
            None if is_due => wrong.push(format!("{key} is missing")),
            Some(_) if !is_due => wrong.push(format!("{key} is there, which is due {when:?}")),
            Some(found) if !value.is_of(found) => {
                wrong.push(format!("{key} is {found}, not {value:?}"));
            }
            _ => {}
        }
    }
    let others = span.attributes.keys().filter(|key| !of_span.contains_key(key.as_str()));
    wrong.extend(others.map(|key| format!("{key} is in no line of the table")));
    wrong.extend(span.repeated.iter().map(|key| format!("{key} is there twice")));
    let kind = KINDS.iter().find(|(name, _)| *name == span.name).map(|(_, kind)| *kind);
    if kind != Some(span.kind) {
        wrong.push(format!("it is {:?}, not {kind:?}", span.kind));
    }
    if matches!(span.status, Status::Error(_)) != holds.contains(&Failed) {
        wrong.push(format!("its status is {:?}", span.status));
    }
    let keys = ["organization.id", "workspace.id", "user.id"];
    for (key, who) in keys.into_iter().zip(IDENTITY) {
        if span.attributes.get(key).is_none_or(|found| found != who) {
            wrong.push(format!("{key} is not {who}"));
        }
    }
    wrong
}

/// The constants of semconv: their names, the keys, and the words that describe them.
fn named_keys() -> Vec<[String; 3]> {
    let telemetry = workspace().join("shared/src/telemetry");
    let read = |path| std::fs::read_to_string(telemetry.join(path)).expect("it is there");
    let source = ["semconv.rs", "semconv/metrics.rs"].map(read).concat();
    let (mut keys, mut words) = (Vec::new(), String::new());
    for line in source.lines() {
        if let Some(more) = line.strip_prefix("/// ") {
            words.push_str(more);
            words.push(' ');
        } else if let Some(rest) = line.strip_prefix("pub const ") {
            let (name, value) = rest.split_once(": &str = \"").expect("a text on one line");
            let value = value.trim_end_matches("\";");
            keys.push([name.to_owned(), value.to_owned(), std::mem::take(&mut words)]);
        } else {
            words.clear();
        }
    }
    assert!(keys.len() > 80, "only {} keys found", keys.len());
    keys
}

#[test]
fn the_table_has_a_line_for_every_key_of_models_agents_tools_and_steps() {
    const PREFIXES: [&str; 5] = ["LLM_", "AGENT_", "GEN_AI_", "TOOL_", "STEP_"];
    let named = named_keys();
    let lines: BTreeSet<_> = TABLE.iter().map(|(_, key, ..)| *key).collect();
    assert_eq!(lines.len(), TABLE.len(), "a key has two lines");
    let is_meant = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let missing: Vec<_> = named
        .iter()
        .filter(|[name, key, _]| is_meant(name) && !lines.contains(key.as_str()))
        .collect();
    assert!(missing.is_empty(), "in no line of the table: {missing:#?}");
    for (_, key, value, _) in TABLE {
        let found = named.iter().find(|[_, named, _]| named == key);
        let [_, _, words] = found.unwrap_or_else(|| panic!("semconv does not name {key}"));
        // The last of them: a sentence may begin with one.
        let of = |told: &str| Type::WORDS.iter().find(|(word, _)| *word == told).map(|it| it.1);
        let told = words.split(|c: char| !c.is_alphanumeric()).rev().find_map(of);
        assert_eq!(told, Some(*value), "the type of {key}: {words}");
    }
}
