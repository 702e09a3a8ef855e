//! Reading the fields of an object while gathering everything that is wrong with them.

use std::time::Duration;

use serde_json::{Map, Value};

use super::duration;
use super::fault::{Fault, nearest, point_into};

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    pub(super) fn add(
        &mut self,
        pointer: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.0.push(Fault::new(pointer, message, hint));
    }

    /// Keeps the value of a success and the faults of a failure.
    pub(super) fn keep<T>(&mut self, result: Result<T, Vec<Fault>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(faults) => {
                self.0.extend(faults);
                None
            }
        }
    }
}

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
        faults: &mut Faults,
    ) -> Option<Self> {
        let Value::Object(map) = value else {
            let message = format!("{} where an object is due", type_of(value));
            faults.add(pointer, message, format!("it has the fields {}", known.join(", ")));
            return None;
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = nearest(key, known.iter().copied()).map_or_else(
                || format!("there are {}", known.join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            faults.add(point_into(&pointer, key), format!("unknown field `{key}`"), hint);
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
        faults: &mut Faults,
    ) -> Option<&'a Value> {
        let value = self.get(name);
        if value.is_none() {
            faults.add(&self.pointer, format!("`{name}` is missing"), hint);
        }
        value
    }

    /// A field of the type that `read` takes; anything else is not `what`.
    fn typed<T>(
        &self,
        name: &str,
        what: &str,
        faults: &mut Faults,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let read = read(value);
        if read.is_none() {
            let message = format!("`{name}` is {}, not {what}", type_of(value));
            faults.add(self.at(name), message, format!("write {what}"));
        }
        read
    }

    pub(super) fn text(&self, name: &str, faults: &mut Faults) -> Option<&'a str> {
        self.typed(name, "text", faults, Value::as_str)
    }

    pub(super) fn list(&self, name: &str, faults: &mut Faults) -> Option<&'a [Value]> {
        self.typed(name, "a list", faults, |value| value.as_array().map(Vec::as_slice))
    }

    pub(super) fn object(&self, name: &str, faults: &mut Faults) -> Option<&'a Map<String, Value>> {
        self.typed(name, "an object", faults, Value::as_object)
    }

    pub(super) fn boolean(&self, name: &str, faults: &mut Faults) -> Option<bool> {
        self.typed(name, "true or false", faults, Value::as_bool)
    }

    /// A whole number within limits.
    pub(super) fn number(&self, name: &str, range: (u32, u32), faults: &mut Faults) -> Option<u32> {
        let value: u64 = self.typed(name, "a whole number", faults, Value::as_u64)?;
        let number = u32::try_from(value).ok().filter(|n| (range.0..=range.1).contains(n));
        if number.is_none() {
            let hint = format!("from {} to {}", range.0, range.1);
            faults.add(self.at(name), format!("`{name}` is {value}"), hint);
        }
        number
    }

    /// A duration of at most `max`.
    pub(super) fn duration(
        &self,
        name: &str,
        max: Duration,
        faults: &mut Faults,
    ) -> Option<Duration> {
        let text = self.typed(name, "a duration like `5s`", faults, Value::as_str)?;
        checked_duration(text, name, max)
            .map_err(|(message, hint)| faults.add(self.at(name), message, hint))
            .ok()
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
        faults: &mut Faults,
    ) -> Option<T> {
        let text = self.text(name, faults)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = nearest(text, all.iter().copied()).map_or_else(
                || format!("one of {}", all.join(", ")),
                |word| format!("did you mean `{word}`?"),
            );
            faults.add(self.at(name), format!("`{name}` is {}", shown(text)), hint);
        }
        found
    }
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

/// Somebody's text in quotes, cut to a line's length.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("`{}…`", &text[..at]),
        None => format!("`{text}`"),
    }
}
