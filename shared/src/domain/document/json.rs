//! JSON text, strictly.

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::strict::Strict;
use crate::domain::fault::Fault;

/// Reads JSON; a key twice in one object is an error.
///
/// # Errors
/// One fault that names line and column when the text is malformed or nests deeper than `depth`.
pub fn parse(text: &str, depth: usize) -> Result<Value, Fault> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Strict { depth }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| {
            // serde_json's text ends in the place.
            Fault::new("", format!("malformed JSON: {error}"), "")
        })
}
