//! The JSON Schemas of what is special of an `llm` node, as it is written.

use serde_json::{Value, json};

use super::values::{ChatRole, NAME_BYTES_MAX, TOOL_NAME_CHARS_MAX};
use super::{FALLBACKS_MAX, MAX_TOKENS_MAX, MESSAGES_MAX, STOPS_MAX, TOOLS_MAX};
use crate::workflow::json_schema::{closed, identifier, or_expression, words};

/// A list, of which each entry may be an expression as well as the whole.
fn list(entry: Value, max: usize) -> Value {
    or_expression(json!({ "type": "array", "maxItems": max, "items": or_expression(entry) }))
}

/// A JSON Schema within the document.
fn any_schema() -> Value {
    or_expression(json!({ "type": ["object", "boolean"], "description": "A JSON Schema." }))
}

fn name() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX })
}

pub(super) fn messages() -> Value {
    let content =
        json!({ "type": ["string", "number", "boolean", "array", "object"], "items": {} });
    let message = [("role", or_expression(words(ChatRole::WORDS))), ("content", content)];
    let mut messages = list(closed(message, &["role", "content"]), MESSAGES_MAX);
    messages["anyOf"][0]["minItems"] = 1.into();
    messages
}

pub(super) fn schema() -> Value {
    any_schema()
}

pub(super) fn tools() -> Value {
    let name = or_expression(identifier(TOOL_NAME_CHARS_MAX));
    let tool = [
        ("name", name),
        ("description", json!({ "type": "string" })),
        ("parameters", any_schema()),
    ];
    list(closed(tool, &["name"]), TOOLS_MAX)
}

pub(in super::super) fn max_tokens() -> Value {
    or_expression(json!({ "type": "integer", "minimum": 1, "maximum": MAX_TOKENS_MAX }))
}

pub(in super::super) fn temperature() -> Value {
    or_expression(json!({ "type": "number", "minimum": 0, "maximum": 2 }))
}

pub(super) fn top_p() -> Value {
    or_expression(json!({ "type": "number", "minimum": 0, "maximum": 1 }))
}

pub(super) fn seed() -> Value {
    or_expression(json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }))
}

pub(super) fn stop() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    json!({ "anyOf": [text, { "type": "array", "maxItems": STOPS_MAX, "items": text }] })
}

pub(super) fn fallback() -> Value {
    let name = || or_expression(name());
    list(closed([("provider", name()), ("model", name())], &["model"]), FALLBACKS_MAX)
}
