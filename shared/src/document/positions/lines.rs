//! Lines and columns.

use crate::domain::diagnostic::Position;

/// Where the lines of a text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let behind = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(behind.map(|(at, _)| at + 1)).collect())
    }

    /// Line and column of an offset in bytes.
    pub(super) fn position(&self, text: &str, offset: usize) -> Position {
        let offset = text.floor_char_boundary(offset);
        let line = self.0.partition_point(|start| *start <= offset);
        let start = self.0.get(line - 1).copied().unwrap_or_default();
        Position { line, column: text[start..offset].chars().count() + 1 }
    }
}
