//! Any format into JSON, refusing what serde_json would take silently: the same key twice, and integers that it would
//! round.

use std::cell::OnceCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Whether there are integers of more than 64 bits in a text. Parsers hand them on as floats, rounded, and do not say
/// how they were written; so the text is looked at, once, and only if a float could be one.
pub(super) struct Integers<'t> {
    text: &'t str,
    has_long: fn(&str) -> bool,
    known: OnceCell<bool>,
}

impl<'t> Integers<'t> {
    pub(super) fn of_json(text: &'t str) -> Self {
        Self { text, has_long: outside_of_strings, known: OnceCell::new() }
    }

    pub(super) fn of_yaml(text: &'t str) -> Self {
        Self { text, has_long: anywhere, known: OnceCell::new() }
    }

    fn may_be_rounded(&self, value: f64) -> bool {
        const BITS_63: f64 = 9_223_372_036_854_775_808.0;
        value.abs() >= BITS_63 && *self.known.get_or_init(|| (self.has_long)(self.text))
    }
}

/// Whether a word of a text is an integer that neither `i64` nor `u64` holds.
fn anywhere(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c));
    words.map(|word| word.trim_start_matches('+')).any(|word| {
        let digits = word.strip_prefix('-').unwrap_or(word);
        !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && word.parse::<i64>().is_err()
            && word.parse::<u64>().is_err()
    })
}

fn outside_of_strings(json: &str) -> bool {
    let mut escaped = false;
    let mut inside = false;
    let parts = json.split(|c: char| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    parts.into_iter().any(|part| {
        inside = !inside;
        // The first part stands before the first quotation mark.
        inside && anywhere(part)
    })
}

/// Reads a value that nests at most this deep.
pub(super) struct Strict<'t> {
    pub(super) depth: usize,
    pub(super) integers: &'t Integers<'t>,
}

impl Strict<'_> {
    fn deeper<E: Error>(&self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth, integers: self.integers })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
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
        if self.integers.may_be_rounded(value) {
            return Err(E::custom(
                "an integer of more than 64 bits would be rounded; send it as text",
            ));
        }
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("infinite and not-a-number are not JSON"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.deeper()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{key}` is there twice")));
            }
            let value = access.next_value_seed(self.deeper()?)?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}
