//! Bars beside names and numbers.

use super::line::StyledLine;
use super::terminal::{Style, Terminal, clean, cut, width_of};

/// Columns of a name at most.
const NAME_WIDTH_MAX: usize = 36;
/// Columns of a bar, where there is room.
const BAR_WIDTH_MAX: usize = 24;
/// And at least.
const BAR_WIDTH_MIN: usize = 6;
/// Columns between two columns.
const GAP: usize = 2;

/// What a bar is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Work,
    Waiting,
}

impl Fill {
    fn glyph(self, terminal: &Terminal) -> &'static str {
        match (self, terminal.unicode) {
            (Self::Work, true) => "█",
            (Self::Waiting, true) => "░",
            (Self::Work, false) => "#",
            (Self::Waiting, false) => "-",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Work => Style::Cyan,
            Self::Waiting => Style::Yellow,
        }
    }
}

/// What the parts of bars mean, on one line.
pub(super) fn legend(meanings: &[(Fill, &str)], terminal: &Terminal) -> String {
    let mut line = StyledLine::default();
    for (fill, meaning) in meanings {
        line.push(fill.glyph(terminal), fill.style());
        line.push(&format!(" {meaning}  "), Style::Dim);
    }
    format!("{}\n", line.render(terminal).0)
}

/// A row of a chart.
#[derive(Debug, Clone)]
pub(super) struct ChartRow {
    pub(super) name: String,
    /// Parts of the bar, from 0 to 1, in order.
    pub(super) parts: Vec<(f64, Fill)>,
    /// One for each column.
    pub(super) numbers: Vec<String>,
    /// What to look at, whole: somebody may want to copy it.
    pub(super) example: Option<String>,
}

/// Bars beside names and numbers.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// Titles of the numbers.
    pub(super) columns: &'a [&'a str],
    pub(super) rows: Vec<ChartRow>,
}

impl Chart<'_> {
    /// The chart as lines. Where the terminal is too narrow, bars get shorter, and examples get lines of their own.
    pub(super) fn render(&self, terminal: &Terminal) -> String {
        let names = self.rows.iter().map(|row| width_of(&clean(&row.name)));
        let name = names.chain([width_of(self.title)]).max().unwrap_or(0).min(NAME_WIDTH_MAX);
        let numbers: Vec<usize> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        let without_bar = name + numbers.iter().map(|width| GAP + width).sum::<usize>() + GAP;
        let bar = terminal.columns.map_or(BAR_WIDTH_MAX, |columns| {
            columns.saturating_sub(without_bar).clamp(BAR_WIDTH_MIN, BAR_WIDTH_MAX)
        });
        let examples = self.rows.iter().filter_map(|row| row.example.as_deref().map(width_of));
        let example = examples.max().unwrap_or(0);
        let fits =
            terminal.columns.is_none_or(|columns| without_bar + bar + GAP + example <= columns);
        let mut line = StyledLine::default();
        line.push_padded(self.title, Style::Bold, name + GAP + bar);
        push_numbers(&mut line, self.columns.iter().copied(), &numbers, Style::Dim);
        let mut text = format!("{}\n", line.render(terminal).0);
        for row in &self.rows {
            let mut line = StyledLine::default();
            line.push_padded(&cut(&clean(&row.name), name), Style::Plain, name + GAP);
            fill(&mut line, &row.parts, bar, terminal);
            let shown = row.numbers.iter().map(String::as_str);
            push_numbers(&mut line, shown, &numbers, Style::Plain);
            let example = row.example.as_deref();
            if let Some(example) = example.filter(|_| fits) {
                line.push(&" ".repeat(GAP), Style::Plain);
                line.push(example, Style::Dim);
            }
            text.push_str(&format!("{}\n", line.render(terminal).0));
            if let Some(example) = example.filter(|_| !fits) {
                let mut line = StyledLine::default();
                line.push("  ", Style::Plain);
                line.push(example, Style::Dim);
                text.push_str(&format!("{}\n", line.wrap(terminal, 2)));
            }
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let numbers = self.rows.iter().filter_map(|row| row.numbers.get(column));
        let widths = numbers.map(|number| width_of(number));
        widths.chain([width_of(self.columns[column])]).max().unwrap_or(0)
    }
}

fn push_numbers<'a>(
    line: &mut StyledLine,
    numbers: impl Iterator<Item = &'a str>,
    widths: &[usize],
    style: Style,
) {
    for (number, width) in numbers.zip(widths) {
        line.push(&" ".repeat(GAP + width.saturating_sub(width_of(number))), Style::Plain);
        line.push(number, style);
    }
}

/// Adds a bar with blanks behind it. A part that is more than nothing has a column at least, while there is one.
fn fill(line: &mut StyledLine, parts: &[(f64, Fill)], width: usize, terminal: &Terminal) {
    let mut left = width;
    for (part, fill) in parts.iter().filter(|(part, _)| *part > 0.0) {
        let columns = ((part * width as f64).round() as usize).clamp(1, width).min(left);
        line.push(&fill.glyph(terminal).repeat(columns), fill.style());
        left -= columns;
    }
    line.push(&" ".repeat(left), Style::Plain);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(parts: &[(f64, f64)]) -> Chart<'static> {
        let row = |(at, (work, waiting)): (usize, &(f64, f64))| ChartRow {
            name: format!("w/node{at}"),
            parts: vec![(*work, Fill::Work), (*waiting, Fill::Waiting)],
            numbers: vec![format!("{at} %")],
            example: Some(format!("run-{at}")),
        };
        Chart {
            title: "Title",
            columns: &["SHARE"],
            rows: parts.iter().enumerate().map(row).collect(),
        }
    }

    #[test]
    fn bars_are_as_long_as_their_parts_and_never_longer_than_there_is_room() {
        let chart = chart(&[(0.5, 0.25), (0.001, 0.0), (9.0, 1.0), (0.0, 0.0)]);
        let expected = "\
Title                              SHARE
w/node0  ############------          0 %  run-0
w/node1  #                           1 %  run-1
w/node2  ########################    2 %  run-2
w/node3                              3 %  run-3
";
        assert_eq!(chart.render(&Terminal::plain()), expected);
        let unicode = Terminal { unicode: true, ..Terminal::plain() };
        assert!(chart.render(&unicode).contains("w/node0  ████████████░░░░░░ "));
    }

    #[test]
    fn a_legend_shows_the_parts_as_they_are_drawn() {
        let meanings = [(Fill::Work, "at work"), (Fill::Waiting, "waiting")];
        assert_eq!(legend(&meanings, &Terminal::plain()), "# at work  - waiting\n");
        let unicode = Terminal { unicode: true, ..Terminal::plain() };
        assert_eq!(legend(&meanings[1..], &unicode), "░ waiting\n");
    }

    #[test]
    fn a_narrow_terminal_has_short_bars_and_examples_below() {
        let narrow = |columns| Terminal { columns: Some(columns), ..Terminal::plain() };
        let chart = chart(&[(0.5, 0.5)]);
        let expected = "\
Title             SHARE
w/node0  ####---    0 %
  run-0
";
        assert_eq!(chart.render(&narrow(23)), expected);
        assert!(chart.render(&narrow(60)).lines().nth(1).unwrap().ends_with("run-0"));
        assert!(chart.render(&narrow(10)).lines().all(|line| width_of(line) <= 10));
    }
}
