//! Rows of a run's log as lines.

use serde_json::Value;

use super::line::StyledLine;
use super::terminal::{Style, Terminal, clean, cut, width_of};
use super::time::{clock, day};
use crate::client::LogRow;

/// Columns of a message at least; with fewer it stands on a line of its own.
const MESSAGE_WIDTH_MIN: usize = 36;
/// How far such a line is indented.
const MESSAGE_INDENT: usize = 4;
/// Columns that an event or a node may claim for all rows.
const COLUMN_WIDTH_MAX: usize = 24;
/// Columns between two columns.
const GAP: usize = 2;
/// Which part of a line nodes may claim at most.
const NODE_PART: usize = 6;

/// Makes lines of rows. The columns grow with what has been seen, so that pages of one log fit each other. What many
/// rows have in common, the day and the trace, stands once, on a line before them.
#[derive(Debug, Clone)]
pub struct LogView {
    terminal: Terminal,
    has_ids: bool,
    event_width: usize,
    node_width: usize,
    /// The day that the last row was of.
    day: String,
    /// The trace that it was in.
    trace: String,
}

impl LogView {
    /// A view for a terminal.
    #[must_use]
    pub fn new(terminal: Terminal) -> Self {
        let (day, trace) = (String::new(), String::new());
        Self { terminal, has_ids: false, event_width: 0, node_width: 0, day, trace }
    }

    /// The same with trace id and span id in each row, for whoever takes rows out of their context.
    #[must_use]
    pub fn with_ids(self) -> Self {
        Self { has_ids: true, ..self }
    }

    /// The rows as lines: time, level, event, node, message, and what goes with it. A new day or another trace has a
    /// line of its own.
    #[must_use]
    pub fn rows(&mut self, rows: &[LogRow]) -> String {
        let grown = |now: usize, texts: &mut dyn Iterator<Item = usize>| {
            texts.map(|width| width.min(COLUMN_WIDTH_MAX)).fold(now, usize::max)
        };
        self.event_width =
            grown(self.event_width, &mut rows.iter().map(|row| width_of(&row.event)));
        let nodes = rows.iter().filter_map(|row| row.node.as_deref());
        self.node_width = grown(self.node_width, &mut nodes.map(width_of));
        let mut text = String::new();
        for row in rows {
            text.push_str(&self.heading(row));
            text.push_str(&self.line(row));
        }
        text
    }

    /// What the rows from this one on have in common, as far as that has not been said.
    fn heading(&mut self, row: &LogRow) -> String {
        let day = day(row.ts);
        let mut news = Vec::new();
        if self.day != day {
            news.push(day.clone());
            self.day = day;
        }
        if self.trace != row.trace_id && !self.has_ids {
            news.push(format!("trace {}", row.trace_id));
            self.trace.clone_from(&row.trace_id);
        }
        let together = news.join("  ");
        if self.terminal.columns.is_none_or(|columns| width_of(&together) <= columns) {
            news = vec![together];
        }
        let news = news.iter().filter(|it| !it.is_empty());
        news.map(|it| format!("{}\n", self.terminal.paint(&clean(it), Style::Dim))).collect()
    }

    fn line(&self, row: &LogRow) -> String {
        let style = match row.level.as_str() {
            "error" => Style::Red,
            "warn" => Style::Yellow,
            "debug" => Style::Dim,
            _ => Style::Green,
        };
        let columns = self.terminal.columns.unwrap_or(usize::MAX);
        let mut line = StyledLine::default();
        line.push(&clock(row.ts), Style::Dim);
        line.push(" ", Style::Plain);
        line.push_padded(&row.level.to_uppercase(), style, 6);
        if self.has_ids {
            line.push(&format!("{} {}  ", row.trace_id, row.span_id), Style::Dim);
        }
        let node = row.node.as_deref().unwrap_or_default();
        let node_width = self.node_width.min(columns / NODE_PART) + GAP;
        let mut head = line.clone();
        // The message names the event in words, unless it is a node's own: it gets the greater part of the line.
        let with_event = line.width() + self.event_width + GAP + node_width;
        let has_room = with_event.saturating_add(MESSAGE_WIDTH_MIN) <= columns;
        if has_room && with_event <= columns / 2 {
            push_column(&mut line, &row.event, self.event_width + GAP);
        }
        // Nobody widens a file.
        let is_cut = self.terminal.columns.is_some();
        let shown = if is_cut { cut(node, node_width - GAP) } else { node.to_owned() };
        push_column(&mut line, &shown, node_width);
        let indent = line.width();
        let data = details(row);
        if columns >= indent.saturating_add(MESSAGE_WIDTH_MIN) {
            line.push(&row.message, Style::Plain);
            line.push(&data, Style::Dim);
            return format!("{}\n", line.wrap(&self.terminal, indent));
        }
        head.push(&format!("{} {node}", row.event), Style::Plain);
        let mut message = StyledLine::default();
        message.push(&" ".repeat(MESSAGE_INDENT), Style::Plain);
        message.push(&row.message, Style::Plain);
        message.push(&data, Style::Dim);
        let (head, _) = head.render(&self.terminal);
        format!("{head}\n{}\n", message.wrap(&self.terminal, MESSAGE_INDENT))
    }
}

/// Adds a text and blanks up to a width; at least a gap where it is wider.
fn push_column(line: &mut StyledLine, text: &str, width: usize) {
    line.push_padded(text, Style::Plain, width.max(width_of(text) + GAP));
}

/// What goes with a row, in short: `name=value` where it is an object. What the message says is not said again.
fn details(row: &LogRow) -> String {
    let Some(data) = row.data.as_ref().filter(|data| !data.is_null()) else {
        return String::new();
    };
    let Some(fields) = data.as_object() else {
        return format!("  {}", clean(&data.to_string()));
    };
    let mut text = String::new();
    for (name, value) in fields {
        let value = match value {
            Value::String(value) if is_shown(row, name, value) => continue,
            Value::String(value) if !value.is_empty() && !value.contains(char::is_whitespace) => {
                value.clone()
            }
            value => value.to_string(),
        };
        text.push_str(if text.is_empty() { "  " } else { " " });
        text.push_str(&clean(&format!("{name}={value}")));
    }
    text
}

/// Whether the row's message ends with this field. Only the end of a run is shown with its failure's message; what
/// else looks alike, does so by chance, and the data of `log` rows is the workflow's.
fn is_shown(row: &LogRow, name: &str, value: &str) -> bool {
    name == "message"
        && row.event.starts_with("run.")
        && row.message.strip_suffix(value).is_some_and(|before| before.ends_with(": "))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;

    fn row(event: &str, node: Option<&str>, message: &str) -> LogRow {
        LogRow {
            ts: "2030-01-31T12:00:00.250Z".parse().unwrap(),
            level: "info".to_owned(),
            event: event.to_owned(),
            message: message.to_owned(),
            node: node.map(ToOwned::to_owned),
            data: None,
            trace_id: "aa".repeat(16),
            span_id: "bb".repeat(8),
        }
    }

    fn two_rows() -> [LogRow; 2] {
        let mut warning = row("node.retrying", Some("fetch"), "again\nsoon");
        warning.level = "warn".to_owned();
        warning.ts += TimeDelta::milliseconds(5);
        warning.data = Some(json!({"in": "1s", "why": "not now", "at": [1]}));
        [row("run.accepted", None, "accepted"), warning]
    }

    #[test]
    fn lines_are_aligned_and_what_they_share_stands_once() {
        let expected = format!(
            "\
2030-01-31 UTC  trace {}
12:00:00.250 INFO  run.accepted          accepted
12:00:00.255 WARN  node.retrying  fetch  again soon  in=1s why=\"not now\" at=[1]
",
            "aa".repeat(16)
        );
        assert_eq!(LogView::new(Terminal::plain()).rows(&two_rows()), expected);
    }

    #[test]
    fn lines_carry_their_ids_where_these_are_asked_for() {
        let expected = format!(
            "\
2030-01-31 UTC
12:00:00.250 INFO  {0} {1}  run.accepted          accepted
12:00:00.255 WARN  {0} {1}  node.retrying  fetch  again soon  in=1s why=\"not now\" at=[1]
",
            "aa".repeat(16),
            "bb".repeat(8)
        );
        assert_eq!(LogView::new(Terminal::plain()).with_ids().rows(&two_rows()), expected);
        let narrow = Terminal { columns: Some(80), ..Terminal::plain() };
        let text = LogView::new(narrow).with_ids().rows(&two_rows()[..1]);
        let line = text.lines().nth(1).unwrap();
        assert!(line.contains(&"aa".repeat(16)) && line.contains(&"bb".repeat(8)), "{text}");
    }

    #[test]
    fn another_trace_has_a_line_of_its_own() {
        let [first, mut second] = two_rows();
        second.trace_id = "cc".repeat(16);
        let mut view = LogView::new(Terminal::plain());
        let text = view.rows(&[first, second.clone()]);
        assert_eq!(text.lines().nth(2), Some(&*format!("trace {}", "cc".repeat(16))), "{text}");
        assert_eq!(view.rows(&[second]).lines().count(), 1);
    }

    #[test]
    fn only_what_a_message_is_known_to_repeat_is_left_out() {
        let details = |event: &str, message: &str, data: Value| {
            details(&LogRow { data: Some(data), ..row(event, None, message) })
        };
        let of_log = json!({"branch": "a", "empty": "", "word": "came", "message": "came a"});
        let shown = "  branch=a empty=\"\" word=came message=\"came a\"";
        assert_eq!(details("log", "an order: came a", of_log), shown);
        let failure = json!({"code": "gone", "message": "it is gone", "node": "failed"});
        let shown = "  code=gone node=failed";
        assert_eq!(details("run.failed", "run failed: it is gone", failure.clone()), shown);
        let shown = "  code=gone message=\"it is gone\" node=failed";
        assert_eq!(details("run.failed", "run failed: so it is gone", failure), shown);
        assert_eq!(
            details("node.failed", "code node x failed", json!({"code": "code"})),
            "  code=code"
        );
        assert_eq!(details("log", "nothing", Value::Null), "");
        assert_eq!(details("log", "a list", json!([1])), "  [1]");
    }

    #[test]
    fn the_message_gets_the_greater_part_of_a_line_however_wide_that_is() {
        let mut rows = two_rows();
        rows[1].node = Some("a-node-with-a-long-name".to_owned());
        for columns in [50, 80, 100, 120, 160, 240] {
            let terminal = Terminal { columns: Some(columns), ..Terminal::plain() };
            let text = LogView::new(terminal).rows(&rows);
            let line = text.lines().find(|line| line.contains("again soon")).unwrap();
            let (before, _) = line.split_once("again").unwrap();
            assert!(before.ends_with("  ") && width_of(before) <= columns / 2, "{columns}: {text}");
            assert_eq!(before.contains("node.retrying"), columns >= 120, "{columns}: {text}");
        }
    }

    #[test]
    fn messages_are_broken_below_themselves() {
        let long =
            [row("log", Some("say"), "a message that has more words than the line has room")];
        let at = |columns| {
            LogView::new(Terminal { columns: Some(columns), ..Terminal::plain() }).rows(&long)
        };
        let wide = "\
2030-01-31 UTC  trace aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
12:00:00.250 INFO  say  a message that has more words than
                        the line has room
";
        assert_eq!(at(60), wide);
        let narrow = "\
2030-01-31 UTC
trace aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
12:00:00.250 INFO  log say
    a message that has more words than
    the line has room
";
        assert_eq!(at(40), narrow);
    }

    #[test]
    fn a_new_day_has_a_line_of_its_own() {
        let mut view = LogView::new(Terminal::plain());
        let first = row("log", None, "x");
        let mut next = first.clone();
        next.ts += TimeDelta::hours(12);
        let text = view.rows(&[first, next.clone()]);
        let days: Vec<_> = text.lines().filter(|line| line.contains(" UTC")).collect();
        let first = format!("2030-01-31 UTC  trace {}", "aa".repeat(16));
        assert_eq!(days, [first.as_str(), "2030-02-01 UTC"]);
        assert_eq!(view.rows(&[next]).lines().count(), 1);
    }

    #[test]
    fn columns_only_grow() {
        let mut view = LogView::new(Terminal::plain());
        let first = view.rows(&[row("node.succeeded", Some("a"), "x")]);
        let second = view.rows(&[row("log", Some("b"), "x")]);
        assert_eq!(first.lines().last().unwrap().len(), second.trim_end().len());
    }
}
