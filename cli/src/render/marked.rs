//! Tables whose rows begin with how something is.

use super::status::glyph;
use super::table::{Align, Cell, Table};
use super::terminal::{Style, Terminal};

/// A table whose rows start with a glyph on a terminal, where people look; elsewhere the first column is the first word.
pub(super) fn marked(columns: &[(&'static str, Align)], terminal: &Terminal) -> Table {
    let mark = terminal.columns.map(|_| ("", Align::Mark));
    let columns: Vec<_> = mark.into_iter().chain(columns.iter().copied()).collect();
    Table::new(&columns)
}

/// The first cell of such a row, where there is one.
pub(super) fn mark(status: &str, terminal: &Terminal) -> Vec<Cell> {
    let mark = terminal.columns.map(|_| Cell::new(glyph(status), Style::of_status(status)));
    mark.into_iter().collect()
}
