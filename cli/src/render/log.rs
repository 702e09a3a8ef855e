//! Rows of a run's log as lines.

use serde_json::Value;

use super::line::StyledLine;
use super::terminal::{Style, Terminal, clean, width_of};
use super::time::{clock, day};
use crate::client::LogRow;

/// Columns from which on a line shows the trace id beside the span id; it is the same for all of them.
const WIDE_COLUMNS: usize = 150;
/// Columns from which on a line shows the span id.
const SPAN_COLUMNS: usize = 110;
/// Columns from which on a line shows the event, which the message of all but `log` names too.
const EVENT_COLUMNS: usize = 96;
/// Columns of a message at least; with fewer it stands on a line of its own.
const MESSAGE_WIDTH_MIN: usize = 36;
/// How far such a line is indented.
const MESSAGE_INDENT: usize = 4;
/// Columns that an event or a node may claim for all rows.
const COLUMN_WIDTH_MAX: usize = 24;

/// Makes lines of rows. The columns grow with what has been seen, so that pages of one log fit each other.
#[derive(Debug, Clone)]
pub struct LogView {
    terminal: Terminal,
    event_width: usize,
    node_width: usize,
    /// The day that the last row was of.
    day: String,
}

impl LogView {
    /// A view for a terminal.
    #[must_use]
    pub fn new(terminal: Terminal) -> Self {
        Self { terminal, event_width: 0, node_width: 0, day: String::new() }
    }

    /// The rows as lines: time, level, ids, event, node, message, and what goes with it. A new day has a line of
    /// its own.
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
            let day = day(row.ts);
            if self.day != day {
                text.push_str(&format!("{}\n", self.terminal.paint(&day, Style::Dim)));
                self.day = day;
            }
            text.push_str(&self.line(row));
        }
        text
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
        if columns >= WIDE_COLUMNS {
            line.push(&format!("{} ", row.trace_id), Style::Dim);
        }
        if columns >= SPAN_COLUMNS {
            line.push(&format!("{}  ", row.span_id), Style::Dim);
        }
        let node = row.node.as_deref().unwrap_or_default();
        let mut head = line.clone();
        if columns >= EVENT_COLUMNS {
            line.push_padded(&row.event, Style::Plain, self.event_width + 2);
        }
        line.push_padded(node, Style::Plain, self.node_width + 2);
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

    #[test]
    fn lines_carry_both_ids_and_are_aligned() {
        let mut warning = row("node.retrying", Some("fetch"), "again\nsoon");
        warning.level = "warn".to_owned();
        warning.ts += TimeDelta::milliseconds(5);
        warning.data = Some(json!({"in": "1s", "why": "not now", "at": [1]}));
        let rows = [row("run.accepted", None, "accepted"), warning];
        let expected = format!(
            "\
2030-01-31 UTC
12:00:00.250 INFO  {0} {1}  run.accepted          accepted
12:00:00.255 WARN  {0} {1}  node.retrying  fetch  again soon  in=1s why=\"not now\" at=[1]
",
            "aa".repeat(16),
            "bb".repeat(8)
        );
        assert_eq!(LogView::new(Terminal::plain()).rows(&rows), expected);
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
    fn narrow_terminals_show_fewer_ids() {
        let at = |columns| {
            let narrow = Terminal { columns: Some(columns), ..Terminal::plain() };
            LogView::new(narrow).rows(&[row("run.started", None, "started")])
        };
        assert!(at(150).contains("aaaa") && at(150).contains("bbbb"), "{}", at(150));
        assert!(!at(120).contains("aaaa") && at(120).contains("bbbb"), "{}", at(120));
        assert!(!at(80).contains("aaaa") && !at(80).contains("bbbb"), "{}", at(80));
    }

    #[test]
    fn messages_are_broken_below_themselves() {
        let long =
            [row("log", Some("say"), "a message that has more words than the line has room")];
        let at = |columns| {
            LogView::new(Terminal { columns: Some(columns), ..Terminal::plain() }).rows(&long)
        };
        let wide = "\
2030-01-31 UTC
12:00:00.250 INFO  say  a message that has more words than
                        the line has room
";
        assert_eq!(at(60), wide);
        let narrow = "\
2030-01-31 UTC
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
        let days: Vec<_> = text.lines().filter(|line| line.ends_with(" UTC")).collect();
        assert_eq!(days, ["2030-01-31 UTC", "2030-02-01 UTC"]);
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
