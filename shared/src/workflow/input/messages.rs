//! Errors of the validator, said with their location and what would be right.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::hints;
use crate::domain::diagnostic::quoted;
use crate::domain::diagnostic::{Diagnostic, nearest};

/// Alternatives that a hint describes.
const ALTERNATIVES_TOLD_MAX: usize = 3;
const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
const SCHEMA: &str = "a schema: an object, `true` or `false`";
const PATTERN: &str =
    "a short regular expression without look-around and back-references, which take unbounded time";

/// What is wrong with a schema.
pub(super) fn schema_diagnostic(error: &ValidationError<'_>) -> Diagnostic {
    let pointer = error.instance_path().as_str();
    let (mut keyword, mut hint) = keyword_and_hint(pointer);
    // The pattern is the key there.
    if error.instance().is_string() && pointer.contains("/patternProperties/") && hint == SCHEMA {
        (keyword, hint) = ("patternProperties".to_owned(), PATTERN);
    }
    let value = error.instance().to_string();
    let mut hint = hint.to_owned();
    let message = match error.kind() {
        ValidationErrorKind::Referencing(_) => {
            hint = "a JSON Schema that refers to nothing outside of itself".to_owned();
            format!("no valid JSON Schema: {error}")
        }
        _ if keyword.is_empty() => format!("no valid JSON Schema: {}", error.masked()),
        _ => format!("no valid JSON Schema: {} is nothing that `{keyword}` takes", quoted(&value)),
    };
    if keyword == "type"
        && let Some(name) = error.instance().as_str().and_then(|word| nearest(word, TYPES))
    {
        hint = format!("did you mean `{name}`?");
    }
    Diagnostic::new(pointer, message, hint)
}

/// The keyword that a pointer leads to or into, and what it takes.
fn keyword_and_hint(pointer: &str) -> (String, &'static str) {
    const BY_NAME: [&str; 5] =
        ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
    let tokens: Vec<&str> = pointer.split('/').skip(1).collect();
    let is_index = |token: &&str| token.bytes().all(|byte| byte.is_ascii_digit());
    let Some(at) = tokens.iter().rposition(|token| !is_index(token)) else {
        return (String::new(), SCHEMA);
    };
    let keyword = tokens[at].to_owned();
    if at > 0 && BY_NAME.contains(&tokens[at - 1]) {
        return (keyword, SCHEMA);
    }
    let hint = match tokens[at] {
        "type" => "array, boolean, integer, null, number, object or string, or a list of these",
        "properties" | "$defs" | "definitions" | "dependentSchemas" => {
            "an object with a schema for each name"
        }
        "required" => "a list of names, each of them once",
        "enum" => "a list of values",
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => "a list of at least one schema",
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => "a number",
        "multipleOf" => "a number above 0",
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
        | "minContains" | "maxContains" => "a whole number from 0",
        "uniqueItems" => "`true` or `false`",
        "pattern" | "patternProperties" => PATTERN,
        "$schema" => "a draft of JSON Schema, like https://json-schema.org/draft/2020-12/schema",
        "$ref" => "`#/$defs/NAME`",
        "title" | "description" | "format" | "$comment" => "text",
        _ => SCHEMA,
    };
    (keyword, hint)
}

/// What is wrong with an input. Names no value of it.
pub(super) fn input_diagnostic(error: &ValidationError<'_>, input: &Value) -> Diagnostic {
    let pointer = error.instance_path().as_str();
    match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            Diagnostic::new(
                pointer,
                "fits none of the alternatives",
                alternatives(pointer, context),
            )
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            let message = "fits more than one of the alternatives";
            Diagnostic::new(pointer, message, "a value that fits exactly one of them")
        }
        ValidationErrorKind::FalseSchema => {
            // The validator blames the object, and does not say which of its properties.
            let keyword = error.schema_path().as_str().rsplit('/').next();
            let is_of_object = matches!(keyword, Some("additionalProperties" | "propertyNames"));
            let object = input.pointer(pointer).and_then(Value::as_object).filter(|_| is_of_object);
            match object {
                Some(object) => {
                    let hint = hints::leave_out(object.keys());
                    Diagnostic::new(pointer, "no property may be here", hint)
                }
                None => Diagnostic::new(pointer, "nothing may be here", "leave it out"),
            }
        }
        kind => Diagnostic::new(pointer, error.masked().to_string(), hints::hint(kind)),
    }
}

/// Why each of the alternatives does not fit, by the first error of each.
fn alternatives(pointer: &str, context: &[Vec<ValidationError<'_>>]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for error in context.iter().filter_map(|errors| errors.first()) {
        let location = error.instance_path().as_str();
        let location = location.strip_prefix(pointer).unwrap_or(location);
        let reason = error.masked().to_string();
        let reason = if location.is_empty() { reason } else { format!("{location}: {reason}") };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    let more = reasons.len().saturating_sub(ALTERNATIVES_TOLD_MAX);
    reasons.truncate(ALTERNATIVES_TOLD_MAX);
    let mut text = reasons.join("; or ");
    if more > 0 {
        text.push_str(&format!("; or {more} others"));
    }
    text
}
