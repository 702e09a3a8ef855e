//! Columns that are aligned.

use super::line::StyledLine;
use super::terminal::{Style, Terminal, clean, cut, width_of};

/// Columns between two columns.
const GAP: usize = 2;
/// Columns that words at the end of a line keep while there are others to do without.
const LAST_WIDTH_MIN: usize = 12;

/// Columns that names keep where they are cut.
const NAME_WIDTH_MIN: usize = 16;

/// To which side of its column a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
    /// For a glyph, which stands close to what follows.
    Mark,
}

/// A text in a table. Made harmless for terminals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text in a style.
    pub fn new(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: clean(text.as_ref()), style }
    }

    /// A text as it is.
    pub fn plain(text: impl AsRef<str>) -> Self {
        Self::new(text, Style::Plain)
    }
}

/// A table with a line of titles.
#[derive(Debug, Clone)]
pub struct Table {
    titles: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
    spared: &'static [&'static str],
    cut: Option<&'static str>,
}

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub fn new(titles: &[(&'static str, Align)]) -> Self {
        Self { titles: titles.to_vec(), rows: Vec::new(), spared: &[], cut: None }
    }

    /// Says which columns a narrow terminal can do without: the first of them goes first.
    #[must_use]
    pub fn sparing(self, titles: &'static [&'static str]) -> Self {
        Self { spared: titles, ..self }
    }

    /// Says which column is cut before any is left out: one of names, which may be long and are known by their
    /// beginnings.
    #[must_use]
    pub fn cutting(self, title: &'static str) -> Self {
        Self { cut: Some(title), ..self }
    }

    /// Adds a row; one cell a column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.titles.len());
        self.rows.push(cells);
    }

    /// The table as lines. Where the terminal is too narrow, names are cut, then columns are left out, and the last one
    /// is cut.
    #[must_use]
    pub fn render(&self, terminal: &Terminal) -> String {
        let mut widths: Vec<usize> = (0..self.titles.len()).map(|at| self.width(at)).collect();
        let names = self.titles.iter().position(|(title, _)| self.cut == Some(*title));
        let wanted = names.map(|at| (at, widths[at]));
        if let Some((at, width)) = wanted {
            widths[at] = width.min(NAME_WIDTH_MIN);
        }
        let mut shown: Vec<usize> = (0..self.titles.len()).collect();
        for title in self.spared {
            if terminal.columns.is_none_or(|columns| self.needs(&shown, &widths) <= columns) {
                break;
            }
            shown.retain(|at| self.titles[*at].0 != *title);
        }
        if let Some((at, width)) = wanted {
            let room = terminal
                .columns
                .map_or(usize::MAX, |columns| columns.saturating_sub(self.needs(&shown, &widths)));
            widths[at] = width.min(widths[at].saturating_add(room));
        }
        let titles: Vec<Cell> =
            self.titles.iter().map(|(title, _)| Cell::new(title, Style::Dim)).collect();
        let lines = std::iter::once(&titles).chain(&self.rows);
        lines.map(|row| self.line(row, &shown, &widths, terminal)).collect()
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| width_of(&row[column].text));
        cells.chain([width_of(self.titles[column].0)]).max().unwrap_or(0)
    }

    fn gap(&self, column: usize) -> usize {
        if self.titles[column].1 == Align::Mark { 1 } else { GAP }
    }

    /// Columns of the terminal that these columns need at least: words at the end may be cut.
    fn needs(&self, shown: &[usize], widths: &[usize]) -> usize {
        let Some((last, others)) = shown.split_last() else { return 0 };
        let is_cut = self.titles[*last].1 == Align::Left;
        let last = if is_cut { widths[*last].min(LAST_WIDTH_MIN) } else { widths[*last] };
        others.iter().map(|at| widths[*at] + self.gap(*at)).sum::<usize>() + last
    }

    fn line(&self, row: &[Cell], shown: &[usize], widths: &[usize], terminal: &Terminal) -> String {
        let mut line = StyledLine::default();
        for at in shown.iter().copied() {
            let Cell { text, style } = &row[at];
            let text = cut(text, widths[at]);
            let padding = widths[at].saturating_sub(width_of(&text));
            let (before, after) = match self.titles[at].1 {
                Align::Left | Align::Mark => (0, padding),
                Align::Right => (padding, 0),
            };
            line.push(&" ".repeat(before), Style::Plain);
            line.push(&text, *style);
            line.push(&" ".repeat(after + self.gap(at)), Style::Plain);
        }
        format!("{}\n", line.render(terminal).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[
            ("NODE", Align::Left),
            ("ATTEMPTS", Align::Right),
            ("DURATION", Align::Right),
            ("ERROR", Align::Left),
        ]);
        let row = |node, attempts, duration, error| {
            vec![
                Cell::plain(node),
                Cell::plain(attempts),
                Cell::plain(duration),
                Cell::new(error, Style::Red),
            ]
        };
        table.row(row("fetch", "1", "12ms", ""));
        table.row(row("日本語", "13", "1m05s", "connect: connection\nrefused by 127.0.0.1:9"));
        table.row(row("end", "", "", ""));
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_ends() {
        let expected = "\
NODE    ATTEMPTS  DURATION  ERROR
fetch          1      12ms
日本語        13     1m05s  connect: connection refused by 127.0.0.1:9
end
";
        assert_eq!(table().render(&Terminal::plain()), expected);
    }

    #[test]
    fn the_last_column_is_cut_to_the_terminal() {
        let narrow = Terminal { columns: Some(48), ..Terminal::plain() };
        let text = table().render(&narrow);
        assert_eq!(text.lines().nth(2), Some("日本語        13     1m05s  connect: connection…"));
        assert!(text.lines().all(|line| width_of(line) <= 48), "{text}");
    }

    #[test]
    fn a_narrow_terminal_does_without_columns() {
        let at = |columns| {
            let narrow = Terminal { columns: Some(columns), ..Terminal::plain() };
            table().sparing(&["ATTEMPTS", "DURATION", "ERROR"]).render(&narrow)
        };
        assert_eq!(at(40).lines().nth(2), Some("日本語        13     1m05s  connect: co…"));
        assert_eq!(at(39).lines().nth(2), Some("日本語     1m05s  connect: connection …"));
        assert_eq!(at(29).lines().nth(2), Some("日本語  connect: connection …"));
        assert_eq!(at(12).lines().nth(2), Some("日本語"));
        assert_eq!(at(4).lines().nth(2), Some("日…"));
    }

    #[test]
    fn long_names_are_cut_before_columns_are_left_out() {
        let mut table = Table::new(&[
            ("NODE", Align::Left),
            ("STATUS", Align::Left),
            ("DURATION", Align::Right),
        ]);
        table
            .row(["a-node-with-a-name-of-many-words", "succeeded", "12ms"].map(Cell::plain).into());
        let table = table.sparing(&["DURATION"]).cutting("NODE");
        let at = |columns| {
            let narrow = Terminal { columns: Some(columns), ..Terminal::plain() };
            table.render(&narrow).lines().nth(1).unwrap().to_owned()
        };
        assert_eq!(at(53), "a-node-with-a-name-of-many-words  succeeded      12ms");
        assert_eq!(at(41), "a-node-with-a-name-…  succeeded      12ms");
        assert_eq!(at(37), "a-node-with-a-n…  succeeded      12ms");
        assert_eq!(at(36), "a-node-with-a-name-of-ma…  succeeded");
        assert!(table.render(&Terminal::plain()).contains("many-words  succeeded"));
    }

    #[test]
    fn styles_do_not_disturb_the_alignment() {
        let colourful = Terminal { colour: true, ..Terminal::plain() };
        let text = table().render(&colourful);
        let bare = text.replace("\x1b[31m", "").replace("\x1b[2m", "").replace("\x1b[0m", "");
        assert_eq!(bare, table().render(&Terminal::plain()));
        assert!(text.contains("\x1b[31mconnect"), "{text:?}");
    }
}
