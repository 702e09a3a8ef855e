//! Any format into JSON, refusing what serde_json would take silently: the same key twice, and integers that it would
//! round.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::integers::{Integers, is_long};
use super::trail::{Step, Trail};

/// Which time a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// The first: floats that may be rounded integers are noted.
    Values,
    /// The second: those are read as the words that they are.
    Words(WordsOf),
}

/// How a parser hands out the word that a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordsOf {
    /// As raw JSON.
    Json,
    /// As a string.
    Yaml,
}

/// Reads a value that nests at most this deep.
pub(super) struct Strict<'t> {
    pub(super) depth: usize,
    pub(super) turn: Pass,
    pub(super) integers: &'t Integers,
    /// Where the reading is, and why it was given up.
    pub(super) trail: &'t Trail,
}

impl Strict<'_> {
    fn deeper<E: Error>(&self) -> Result<Self, E> {
        let Some(depth) = self.depth.checked_sub(1) else {
            let hint = "fewer objects and lists within each other";
            return Err(self.trail.refuse("nested too deeply", hint));
        };
        Ok(Self { depth, ..*self })
    }

    fn judge<E: Error>(&self, word: String) -> Result<Value, E> {
        if is_long(&word) {
            let message = "an integer of more than 64 bits would be rounded";
            return Err(self.trail.refuse(message, "send it as text"));
        }
        Ok(Value::String(word))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.turn {
            Pass::Words(words) if self.integers.contains(&self.trail.pointer()) => {
                let word = match words {
                    WordsOf::Json => Box::<RawValue>::deserialize(deserializer)?.get().to_owned(),
                    WordsOf::Yaml => String::deserialize(deserializer)?,
                };
                self.judge(word)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.integers.suspect(value, || self.trail.pointer());
        let finite = Number::from_f64(value).map(Value::Number);
        finite.ok_or_else(|| self.trail.refuse("no finite number", "send it as text"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let deeper = self.deeper()?;
            self.trail.enter(Step::Item(items.len()));
            let item = access.next_element_seed(deeper)?;
            self.trail.leave();
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = self.trail.in_key(|| access.next_key::<String>())? {
            let deeper = self.deeper()?;
            let is_twice =
                fields.contains_key(&key).then(|| format!("the key `{key}` is there twice"));
            self.trail.enter(Step::Field(key));
            if let Some(message) = is_twice {
                return Err(self.trail.refuse_key(message, "each key once"));
            }
            let value = access.next_value_seed(deeper)?;
            if let Some(Step::Field(key)) = self.trail.leave() {
                fields.insert(key, value);
            }
        }
        Ok(Value::Object(fields))
    }
}
