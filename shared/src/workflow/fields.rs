//! Reading the fields of an object while gathering everything that is wrong with them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::domain::diagnostic::{Diagnostics, nearest, point_into, quoted};
use crate::domain::duration;

/// What a value is, in words.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// An object in the document.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    pub(super) pointer: String,
}

impl<'a> Fields<'a> {
    /// Takes `value` as an object that has no fields but `known`.
    pub(super) fn open(
        value: &'a Value,
        pointer: String,
        known: &[&str],
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let Value::Object(map) = value else {
            let message = format!("{} where an object is due", type_of(value));
            diagnostics.add(pointer, message, format!("it has the fields {}", known.join(", ")));
            return None;
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = nearest(key, known.iter().copied()).map_or_else(
                || format!("there are {}", known.join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            diagnostics.add_of_key(
                point_into(&pointer, key),
                format!("unknown field {}", quoted(key)),
                hint,
            );
        }
        Some(Self { map, pointer })
    }

    /// The pointer to a field.
    pub(super) fn at(&self, name: &str) -> String {
        point_into(&self.pointer, name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// A field that must be there.
    pub(super) fn required(
        &self,
        name: &str,
        hint: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<&'a Value> {
        let value = self.get(name);
        if value.is_none() {
            diagnostics.add(&self.pointer, format!("`{name}` is missing"), hint);
        }
        value
    }

    /// A field of the type that `read` takes; anything else is not `what`.
    fn typed<T>(
        &self,
        name: &str,
        what: &str,
        diagnostics: &mut Diagnostics,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let read = read(value);
        if read.is_none() {
            let message = format!("`{name}` is {}, not {what}", type_of(value));
            diagnostics.add(self.at(name), message, format!("write {what}"));
        }
        read
    }

    pub(super) fn text(&self, name: &str, diagnostics: &mut Diagnostics) -> Option<&'a str> {
        let value = self.get(name)?;
        if value.is_boolean() || value.is_number() {
            let message = format!("`{name}` is {}, not text", type_of(value));
            // A number may have been written in another way than it is shown.
            let hint = match value.as_bool() {
                Some(value) => format!("write it in quotes: \"{value}\""),
                None => "write it in quotes".to_owned(),
            };
            diagnostics.add(self.at(name), message, hint);
            return None;
        }
        self.typed(name, "text", diagnostics, Value::as_str)
    }

    pub(super) fn list(&self, name: &str, diagnostics: &mut Diagnostics) -> Option<&'a [Value]> {
        self.typed(name, "a list", diagnostics, |value| value.as_array().map(Vec::as_slice))
    }

    pub(super) fn object(
        &self,
        name: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<&'a Map<String, Value>> {
        self.typed(name, "an object", diagnostics, Value::as_object)
    }

    pub(super) fn boolean(&self, name: &str, diagnostics: &mut Diagnostics) -> Option<bool> {
        self.typed(name, "true or false", diagnostics, Value::as_bool)
    }

    /// A whole number within limits.
    pub(super) fn number(
        &self,
        name: &str,
        range: (u32, u32),
        diagnostics: &mut Diagnostics,
    ) -> Option<u32> {
        let value: u64 = self.typed(name, "a whole number", diagnostics, Value::as_u64)?;
        let number = u32::try_from(value).ok().filter(|n| (range.0..=range.1).contains(n));
        if number.is_none() {
            let hint = format!("from {} to {}", range.0, range.1);
            diagnostics.add(self.at(name), format!("`{name}` is {value}"), hint);
        }
        number
    }

    /// A duration of at most `max`.
    pub(super) fn duration(
        &self,
        name: &str,
        max: Duration,
        diagnostics: &mut Diagnostics,
    ) -> Option<Duration> {
        let text = self.typed(name, "a duration like `5s`", diagnostics, Value::as_str)?;
        checked_duration(text, name, max)
            .map_err(|(message, hint)| diagnostics.add(self.at(name), message, hint))
            .ok()
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        let text = self.text(name, diagnostics)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = nearest(text, all.iter().copied()).map_or_else(
                || format!("one of {}", all.join(", ")),
                |word| format!("did you mean `{word}`?"),
            );
            diagnostics.add(self.at(name), format!("`{name}` is {}", quoted(text)), hint);
        }
        found
    }
}

/// A name as it is to be written in a document: in quotes where YAML would take it for something else than text.
pub(super) fn as_text(name: &str) -> String {
    let is_plain = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && name.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.'));
    let is_other = ["true", "false", "null"].iter().any(|it| name.eq_ignore_ascii_case(it));
    if is_plain && !is_other { name.to_owned() } else { format!("\"{name}\"") }
}

/// Several of these, after each other.
pub(super) fn as_texts(names: &[Arc<str>]) -> String {
    names.iter().map(|name| as_text(name)).collect::<Vec<_>>().join(", ")
}

/// Reads a duration of at most `max`, or says what is wrong and what would be right.
pub(super) fn checked_duration(
    text: &str,
    name: &str,
    max: Duration,
) -> Result<Duration, (String, String)> {
    let read = duration::parse(text).map_err(|error| {
        (format!("`{name}`: {error}"), "like `250ms`, `5s`, `1m30s`".to_owned())
    })?;
    if read > max {
        let message = format!("`{name}` is {}", duration::format(read));
        return Err((message, format!("at most {}", duration::format(max))));
    }
    Ok(read)
}
