//! Columns that are aligned.

use super::line::StyledLine;
use super::terminal::{Style, Terminal, clean, cut, cut_front, width_of};

/// Columns between two columns.
const GAP: usize = 2;
/// Columns that words at the end of a line keep while there are others to do without.
const LAST_WIDTH_MIN: usize = 12;
/// Columns that names keep where they are cut.
const NAME_WIDTH_MIN: usize = 16;
/// Columns that an id keeps where it is cut: its end, which tells it from its neighbours.
const ID_WIDTH_MIN: usize = 9;

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

/// A table with a line of titles, each title another one. A column stays on a narrow terminal unless something here says
/// otherwise.
#[derive(Debug, Clone)]
pub struct Table {
    titles: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
    spared: &'static [&'static str],
    names: Vec<&'static str>,
    ids: Option<&'static str>,
}

/// What a table does to need fewer columns of the terminal.
#[derive(Debug, Clone, Copy)]
enum Concession {
    /// Makes a column no wider than that.
    Narrow(usize, usize),
    /// Does without a column.
    LeaveOut(usize),
}

/// Which columns are shown, and how wide all of them are.
#[derive(Debug, Clone)]
struct Shape {
    shown: Vec<usize>,
    widths: Vec<usize>,
}

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub fn new(titles: &[(&'static str, Align)]) -> Self {
        Self {
            titles: titles.to_vec(),
            rows: Vec::new(),
            spared: &[],
            names: Vec::new(),
            ids: None,
        }
    }

    /// Says which columns a narrow terminal can do without: the first of them goes first.
    #[must_use]
    pub fn sparing(self, titles: &'static [&'static str]) -> Self {
        Self { spared: titles, ..self }
    }

    /// Says which column is cut before any is left out: one of names, which may be long and are known by their
    /// beginnings. There may be several.
    #[must_use]
    pub fn cutting(mut self, title: &'static str) -> Self {
        self.names.push(title);
        self
    }

    /// Says which column is one of ids. When its turn to be left out has come, it is cut to its end first, and left out
    /// after all others.
    #[must_use]
    pub fn abbreviating(self, title: &'static str) -> Self {
        Self { ids: Some(title), ..self }
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
        let shape = self.shape(terminal.columns.unwrap_or(usize::MAX));
        let titles: Vec<Cell> =
            self.titles.iter().map(|(title, _)| Cell::new(title, Style::Dim)).collect();
        let lines = std::iter::once(&titles).chain(&self.rows);
        lines.map(|row| self.line(row, &shape, terminal)).collect()
    }

    /// The shape that fits, or the least that there is.
    fn shape(&self, columns: usize) -> Shape {
        let widths: Vec<usize> = (0..self.titles.len()).map(|at| self.width(at)).collect();
        let mut shape = Shape { shown: (0..self.titles.len()).collect(), widths: widths.clone() };
        let mut left_out = Vec::new();
        for concession in self.concessions() {
            if self.needs(&shape) <= columns {
                break;
            }
            match concession {
                Concession::Narrow(at, width) => shape.widths[at] = shape.widths[at].min(width),
                Concession::LeaveOut(at) => {
                    shape.shown.retain(|shown| *shown != at);
                    left_out.push(at);
                }
            }
        }
        // What went last may have made more room than was needed.
        for at in left_out.into_iter().rev() {
            let mut fuller = shape.clone();
            let place = fuller.shown.partition_point(|shown| *shown < at);
            fuller.shown.insert(place, at);
            if self.needs(&fuller) <= columns {
                shape = fuller;
            }
        }
        for name in &self.names {
            let Some(at) = self.place(name) else { continue };
            let room = columns.saturating_sub(self.needs(&shape));
            shape.widths[at] = widths[at].min(shape.widths[at].saturating_add(room));
        }
        shape
    }

    /// What the table can do to get narrower, one thing after the other.
    fn concessions(&self) -> impl Iterator<Item = Concession> {
        let names = self.names.iter().filter_map(|name| self.place(name));
        let names = names.map(|at| Concession::Narrow(at, NAME_WIDTH_MIN));
        let ids = self.ids.and_then(|title| self.place(title));
        let spared = self.spared.iter().filter_map(|title| self.place(title));
        let is_spared = ids.filter(|_| self.spared.iter().any(|title| self.ids == Some(*title)));
        let spared = spared.map(move |at| match ids {
            Some(ids) if ids == at => Concession::Narrow(at, ID_WIDTH_MIN),
            _ => Concession::LeaveOut(at),
        });
        names.chain(spared).chain(is_spared.map(Concession::LeaveOut))
    }

    fn place(&self, title: &str) -> Option<usize> {
        self.titles.iter().position(|(name, _)| *name == title)
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| width_of(&row[column].text));
        cells.chain([width_of(self.titles[column].0)]).max().unwrap_or(0)
    }

    fn gap(&self, column: usize) -> usize {
        if self.titles[column].1 == Align::Mark { 1 } else { GAP }
    }

    /// Columns of the terminal that these columns need at least: words at the end may be cut.
    fn needs(&self, Shape { shown, widths }: &Shape) -> usize {
        let Some((last, others)) = shown.split_last() else { return 0 };
        let is_cut = self.titles[*last].1 == Align::Left;
        let last = if is_cut { widths[*last].min(LAST_WIDTH_MIN) } else { widths[*last] };
        others.iter().map(|at| widths[*at] + self.gap(*at)).sum::<usize>() + last
    }

    fn line(&self, row: &[Cell], shape: &Shape, terminal: &Terminal) -> String {
        let mut line = StyledLine::default();
        for at in shape.shown.iter().copied() {
            let Cell { text, style } = &row[at];
            let width = shape.widths[at];
            let is_id = self.ids == Some(self.titles[at].0);
            let text = if is_id { cut_front(text, width) } else { cut(text, width) };
            let padding = width.saturating_sub(width_of(&text));
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
    fn ids_are_cut_to_their_ends_and_go_last() {
        let mut table = Table::new(&[
            ("ID", Align::Left),
            ("NAME", Align::Left),
            ("STATUS", Align::Left),
            ("TOOK", Align::Right),
        ]);
        let cells = ["019c0000-0000-7000-8000-00000000abcd", "digest", "succeeded", "1.50s"];
        table.row(cells.map(Cell::plain).into());
        let table = table.sparing(&["TOOK", "ID"]).cutting("NAME").abbreviating("ID");
        let at = |columns| {
            let narrow = Terminal { columns: Some(columns), ..Terminal::plain() };
            table.render(&narrow).lines().nth(1).unwrap().to_owned()
        };
        let id = "019c0000-0000-7000-8000-00000000abcd";
        assert_eq!(at(62), format!("{id}  digest  succeeded  1.50s"));
        assert_eq!(at(61), format!("{id}  digest  succeeded"));
        assert_eq!(at(55), format!("{id}  digest  succeeded"));
        // An id that is cut leaves room for what went before it.
        assert_eq!(at(54), "…0000abcd  digest  succeeded  1.50s");
        assert_eq!(at(35), "…0000abcd  digest  succeeded  1.50s");
        assert_eq!(at(34), "…0000abcd  digest  succeeded");
        assert_eq!(at(27), "digest  succeeded  1.50s");
        assert_eq!(at(23), "digest  succeeded");
    }

    #[test]
    fn a_table_that_nothing_makes_narrow_enough_is_cut() {
        let mut table = Table::new(&[("ID", Align::Left), ("COUNT", Align::Right)]);
        table.row(["019c0000", "12"].map(Cell::plain).into());
        let narrow = Terminal { columns: Some(10), ..Terminal::plain() };
        let text = table.abbreviating("ID").cutting("NONE").render(&narrow);
        assert_eq!(text, "ID       …\n019c0000 …\n");
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
