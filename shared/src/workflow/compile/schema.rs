//! The JSON Schema of a document, made of the tables that documents are read by.
//!
//! It takes whatever compiles, and refuses what a schema can tell: names and types of fields, words, ranges, sizes. What
//! names something else in the document, and what is written in expressions, is the compiler's alone.

use serde_json::{Value, json};

use crate::domain::kind::{Effect, NodeKind};
use crate::domain::limits::{
    ATTEMPTS_MAX, BACKOFF_MAX, DESCRIPTION_CHARS_MAX, EDGES_MAX, NAME_CHARS_MAX, NODE_TIMEOUT_MAX,
    NODES_MAX,
};
use crate::workflow::budget;
use crate::workflow::json_schema::{
    self, DEFINITIONS, EXPRESSION, closed, described, duration, one_of_two, reference, words,
};
use crate::workflow::params;

/// The definition of a whole document.
pub const DOCUMENT: &str = "WorkflowDocument";
/// The definition of what a run may spend.
pub const BUDGET: &str = "Budget";
const NODE: &str = "WorkflowNode";
const EDGE: &str = "WorkflowEdge";
const RETRY: &str = "RetryPolicy";

/// Everything that a document is made of, each definition with its name, the whole ([`DOCUMENT`]) first. They refer to
/// each other below `at`, for instance `#/$defs/`.
#[must_use]
pub fn definitions(at: &str) -> Vec<(String, Value)> {
    let mut definitions = vec![
        (DOCUMENT.to_owned(), document()),
        (NODE.to_owned(), node()),
        (EDGE.to_owned(), edge()),
        (RETRY.to_owned(), retry()),
        (BUDGET.to_owned(), budget::schema()),
        (EXPRESSION.to_owned(), json_schema::expression()),
    ];
    for kind in NodeKind::ALL {
        definitions.push((node_name(*kind), node_of(*kind)));
        definitions.push((params_name(*kind), params_of(*kind)));
    }
    for (_, schema) in &mut definitions {
        refer_below(at, schema);
    }
    definitions
}

fn refer_below(at: &str, schema: &mut Value) {
    match schema {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix(DEFINITIONS) {
                *text = format!("{at}{name}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer_below(at, item)),
        Value::Object(fields) => fields.values_mut().for_each(|field| refer_below(at, field)),
        _ => {}
    }
}

fn document() -> Value {
    let name = json!({
        "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$", "maxLength": NAME_CHARS_MAX,
        "examples": ["digest"],
    });
    let description =
        json!({ "type": "string", "pattern": r"^[^\x00]*$", "maxLength": DESCRIPTION_CHARS_MAX });
    let list = |of, min: usize, max| json!({ "type": "array", "items": reference(of), "minItems": min, "maxItems": max });
    let input = "A JSON Schema of what a run takes; the defaults in it are applied.";
    let properties = [
        ("name", described(name, "What runs are started by, and versions counted by.")),
        ("description", described(description, "What it is for, to people.")),
        ("input", described(json!({ "type": "object" }), input)),
        ("nodes", described(list(NODE, 1, NODES_MAX), "What is done.")),
        ("edges", described(list(EDGE, 0, EDGES_MAX), "What follows on what.")),
        (
            "output",
            json!({ "description": "What a run yields: JSON, in which text may hold expressions." }),
        ),
        ("budget", reference(BUDGET)),
    ];
    let about = "A workflow as people write it. Expressions are minijinja over `input`, `run` and `nodes.<id>`; a lone \
                 `{{ expression }}` keeps its type.";
    described(closed(properties, &["name", "nodes"]), about)
}

fn node() -> Value {
    let name = |kind: &NodeKind| node_name(*kind);
    let kinds: Vec<_> = NodeKind::ALL.iter().map(|kind| reference(&name(kind))).collect();
    let mapping = NodeKind::ALL.iter().map(|kind| {
        (kind.as_str().to_owned(), Value::from(format!("{DEFINITIONS}{}", name(kind))))
    });
    json!({
        "oneOf": kinds,
        "discriminator": { "propertyName": "type", "mapping": mapping.collect::<serde_json::Map<_, _>>() },
        "description": "A node, of one of the kinds.",
    })
}

fn node_name(kind: NodeKind) -> String {
    format!("{}Node", capitalized(kind))
}

fn params_name(kind: NodeKind) -> String {
    format!("{}Params", capitalized(kind))
}

fn capitalized(kind: NodeKind) -> String {
    let (first, rest) = kind.as_str().split_at(1);
    first.to_ascii_uppercase() + rest
}

fn node_of(kind: NodeKind) -> Value {
    let id = json!({
        "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]*$", "maxLength": NAME_CHARS_MAX, "examples": ["fetch"],
    });
    let on_error = words(&["fail", "continue", "branch"]);
    let mut properties = vec![
        ("id", described(id, "Its name, by which `nodes.<id>` is its output.")),
        ("type", json!({ "const": kind.as_str(), "type": "string" })),
        ("params", reference(&params_name(kind))),
        ("timeout", described(duration(NODE_TIMEOUT_MAX), "How long an attempt may take.")),
        (
            "on_error",
            described(
                on_error,
                "What becomes of the run when the node fails for good: it fails (unless given), it goes on with `default`, or the edges with `on: error` are followed.",
            ),
        ),
        (
            "default",
            json!({ "description": "What the node yields under `on_error: continue` when it fails." }),
        ),
    ];
    // What only computes would fail again, and crash without a trace.
    if params::effect(kind, &Value::Null) != Effect::Pure {
        properties.push(("retry", reference(RETRY)));
        let uncertain = "What follows on a crash in the middle of an effect that must not be repeated: it is repeated all the same, or the node fails (unless given).";
        properties.push(("on_uncertain", described(words(&["retry", "fail"]), uncertain)));
    }
    let params = params::of(kind);
    let needs_params = params.iter().any(|it| it.required) || params::alternatives(kind).is_some();
    let required: &[&str] = if needs_params { &["id", "type", "params"] } else { &["id", "type"] };
    let mut schema = closed(properties, required);
    schema["if"] =
        json!({ "properties": { "on_error": { "const": "continue" } }, "required": ["on_error"] });
    schema["then"] = json!({ "required": ["default"] });
    schema["else"] = json!({ "properties": { "default": false } });
    described(schema, &format!("A node of the type `{kind}`."))
}

fn params_of(kind: NodeKind) -> Value {
    let parameters = params::of(kind);
    let required: Vec<_> = parameters.iter().filter(|it| it.required).map(|it| it.name).collect();
    let schema = closed(parameters.iter().map(|it| (it.name, params::schema(it))), &required);
    let schema = match params::alternatives(kind) {
        Some(two) => one_of_two(schema, two),
        None => schema,
    };
    described(schema, &format!("The parameters of a node of the type `{kind}`."))
}

fn edge() -> Value {
    let id = || json!({ "type": "string" });
    let properties = [
        ("from", described(id(), "The id of the node before.")),
        ("to", described(id(), "The id of the node behind.")),
        (
            "when",
            described(json_schema::condition(), "Whether it is followed; always, unless given."),
        ),
        (
            "branch",
            described(
                id(),
                "The branch that it is followed on, where the node before chooses one.",
            ),
        ),
        (
            "on",
            described(
                words(&["success", "error"]),
                "What of the node before it is followed on: `success`, unless given.",
            ),
        ),
    ];
    described(closed(properties, &["from", "to"]), "What follows on what.")
}

fn retry() -> Value {
    let attempts = json!({ "type": "integer", "minimum": 1, "maximum": ATTEMPTS_MAX });
    let properties = [
        ("max_attempts", described(attempts, "Attempts in all, the first included.")),
        (
            "backoff",
            described(
                duration(BACKOFF_MAX),
                "The first wait at most; it doubles with each attempt.",
            ),
        ),
        ("max_backoff", described(duration(BACKOFF_MAX), "What it doubles up to.")),
        (
            "max_retry_after",
            described(duration(BACKOFF_MAX), "The longest wait that a server may ask for."),
        ),
    ];
    described(closed(properties, &["max_attempts"]), "When a failed node is tried again.")
}

#[cfg(test)]
mod tests;
