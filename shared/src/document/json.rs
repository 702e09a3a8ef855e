//! JSON text, strictly.

use serde::de::DeserializeSeed;
use serde_json::Value;
use serde_json::error::Category;

use super::integers::Integers;
use super::strict::{Pass, Strict, WordsOf};
use super::trail::Trail;
use crate::domain::diagnostic::{Diagnostic, Position};

/// Reads JSON; a key twice in one object and an integer of more than 64 bits are errors. A byte order mark is skipped.
///
/// # Errors
/// One diagnostic with line and column when the text is malformed or nests deeper than `depth`. It points to the value if
/// the text is JSON up to there.
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
        .map_err(|error| {
            let found = diagnostic(&error, &trail);
            found.at(position(text, &error))
        })
}

/// Where an error lies. serde_json counts columns in bytes, and says 0 where a line has only begun.
fn position(text: &str, error: &serde_json::Error) -> Position {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let bytes = line.floor_char_boundary(error.column().saturating_sub(1));
    Position { line: error.line().max(1), column: line[..bytes].chars().count() + 1 }
}

fn diagnostic(error: &serde_json::Error, trail: &Trail) -> Diagnostic {
    if let Some(refusal) = trail.refusal() {
        return refusal;
    }
    // serde_json's text ends in line and column.
    let text = error.to_string();
    let text = text.split_once(" at line ").map_or(&*text, |(text, _)| text);
    if text.starts_with("number out of range") {
        let hint = "numbers up to 1.7e308; send it as text";
        return Diagnostic::new(trail.pointer(), "a number that is too large", hint);
    }
    let hint = match error.classify() {
        Category::Eof => "the text ends too early: every quote, brace and bracket is closed",
        _ => {
            "names and texts in double quotes, commas between values and none after the last, no comments"
        }
    };
    Diagnostic::new("", format!("malformed JSON: {text}"), hint)
}
