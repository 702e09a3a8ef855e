//! JSON as models and their providers send it: what is no text anywhere else becomes U+FFFD.
//!
//! JSON can escape what UTF-8 and databases have no room for: half of a surrogate pair, which no Rust text can hold, and
//! NUL, which PostgreSQL's cannot. Models produce both. Neither may fail an answer that has been paid for, so both are
//! read as the replacement character.

use std::borrow::Cow;

use serde_json::Value;

const REPLACEMENT: char = '\u{fffd}';

/// Reads JSON text that a model has written: the arguments of a tool, or the text of an answer to a schema.
///
/// # Errors
/// When it is none all the same, in the words of the parser, which name line and column and repeat nothing of it.
pub fn parse_json(text: &str) -> Result<Value, String> {
    let mut value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => match mended(text) {
            Cow::Owned(mended) => {
                serde_json::from_str(&mended).map_err(|error| error.to_string())?
            }
            Cow::Borrowed(_) => return Err(error.to_string()),
        },
    };
    // Only escapes can stand for it: in JSON, NUL itself is a mistake.
    if text.contains("\\u0000") {
        clean_value(&mut value);
    }
    Ok(value)
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
