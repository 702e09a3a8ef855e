//! JSON text, strictly.

use serde::de::DeserializeSeed;
use serde_json::Value;
use serde_json::error::Category;

use super::integers::Integers;
use super::strict::{Pass, Strict, WordsOf};
use super::trail::Trail;
use crate::domain::diagnostic::Diagnostic;

/// Reads JSON; a key twice in one object and an integer of more than 64 bits are errors. A byte order mark is skipped.
///
/// # Errors
/// One diagnostic that names line and column when the text is malformed or nests deeper than `depth`. It points to the
/// value if the text is JSON up to there.
pub fn parse(text: &str, depth: usize) -> Result<Value, Diagnostic> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let integers = Integers::default();
    let value = read(text, depth, Pass::Values, &integers)?;
    if !integers.is_empty() {
        read(text, depth, Pass::Words(WordsOf::Json), &integers)?;
    }
    Ok(value)
}

fn read(text: &str, depth: usize, turn: Pass, integers: &Integers) -> Result<Value, Diagnostic> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let trail = Trail::default();
    Strict { depth, turn, integers, trail: &trail }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| diagnostic(&error, &trail))
}

fn diagnostic(error: &serde_json::Error, trail: &Trail) -> Diagnostic {
    let location = format!(" at line {} column {}", error.line(), error.column());
    if let Some(refusal) = trail.refusal(&location) {
        return refusal;
    }
    // serde_json's text ends in line and column.
    let text = error.to_string();
    if text.starts_with("number out of range") {
        let message = format!("a number that is too large{location}");
        return Diagnostic::new(trail.pointer(), message, "numbers up to 1.7e308; send it as text");
    }
    let hint = match error.classify() {
        Category::Eof => "the text ends too early: every quote, brace and bracket is closed",
        _ => {
            "names and texts in double quotes, commas between values and none after the last, no comments"
        }
    };
    Diagnostic::new("", format!("malformed JSON: {text}"), hint)
}
