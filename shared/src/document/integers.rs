//! Integers that a parser would round.
//!
//! Parsers hand integers of more than 64 bits on as floats, rounded, and do not say how they were written. So a text
//! with floats that could be such is read once more, and those values, only those, as the words that they are.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// Floats below this can be no integers of more than 64 bits.
const BITS_63: f64 = 9_223_372_036_854_775_808.0;

/// The values of a text that may be rounded integers.
#[derive(Debug, Default)]
pub(super) struct Integers {
    /// Where they are, as JSON pointers.
    suspects: RefCell<BTreeSet<String>>,
}

impl Integers {
    /// Takes note of a float, at an offset, that may be a rounded integer.
    pub(super) fn suspect(&self, value: f64, at: impl FnOnce() -> String) {
        if value.abs() >= BITS_63 {
            self.suspects.borrow_mut().insert(at());
        }
    }

    /// Whether there are any, so that the text must be read again.
    pub(super) fn is_empty(&self) -> bool {
        self.suspects.borrow().is_empty()
    }

    /// Whether the value at an offset is one. To be asked when all have been found.
    pub(super) fn contains(&self, pointer: &str) -> bool {
        self.suspects.borrow().contains(pointer)
    }
}

/// Whether a word is an integer that neither `i64` nor `u64` holds.
pub(super) fn is_long(word: &str) -> bool {
    let word = word.trim().trim_start_matches('+');
    let digits = word.strip_prefix('-').unwrap_or(word);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && word.parse::<i64>().is_err()
        && word.parse::<u64>().is_err()
}
