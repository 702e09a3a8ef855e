//! What is wrong with something that somebody sent.

use serde::Serialize;

/// One fault: where it is, what it is, what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// A JSON Pointer (RFC 6901) to the faulty value, `""` for the whole.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Fault {
    /// A fault at `pointer`.
    pub fn new(
        pointer: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { pointer: pointer.into(), message: message.into(), hint: hint.into() }
    }
}

/// A JSON Pointer one step further: `token` is escaped as RFC 6901 section 3 asks.
#[must_use]
pub fn join_pointer(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// The word among `known` that `word` is probably meant to be: few edits away, for its length.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer words than any that is known; comparing takes the product of both lengths.
    const WORD_CHARS_MAX: usize = 64;
    if word.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    let edits =
        |name: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &name.to_lowercase());
    let close = |name: &str, edits: usize| edits <= (name.chars().count().max(3)) / 3;
    known
        .into_iter()
        .map(|name| (edits(name), name))
        .filter(|(edits, name)| close(name, *edits))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_pointers_are_escaped() {
        assert_eq!(join_pointer("/a", "b/c~d"), "/a/b~1c~0d");
    }

    #[test]
    fn the_nearest_word_is_found_only_when_it_is_near() {
        assert_eq!(nearest("tpye", ["id", "type", "params"]), Some("type"));
        assert_eq!(nearest("retries", ["retry", "timeout"]), None);
        assert_eq!(nearest("Timeout", ["retry", "timeout"]), Some("timeout"));
        assert_eq!(nearest("zzz", ["id", "type"]), None);
        assert_eq!(nearest(&"t".repeat(10_000), ["type"]), None);
    }
}
