//! What the JSON Schema of a workflow is made of.
//!
//! A schema says what the compiler takes and no less, so that nothing is refused by whoever goes by the schema. What no
//! schema can say, or only one that nobody can read, is left to the compiler.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::domain::duration;

/// Where definitions stand that others refer to.
pub(super) const DEFINITIONS: &str = "#/$defs/";

/// A reference to a definition.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{DEFINITIONS}{name}") })
}

/// The definition of [`or_expression`].
pub(super) const EXPRESSION: &str = "Expression";

/// The schema of [`EXPRESSION`].
pub(super) fn expression() -> Value {
    json!({
        "type": "string",
        "pattern": r"\{[{%#]",
        "description": "Text with expressions in it, like `{{ nodes.fetch.body }}`, that yields the value.",
        "examples": ["{{ input.n }}"],
    })
}

/// What matches `schema`, or an expression that yields it.
pub(super) fn or_expression(schema: Value) -> Value {
    json!({ "anyOf": Value::Array(vec![schema, reference(EXPRESSION)]) })
}

/// A duration that the compiler bounds by `max`.
pub(super) fn duration(max: Duration) -> Value {
    json!({
        "type": "string",
        "pattern": r"^\s*([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?\s*$",
        "minLength": 2,
        "description": format!("A length of time like `250ms`, `5s` or `1m30s`, {} at most.", duration::format(max)),
        "examples": ["5s"],
    })
}

/// A condition.
pub(super) fn condition() -> Value {
    json!({ "type": ["string", "boolean"], "description": "An expression that yields true or false." })
}

/// Text of letters, digits, `_` and `-`.
pub(super) fn identifier(chars_max: usize) -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+$", "minLength": 1, "maxLength": chars_max })
}

/// One of some words.
pub(super) fn words(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// An object of texts.
pub(super) fn texts() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "string" } })
}

/// The schema with another description.
pub(super) fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

/// An object that has no properties but these.
pub(super) fn closed<'p>(
    properties: impl IntoIterator<Item = (&'p str, Value)>,
    required: &[&str],
) -> Value {
    let properties = properties.into_iter().map(|(name, schema)| (name.to_owned(), schema));
    let mut schema = json!({
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// The schema of an object that has exactly one of two properties.
pub(super) fn one_of_two(mut schema: Value, [first, second]: [&str; 2]) -> Value {
    schema["if"] = json!({ "required": [first] });
    schema["then"] = json!({ "properties": { second: false } });
    schema["else"] = json!({ "required": [second] });
    schema
}
