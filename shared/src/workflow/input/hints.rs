//! What would be right where an input does not match its schema.

use jsonschema::JsonType;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

/// Characters of a schema's value in a hint: what fits into two lines.
const VALUE_CHARS_MAX: usize = 120;
/// Values or names that a hint lists; more are not read.
const LISTED_MAX: usize = 12;

/// What would be right; empty where the message says it all. Values in it are the schema's, none the input's.
pub(super) fn hint(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Type { kind: TypeKind::Single(it) } => noun(*it).to_owned(),
        Kind::Type { kind: TypeKind::Multiple(types) } => {
            types.iter().map(noun).collect::<Vec<_>>().join(" or ")
        }
        Kind::Required { property } => format!("add {}", quoted(property)),
        Kind::Enum { options } => {
            format!("one of {}", listed(options.as_array().into_iter().flatten().map(cut)))
        }
        Kind::Constant { expected_value } => format!("only {}", cut(expected_value)),
        Kind::Maximum { limit } => format!("at most {limit}"),
        Kind::Minimum { limit } => format!("at least {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::MaxLength { limit } => {
            format!("at most {}", count(*limit, "character", "characters"))
        }
        Kind::MinLength { limit } => {
            format!("at least {}", count(*limit, "character", "characters"))
        }
        Kind::MaxItems { limit } => format!("at most {}", count(*limit, "item", "items")),
        Kind::MinItems { limit } => format!("at least {}", count(*limit, "item", "items")),
        Kind::AdditionalItems { limit } => {
            format!("at most {}", count(*limit as u64, "item", "items"))
        }
        Kind::MaxProperties { limit } => {
            format!("at most {}", count(*limit, "property", "properties"))
        }
        Kind::MinProperties { limit } => {
            format!("at least {}", count(*limit, "property", "properties"))
        }
        Kind::Pattern { pattern } => format!("text that matches `{}`", shortened(pattern)),
        Kind::Format { format } => match example(format) {
            Some(example) => format!("a text like `{example}`"),
            None => format!("a text of the format `{}`", shortened(format)),
        },
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            leave_out(unexpected.iter())
        }
        Kind::UnevaluatedItems { .. } => "fewer items".to_owned(),
        Kind::UniqueItems => "each item once".to_owned(),
        Kind::Contains => "an item that fits `contains`".to_owned(),
        _ => String::new(),
    }
}

/// What to do about properties that may not be there.
pub(super) fn leave_out<'n>(names: impl Iterator<Item = &'n String>) -> String {
    format!("leave out {}", listed(names.map(|name| format!("`{}`", shortened(name)))))
}

fn noun(of: JsonType) -> &'static str {
    match of {
        JsonType::Array => "a list",
        JsonType::Boolean => "`true` or `false`",
        JsonType::Integer => "a whole number",
        JsonType::Null => "`null`",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "text",
    }
}

/// A text in the formats that people get wrong.
fn example(format: &str) -> Option<&'static str> {
    Some(match format {
        "date" => "2026-01-31",
        "time" => "12:00:00Z",
        "date-time" => "2026-01-31T12:00:00Z",
        "duration" => "P1DT12H",
        "email" | "idn-email" => "ada@example.com",
        "hostname" | "idn-hostname" => "www.example.com",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uri" | "iri" => "https://example.com/path",
        "uuid" => "0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f",
        _ => return None,
    })
}

fn count(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn listed(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.take(LISTED_MAX + 1).collect();
    if words.len() > LISTED_MAX {
        words[LISTED_MAX] = "…".to_owned();
    }
    words.join(", ")
}

fn quoted(name: &Value) -> String {
    match name {
        Value::String(name) => format!("`{}`", shortened(name)),
        other => cut(other),
    }
}

/// A value as JSON, cut to a readable length.
fn cut(value: &Value) -> String {
    shortened(&value.to_string())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
