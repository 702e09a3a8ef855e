//! Integers that a parser would round.

use std::cell::OnceCell;

/// Whether there are integers of more than 64 bits in a text. Parsers hand them on as floats, rounded, and do not say
/// how they were written; so the text is looked at, once, and only if a float could be one.
#[derive(Debug)]
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

    pub(super) fn may_be_rounded(&self, value: f64) -> bool {
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
