//! What is wrong with something that somebody sent.

use std::borrow::Cow;

use super::limits::POINTER_BYTES_MAX;

/// One thing that is wrong: where it is, what it is, what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A JSON Pointer (RFC 6901) to the wrong value, `""` for the whole.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
    /// What would be right.
    pub hint: String,
    /// What follows from it.
    pub severity: Severity,
    /// Which part of what the pointer leads to is meant.
    pub part: Part,
    /// Where that stands in the text that was read, as soon as somebody has looked.
    pub position: Option<Position>,
}

/// What follows from a diagnostic of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Severity {
    /// It cannot be what is meant, or cannot be at all: there is no plan.
    #[default]
    Error,
    /// It can be run and cannot do what is meant. It is refused when it is published; what was published before there
    /// was such a rule is run all the same.
    Mistake,
    /// It may not do what is meant. Nothing is refused for it.
    Warning,
}

/// Which part of a value is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// The value.
    #[default]
    Value,
    /// The key that it stands under.
    Key,
    /// What stands in it from so many bytes on. It is text.
    Text(usize),
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

impl Diagnostic {
    /// A diagnostic at `pointer`.
    pub fn new(
        pointer: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (pointer, message, hint) = (pointer.into(), message.into(), hint.into());
        let (severity, part, position) = (Severity::Error, Part::Value, None);
        Self { pointer, message, hint, severity, part, position }
    }

    /// The same of a part of the value.
    #[must_use]
    pub fn of(self, part: Part) -> Self {
        Self { part, ..self }
    }

    /// The same at a place of the text that was read.
    #[must_use]
    pub fn at(self, position: Position) -> Self {
        Self { position: Some(position), ..self }
    }

    /// The message, and behind it the place in the text if that is known: for where nothing else says it.
    #[must_use]
    pub fn placed_message(&self) -> Cow<'_, str> {
        match self.position {
            Some(Position { line, column }) => {
                format!("{} at line {line} column {column}", self.message).into()
            }
            None => self.message.as_str().into(),
        }
    }
}

/// The diagnostics found so far.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics(pub(crate) Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn add(
        &mut self,
        pointer: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.0.push(Diagnostic::new(pointer, message, hint));
    }

    /// Adds one of a key.
    pub(crate) fn add_of_key(
        &mut self,
        pointer: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.0.push(Diagnostic::new(pointer, message, hint).of(Part::Key));
    }

    /// Whether there is no plan.
    pub(crate) fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// A value, unless there are errors.
    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Vec<Diagnostic>> {
        if self.has_errors() { Err(self.0) } else { Ok(value) }
    }

    /// Keeps the value of a success and the diagnostics of a failure.
    pub(crate) fn keep<T>(&mut self, result: Result<T, Vec<Diagnostic>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(diagnostics) => {
                self.0.extend(diagnostics);
                None
            }
        }
    }
}

/// A JSON Pointer one step further: `token` is escaped as RFC 6901 section 3 asks.
#[must_use]
pub fn join_pointer(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// As [`join_pointer`] as long as there is room for the step; else `…` stands for all that would follow. For pointers that
/// people read and nothing is found by.
#[must_use]
pub fn point_into(pointer: &str, token: &str) -> String {
    const REST: &str = "/…";
    if pointer.ends_with(REST) {
        return pointer.to_owned();
    }
    // A token may be far longer than what it leads to.
    let longer = Some(token).filter(|token| token.len() <= POINTER_BYTES_MAX);
    let longer = longer.map(|token| join_pointer(pointer, token));
    longer
        .filter(|longer| longer.len() <= POINTER_BYTES_MAX)
        .unwrap_or_else(|| format!("{pointer}{REST}"))
}

/// The word among `known` that `word` is probably meant to be: few edits away, for its length.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer words than any that is known, but for the keys of somebody's document; comparing takes the product of both
    /// lengths.
    const WORD_CHARS_MAX: usize = 64;
    if word.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    let edits =
        |name: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &name.to_lowercase());
    let close = |name: &str, edits: usize| edits <= (name.chars().count().max(3)) / 3;
    known
        .into_iter()
        .filter(|name| name.len() <= 2 * WORD_CHARS_MAX)
        .map(|name| (edits(name), name))
        .filter(|(edits, name)| close(name, *edits))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Somebody's text in quotes, cut to a line's length.
pub(crate) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("`{}…`", &text[..at]),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_pointers_are_escaped() {
        assert_eq!(join_pointer("/a", "b/c~d"), "/a/b~1c~0d");
    }

    #[test]
    fn a_pointer_into_a_document_ends_where_it_gets_too_long() {
        let name = "k".repeat(POINTER_BYTES_MAX - 2);
        let long = point_into("/a", &name);
        assert_eq!(long, "/a/…");
        let most = point_into("/a", &name[1..]);
        assert_eq!((most.len(), point_into(&most, "0")), (POINTER_BYTES_MAX, format!("{most}/…")));
        assert_eq!(point_into(&long, "0"), long);
        assert_eq!(point_into("/a", &"k".repeat(100_000)), long);
        assert_eq!(point_into("/a", "b/c"), "/a/b~1c");
    }

    #[test]
    fn the_nearest_word_is_found_only_when_it_is_near() {
        assert_eq!(nearest("tpye", ["id", "type", "params"]), Some("type"));
        assert_eq!(nearest("retries", ["retry", "timeout"]), None);
        assert_eq!(nearest("Timeout", ["retry", "timeout"]), Some("timeout"));
        assert_eq!(nearest("zzz", ["id", "type"]), None);
        assert_eq!(nearest(&"t".repeat(10_000), ["type"]), None);
        let (word, long) = ("t".repeat(64), "t".repeat(480_000));
        let started = std::time::Instant::now();
        assert_eq!(nearest(&word, [long.as_str(); 1_000]), None);
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
        assert_eq!(nearest(&word, [long.as_str(), &long[..63]]), Some(&long[..63]));
    }
}
