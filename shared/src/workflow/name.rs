//! What a workflow may be called.

use crate::domain::limits::NAME_CHARS_MAX;

/// The rule in words, but for the length.
pub const SPELLING: &str = "letters, digits, `-`, `_` and `.`, starting with a letter or digit";

/// Whether a name is spelled as names are: see [`SPELLING`].
#[must_use]
pub fn is_spelled_right(name: &str) -> bool {
    let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    name.starts_with(|char: char| char.is_ascii_alphanumeric()) && name.chars().all(is_part)
}

/// Whether a workflow may be called this: spelled right, and of [`NAME_CHARS_MAX`] characters at most.
#[must_use]
pub fn is_name(name: &str) -> bool {
    is_spelled_right(name) && name.len() <= NAME_CHARS_MAX
}
