//! JSON as models and their providers send it: what is no text anywhere else becomes U+FFFD.
//!
//! JSON can escape what UTF-8 and databases have no room for: half of a surrogate pair, which no Rust text can hold, and
//! NUL, which PostgreSQL's cannot. Models produce both. Neither may fail an answer that has been paid for, so both are
//! read as the replacement character.
//!
//! Of text, that is all. What a model writes is read as strictly as inputs are: a number that would be rounded, a name
//! that is there twice, and what nests too deep to be kept are for the model to write again. What providers put around it
//! holds words and counts alone, and is read as it comes; whole arguments in it stay the text that they are.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use skein_shared::document;
use skein_shared::domain::diagnostic::Diagnostic;
use skein_shared::domain::limits::JSON_DEPTH_MAX;

const REPLACEMENT: char = '\u{fffd}';

/// What providers call the arguments of a call in their events.
const ARGUMENTS: &[&str] = &["args", "arguments", "input"];

/// Reads JSON text that a model has written: the arguments of a tool, or the text of an answer to a schema.
///
/// # Errors
/// When it is none all the same, is not exact as a value, or nests deeper than [`JSON_DEPTH_MAX`]: a line that names line
/// and column. It repeats nothing of the text but a name that is there twice.
pub fn parse_json(text: &str) -> Result<Value, String> {
    parse_within(text, JSON_DEPTH_MAX)
}

/// The same, where less depth is left.
///
/// # Errors
/// See [`parse_json`].
pub fn parse_within(text: &str, levels: usize) -> Result<Value, String> {
    let read = |text: &str| document::json::parse(text, levels);
    let words = |it: Diagnostic| format!("{} ({})", it.placed_message(), it.hint);
    cleaned(text, read).map_err(words)
}

/// Reads an event that a provider has sent. Arguments that are no text in it become the text that they are there, so that
/// whoever reads them finds them as the model wrote them.
///
/// # Errors
/// When it is no JSON, in the words of the parser, which name line and column and repeat nothing of it.
pub(super) fn parse_event(text: &str) -> Result<Value, String> {
    let read = |text: &str| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let event = Part.deserialize(&mut deserializer)?;
        deserializer.end().map(|()| event)
    };
    cleaned(text, read).map_err(|error| error.to_string())
}

/// Reads a text, once more without lone surrogates if there are any, and takes NUL out.
fn cleaned<E>(text: &str, read: impl Fn(&str) -> Result<Value, E>) -> Result<Value, E> {
    let mut value = match read(text) {
        Ok(value) => value,
        Err(error) => match mended(text) {
            Cow::Owned(mended) => read(&mended)?,
            Cow::Borrowed(_) => return Err(error),
        },
    };
    // Only escapes can stand for it: in JSON, NUL itself is a mistake.
    if text.contains("\\u0000") {
        clean_value(&mut value);
    }
    Ok(value)
}

/// A part of an event.
struct Part;

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
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
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = match ARGUMENTS.contains(&name.as_str()) {
                true => access.next_value_seed(Arguments)?,
                false => access.next_value_seed(Self)?,
            };
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

/// The arguments of a call in an event.
struct Arguments;

impl<'de> DeserializeSeed<'de> for Arguments {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let is_whole = raw.get().starts_with(['{', '[']);
        // A call that begins has none yet: what there is follows in pieces.
        let is_empty =
            raw.get().bytes().all(|byte| byte.is_ascii_whitespace() || b"{}".contains(&byte));
        match is_whole && !is_empty {
            true => Ok(Value::String(raw.get().to_owned())),
            false => parse_event(raw.get()).map_err(D::Error::custom),
        }
    }
}

/// The text without NUL.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

fn clean_value(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = clean(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(clean_value),
        Value::Object(fields) => {
            fields.values_mut().for_each(clean_value);
            if fields.keys().any(|name| name.contains('\0')) {
                let all = std::mem::take(fields);
                fields.extend(all.into_iter().map(|(name, value)| (clean(&name).into(), value)));
            }
        }
        _ => {}
    }
}

/// The text with the escapes of lone surrogates replaced.
fn mended(text: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    let (mut from, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while let Some(offset) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        let escape = at + offset;
        at = match unit(bytes, escape) {
            Some(0xd800..=0xdbff) if matches!(unit(bytes, escape + 6), Some(0xdc00..=0xdfff)) => {
                escape + 12
            }
            Some(0xd800..=0xdfff) => {
                mended.push_str(&text[from..escape]);
                mended.push(REPLACEMENT);
                from = escape + 6;
                from
            }
            Some(_) => escape + 6,
            // A pair such as `\\` or `\n`; behind the second one any byte may follow.
            None => (escape + 2).min(bytes.len()),
        };
    }
    if from == 0 {
        return Cow::Borrowed(text);
    }
    mended.push_str(&text[from..]);
    Cow::Owned(mended)
}

/// The UTF-16 unit that `\u` and the four hex digits at this place stand for.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn lone_surrogates_and_nul_become_the_replacement_character() {
        for (text, expected) in [
            (r#""\ud83d\ude00""#, json!("😀")),
            (r#""a\ud83db""#, json!("a\u{fffd}b")),
            (r#""\ud83d""#, json!("\u{fffd}")),
            (r#""\ude00\ud83d""#, json!("\u{fffd}\u{fffd}")),
            (r#""\ud83d\ud83d\ude00""#, json!("\u{fffd}😀")),
            (r#""\ud83d\n""#, json!("\u{fffd}\n")),
            (r#""\\ud83d\uDC00""#, json!("\\ud83d\u{fffd}")),
            (r#"{"a\u0000":["\u0000",1]}"#, json!({"a\u{fffd}": ["\u{fffd}", 1]})),
            (r#""\\u0000""#, json!("\\u0000")),
            (r#"{"é\ud800": "é\ud800"}"#, json!({"é\u{fffd}": "é\u{fffd}"})),
        ] {
            assert_eq!(parse_json(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_stays_none_and_is_not_repeated() {
        for text in ["", "{", "secret", r#"{"secret": }"#, r#""\ud83d"#, r#""\u12""#, "\"\\"] {
            let error = parse_json(text).unwrap_err();
            assert!(error.contains("line") && !error.contains("secret"), "{text}: {error}");
        }
        assert!(parse_json(&"[".repeat(100_000)).is_err());
        assert!(parse_event(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn what_a_model_writes_is_read_exactly_or_not_at_all() {
        for text in [
            r#"{"q": 12345678901234567890123}"#,
            r#"{"q": [-9223372036854775809]}"#,
            r#"{"q": 1, "q": 2}"#,
            "{\"q\": 1e999}",
        ] {
            let error = parse_json(text).unwrap_err();
            assert!(error.contains("line 1"), "{text}: {error}");
        }
        let most = r#"{"q": [18446744073709551615, -9223372036854775808, 1e22, 0.1]}"#;
        let value = json!({"q": [u64::MAX, i64::MIN, 1e22, 0.1]});
        assert_eq!(parse_json(most), Ok(value));
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse_json(&deep(JSON_DEPTH_MAX)).is_ok());
        assert!(parse_json(&deep(JSON_DEPTH_MAX + 1)).unwrap_err().contains("nested too deeply"));
        assert!(parse_within(&deep(4), 3).is_err() && parse_within(&deep(3), 3).is_ok());
    }

    #[test]
    fn whole_arguments_in_an_event_stay_as_they_were_written() {
        let whole = r#"{ "n": 12345678901234567890123, "n": "\ud800" }"#;
        for name in ARGUMENTS {
            let event = parse_event(&format!(r#"[{{"{name}": {whole}, "x": "\u0000"}}]"#));
            assert_eq!(event, Ok(json!([{ *name: whole, "x": "\u{fffd}" }])));
            for (written, read) in
                [("null", json!(null)), ("{ }", json!({})), (r#""a\u0000""#, json!("a\u{fffd}"))]
            {
                let event = parse_event(&format!(r#"{{"{name}": {written}}}"#));
                assert_eq!(event, Ok(json!({ *name: read })), "{written}");
            }
        }
        let counts = parse_event(r#"{"n": 12345678901234567890123, "m": 3, "m": 4}"#).unwrap();
        assert_eq!((counts["n"].as_u64(), &counts["m"]), (None, &json!(4)));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_sound_json_is_left_alone(text in "(\\\\|u|d83d|de00|[\"a😀]){0,20}") {
            let quoted = format!("\"{text}\"");
            let strict = serde_json::from_str::<Value>(&quoted);
            let lenient = parse_json(&quoted);
            if let Ok(value) = strict {
                prop_assert_eq!(lenient, Ok(value));
            }
        }
    }
}
