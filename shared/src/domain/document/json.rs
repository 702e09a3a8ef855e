//! JSON text, strictly.

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::strict::{Integers, Strict};
use crate::domain::fault::Fault;

/// Reads JSON; a key twice in one object and an integer of more than 64 bits are errors. A byte order mark is skipped.
///
/// # Errors
/// One fault that names line and column when the text is malformed or nests deeper than `depth`.
pub fn parse(text: &str, depth: usize) -> Result<Value, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let integers = Integers::of_json(text);
    Strict { depth, integers: &integers }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| {
            // serde_json's text ends in the place.
            Fault::new("", format!("malformed JSON: {error}"), "")
        })
}
