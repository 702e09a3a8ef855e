//! Values that people and YAML read differently: `007`, which is a postcode to one and seven to the other, and
//! `!!binary`, of which JSON has nothing.
//!
//! The parser does not say how a value was written. So a text that may have such values is read once more, literally;
//! where the readings differ, there is one.

use serde_json::Value;

use crate::domain::diagnostic::{Diagnostic, join_pointer};

/// Whether a text may have such values; if it has none, it need not be read again.
pub(super) fn may_be_in(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c));
    let has_leading_zero = |word: &str| {
        let digits = word.trim_start_matches(['+', '-']);
        digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|it| it.is_ascii_digit())
    };
    text.contains("binary") || words.any(has_leading_zero)
}

/// The first value that was read otherwise than it is written.
pub(super) fn first(read: &Value, written: &Value, pointer: &str) -> Option<Diagnostic> {
    match (read, written) {
        (Value::Array(read), Value::Array(written)) => read
            .iter()
            .zip(written)
            .enumerate()
            .find_map(|(at, (read, written))| first(read, written, &format!("{pointer}/{at}"))),
        (Value::Object(read), Value::Object(written)) => read
            .iter()
            .filter_map(|(name, read)| Some((name, read, written.get(name)?)))
            .find_map(|(name, read, written)| first(read, written, &join_pointer(pointer, name))),
        (Value::Number(_), Value::String(text)) => Some(Diagnostic::new(
            pointer,
            format!("`{text}` is a number with a leading zero"),
            "write it as text in quotes, or without the leading zero",
        )),
        (Value::String(read), Value::String(written)) if read != written => Some(Diagnostic::new(
            pointer,
            "`!!binary` is nothing that JSON has",
            "write text, without the tag",
        )),
        _ => None,
    }
}
