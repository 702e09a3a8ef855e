//! Finds secrets in what comes back, by their value and in the forms in which servers repeat what they were sent, and
//! puts a mask in their place.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;
use skein_shared::telemetry::redact::REDACTED;

use view::View;

mod view;

/// Bytes of a value at least that is looked for. A shorter one is a word, and would tear holes into text.
pub const MASKED_BYTES_MIN: usize = 6;
/// Bytes of a part of a key that is looked for. Providers name keys by such parts; what is shorter gives nothing away.
const FRAGMENT_BYTES: usize = 8;
/// Bytes of all values together that are looked for at most. Their forms take twenty times as much, and the automaton that
/// looks for them some times that; one request has a few values of some hundred bytes.
const SOUGHT_BYTES_MAX: usize = 16 * 1024;

/// Knows some secrets. Cheap to clone; nothing of them is in its debug output.
#[derive(Clone, Default)]
pub struct Masker {
    /// Absent when there is nothing to look for.
    sought: Option<Arc<Sought>>,
    has_left_out: bool,
}

struct Sought {
    forms: AhoCorasick,
    /// Parts of a key, which may overlap.
    fragments: Option<AhoCorasick>,
    /// The values themselves, for numbers, which are not text.
    values: BTreeSet<String>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").finish_non_exhaustive()
    }
}

impl Masker {
    /// Looks for these values, those that are shorter than [`MASKED_BYTES_MIN`] left out.
    #[must_use]
    pub fn of(secrets: impl IntoIterator<Item = String>) -> Self {
        let (mut values, mut bytes, mut has_left_out) = (BTreeSet::new(), 0, false);
        for secret in secrets {
            // Servers read headers without the space around their values, and often forms as well.
            let secret = secret.trim();
            if secret.len() < MASKED_BYTES_MIN || values.contains(secret) {
                continue;
            }
            if bytes + secret.len() > SOUGHT_BYTES_MAX {
                has_left_out = true;
                continue;
            }
            bytes += secret.len();
            values.insert(secret.to_owned());
        }
        if values.is_empty() {
            return Self { sought: None, has_left_out };
        }
        let forms: BTreeSet<_> = values.iter().flat_map(|value| forms_of(value)).collect();
        // Of a padded and an unpadded form that begin at the same place, all of the padded one is masked.
        let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(forms);
        let sought = built.ok().map(|forms| Arc::new(Sought { forms, fragments: None, values }));
        let has_left_out = has_left_out || sought.is_none();
        Self { sought, has_left_out }
    }

    /// Looks for a key, and for parts of it: its owner says which key is meant by showing one. Only for text that is
    /// written about the key, since others are torn by parts.
    #[must_use]
    pub fn of_key(key: &str) -> Self {
        let Self { sought, has_left_out } = Self::of([key.to_owned()]);
        let Some(Sought { forms, values, .. }) = sought.and_then(Arc::into_inner) else {
            return Self { sought: None, has_left_out };
        };
        let parts: BTreeSet<_> = key.trim().as_bytes().windows(FRAGMENT_BYTES).collect();
        let fragments = AhoCorasick::new(parts).ok();
        Self { sought: Some(Arc::new(Sought { forms, fragments, values })), has_left_out }
    }

    /// Whether there were more secrets than are looked for: what comes back may hold one.
    #[must_use]
    pub fn has_left_out(&self) -> bool {
        self.has_left_out
    }

    /// The text without the secrets.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let found = self.find(text.as_bytes());
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut masked, mut from) = (String::with_capacity(text.len()), 0);
        for Range { start, end } in found {
            let start = text.floor_char_boundary(start).max(from);
            masked.push_str(&text[from..start]);
            masked.push_str(REDACTED);
            from = text.ceil_char_boundary(end);
        }
        masked.push_str(&text[from..]);
        Cow::Owned(masked)
    }

    /// The bytes without the secrets.
    #[must_use]
    pub fn bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        let found = self.find(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let (mut masked, mut from) = (Vec::with_capacity(bytes.len()), 0);
        for Range { start, end } in found {
            masked.extend_from_slice(&bytes[from..start]);
            masked.extend_from_slice(REDACTED.as_bytes());
            from = end;
        }
        masked.extend_from_slice(&bytes[from..]);
        Cow::Owned(masked)
    }

    /// The value without the secrets in its texts, the names of its fields and its numbers.
    #[must_use]
    pub fn value(&self, value: Value) -> Value {
        let Some(sought) = &self.sought else { return value };
        match value {
            Value::String(text) => match self.text(&text) {
                Cow::Borrowed(_) => Value::String(text),
                Cow::Owned(masked) => Value::String(masked),
            },
            Value::Number(number) if sought.values.contains(&number.to_string()) => REDACTED.into(),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                let masked = fields.into_iter().map(|(name, value)| {
                    let name = match self.text(&name) {
                        Cow::Borrowed(_) => name,
                        Cow::Owned(masked) => masked,
                    };
                    (name, self.value(value))
                });
                Value::Object(masked.collect())
            }
            other => other,
        }
    }

    /// Where secrets are, in order; the ranges do not overlap.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let Some(sought) = &self.sought else { return Vec::new() };
        let mut found: Vec<Range<usize>> =
            sought.forms.find_iter(bytes).map(|hit| hit.range()).collect();
        let fragments = |bytes: &[u8]| {
            let all = sought.fragments.iter();
            let hits = all.flat_map(|all| all.find_overlapping_iter(bytes).map(|hit| hit.range()));
            hits.collect::<Vec<_>>()
        };
        found.extend(fragments(bytes));
        for view in View::all_of(bytes) {
            let hits = sought.forms.find_iter(view.bytes()).map(|hit| hit.range());
            found.extend(hits.chain(fragments(view.bytes())).map(|range| view.origin_of(range)));
        }
        found.sort_unstable_by_key(|range| range.start);
        found.dedup_by(|next, range| {
            let overlaps = next.start < range.end;
            if overlaps {
                range.end = range.end.max(next.end);
            }
            overlaps
        });
        found
    }
}

/// The forms of a value that are looked for as they are; escapes are taken away before.
fn forms_of(value: &str) -> Vec<String> {
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        value.to_owned(),
        STANDARD.encode(value),
        STANDARD_NO_PAD.encode(value),
        URL_SAFE.encode(value),
        URL_SAFE_NO_PAD.encode(value),
        hex.to_uppercase(),
        hex,
    ];
    for before in 0..3 {
        forms.extend(
            [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|it| within_base64(it, value, before)),
        );
    }
    forms
}

/// What base64 of a text has of a value alone that stands in it, as in `Bearer abc`, after so many bytes over a multiple of
/// three. The characters at both ends, which a neighbour has a part in, are left out: they hold four bits of it at most.
fn within_base64(engine: &impl Engine, value: &str, before: usize) -> String {
    let encoded = engine.encode([&vec![0; before], value.as_bytes()].concat());
    let (from, end) = ((before * 8).div_ceil(6), (before + value.len()) * 8 / 6);
    encoded[from..end].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn masker(secrets: &[&str]) -> Masker {
        Masker::of(secrets.iter().map(ToString::to_string))
    }

    #[test]
    fn the_longest_of_several_secrets_is_masked_whole() {
        let masker = masker(&["TOPSECRET", "TOPSECRET-17"]);
        let text = "TOPSECRET, TOPSECRET-17; TOPSECRET-18";
        assert_eq!(masker.text(text), "REDACTED, REDACTED; REDACTED-18");
        assert_eq!(masker.text("nothing of it"), "nothing of it");
    }

    #[test]
    fn a_value_is_masked_in_texts_names_and_numbers() {
        let value =
            json!({ "a 1234567": ["1234567", 1_234_567, 12_345_678, null, { "b": "%31234567" }] });
        let masked = json!({ "a REDACTED": ["REDACTED", "REDACTED", 12_345_678, null, { "b": "REDACTED" }] });
        assert_eq!(masker(&["1234567"]).value(value), masked);
    }

    #[test]
    fn bytes_that_are_no_text_are_looked_through_as_well() {
        let masked = masker(&["TOPSECRET"]).bytes(b"\xff\x00TOPSECRET\xfe").into_owned();
        assert_eq!(masked, b"\xff\x00REDACTED\xfe");
    }

    #[test]
    fn characters_beside_a_secret_stay_whole() {
        let masker = masker(&["grün-17"]);
        assert_eq!(masker.text("ägrün-17ß %C3%BCgr%c3%bcn-17ü"), "äREDACTEDß %C3%BCREDACTEDü");
    }

    #[test]
    fn short_values_are_not_looked_for_and_too_many_are_owned_up_to() {
        assert_eq!(masker(&["short", ""]).text("a short text"), "a short text");
        let many = (0..5_000).map(|at| format!("secret-{at}"));
        assert!(Masker::of(many).has_left_out());
        assert!(!masker(&["TOPSECRET"]).has_left_out());
    }

    #[test]
    fn a_secret_within_what_is_encoded_is_found_wherever_it_stands() {
        let secret = "sk-t0p/secret?~17";
        let masker = masker(&[secret]);
        for before in ["", "a", "ab", "Bearer ", "user:", "{\"authorization\":\"Bearer "] {
            for after in ["", ";", "\"}", ":x\n"] {
                let whole = format!("{before}{secret}{after}");
                for encoded in [STANDARD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                    let masked = masker.text(&encoded).into_owned();
                    let rest: usize = masked.split(REDACTED).map(str::len).sum();
                    assert!(masked.contains(REDACTED), "{whole}: {masked}");
                    // What is left stands for what is around, and for a half of a byte at each end.
                    let around = (before.len() + after.len()) * 4 / 3;
                    assert!(rest <= around + 6, "{whole}: {encoded} {masked}");
                }
            }
        }
    }

    #[test]
    fn of_a_key_every_longer_part_is_masked() {
        let key = "sk-proj-0123456789abcdefghijklmnop";
        let masker = Masker::of_key(key);
        for (text, masked) in [
            (&*format!("of {key}."), "of REDACTED."),
            ("rev Bearer sk-proj-01234", "rev Bearer REDACTED"),
            ("it begins with sk-proj-0123456…", "it begins with REDACTED…"),
            ("it ends in ijklmnop!", "it ends in REDACTED!"),
            ("the middle, 56789abcdef, of it", "the middle, REDACTED, of it"),
            ("sk-proj-%30%31%32%33%34", "REDACTED"),
            ("sk-proj*************mnop", "sk-proj*************mnop"),
        ] {
            assert_eq!(masker.text(text), masked);
        }
        assert_eq!(Masker::of_key("short").text("a short key"), "a short key");
        assert_eq!(Masker::of_key("1234567").text("1234567 123456"), "REDACTED 123456");
    }

    #[test]
    fn nothing_of_a_secret_is_in_the_debug_output() {
        assert_eq!(format!("{:?}", masker(&["TOPSECRET"])), "Masker { .. }");
    }
}
