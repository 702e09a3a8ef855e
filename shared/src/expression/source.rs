//! The source of an expression, places in it, and what is wrong there.

use std::ops::Range;

use crate::domain::diagnostic::{Diagnostic, Part, Severity};

/// An expression's source: the part of a string that was compiled.
#[derive(Debug, Clone)]
pub(super) struct Source {
    original: String,
    part: Range<usize>,
}

impl Source {
    /// A part of `original`.
    pub(super) fn new(original: &str, part: Range<usize>) -> Self {
        Self { original: original.to_owned(), part }
    }

    /// All that was compiled, cut to a line's length.
    pub(super) fn part(&self) -> &str {
        self.snippet(0..self.part.len()).unwrap_or_default()
    }

    /// The text between two offsets of what was compiled, cut to a line's length.
    pub(super) fn snippet(&self, range: Range<usize>) -> Option<&str> {
        const CHARS_MAX: usize = 80;
        let range = self.part.start + range.start..self.part.start + range.end;
        let text = self.original.get(range)?.trim();
        let cut = text.char_indices().nth(CHARS_MAX).map_or(text.len(), |(at, _)| at);
        (!text.is_empty()).then(|| &text[..cut])
    }

    /// Line and column, from 1, of an offset in what was compiled.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        position(&self.original, self.part.start + offset)
    }
}

/// Something in a source that cannot be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) offset: usize,
    pub(super) message: String,
    pub(super) hint: String,
    pub(super) severity: Severity,
}

impl Problem {
    pub(super) fn new(offset: usize, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { offset, message: message.into(), hint: hint.into(), severity: Severity::Error }
    }

    /// The same, of what follows from it.
    pub(super) fn with_severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    pub(super) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The diagnostic of the string at a pointer.
    pub(super) fn diagnostic(self, pointer: &str) -> Diagnostic {
        let Self { offset, message, hint, severity } = self;
        let diagnostic = Diagnostic::new(pointer, message, hint).of(Part::Text(offset));
        Diagnostic { severity, ..diagnostic }
    }
}

/// Line and column (in characters), both from 1, of a byte offset.
pub(super) fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..source.floor_char_boundary(offset)];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        assert_eq!(position("äb\ncd", 0), (1, 1));
        assert_eq!(position("äb\ncd", 3), (1, 3));
        assert_eq!(position("äb\ncd", 5), (2, 2));
        assert_eq!(position("ab", 99), (1, 3));
    }
}
