//! Rows of a run's log as lines.

use serde_json::Value;

use super::terminal::{Style, Terminal, clean, width_of};
use super::time::clock;
use crate::client::LogRow;

/// Columns from which on a line shows the trace id beside the span id; narrower terminals have it in the title.
const WIDE_COLUMNS: usize = 150;
/// Columns that an event or a node may claim for all rows.
const COLUMN_WIDTH_MAX: usize = 24;

/// Makes lines of rows. The columns grow with what has been seen, so that pages of one log fit each other.
#[derive(Debug, Clone)]
pub struct LogView {
    terminal: Terminal,
    event_width: usize,
    node_width: usize,
}

impl LogView {
    /// A view for a terminal.
    #[must_use]
    pub fn new(terminal: Terminal) -> Self {
        Self { terminal, event_width: 0, node_width: 0 }
    }

    /// The rows as lines: time, level, ids, event, node, message, and what goes with it.
    #[must_use]
    pub fn rows(&mut self, rows: &[LogRow]) -> String {
        let grown = |now: usize, texts: &mut dyn Iterator<Item = usize>| {
            texts.map(|width| width.min(COLUMN_WIDTH_MAX)).fold(now, usize::max)
        };
        self.event_width =
            grown(self.event_width, &mut rows.iter().map(|row| width_of(&row.event)));
        let nodes = rows.iter().filter_map(|row| row.node.as_deref());
        self.node_width = grown(self.node_width, &mut nodes.map(width_of));
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &LogRow) -> String {
        let padded = |text: &str, width: usize| {
            format!("{text}{}", " ".repeat(width.saturating_sub(width_of(text))))
        };
        let style = match row.level.as_str() {
            "error" => Style::Red,
            "warn" => Style::Yellow,
            "debug" => Style::Dim,
            _ => Style::Green,
        };
        let ids = match self.terminal.columns {
            Some(columns) if columns < WIDE_COLUMNS => row.span_id.clone(),
            _ => format!("{} {}", row.trace_id, row.span_id),
        };
        let data = row.data.as_ref().map_or_else(String::new, |data| details(data, &row.message));
        let paint = |text: &str, style| self.terminal.paint(text, style);
        let line = format!(
            "{} {} {}  {}  {}  {}{}",
            paint(&clock(row.ts), Style::Dim),
            paint(&padded(&clean(&row.level).to_uppercase(), 5), style),
            paint(&clean(&ids), Style::Dim),
            padded(&clean(&row.event), self.event_width),
            padded(&clean(row.node.as_deref().unwrap_or_default()), self.node_width),
            clean(&row.message),
            paint(&data, Style::Dim),
        );
        format!("{}\n", line.trim_end())
    }
}

/// What goes with a row, in short: `name=value` where it is an object. What the message says is not said again.
fn details(data: &Value, message: &str) -> String {
    let Some(fields) = data.as_object() else {
        return if data.is_null() {
            String::new()
        } else {
            format!("  {}", clean(&data.to_string()))
        };
    };
    let mut text = String::new();
    for (name, value) in fields {
        let value = match value {
            Value::String(value) if message.contains(value.as_str()) => continue,
            Value::String(value) if !value.contains(char::is_whitespace) => value.clone(),
            value => value.to_string(),
        };
        text.push_str(if text.is_empty() { "  " } else { " " });
        text.push_str(&clean(&format!("{name}={value}")));
    }
    text
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
        warning.data = Some(json!({"in": "1s", "node": "again", "why": "not now", "at": [1]}));
        let rows = [row("run.accepted", None, "accepted"), warning];
        let expected = format!(
            "\
12:00:00.250 INFO  {0} {1}  run.accepted          accepted
12:00:00.255 WARN  {0} {1}  node.retrying  fetch  again soon  in=1s why=\"not now\" at=[1]
",
            "aa".repeat(16),
            "bb".repeat(8)
        );
        assert_eq!(LogView::new(Terminal::plain()).rows(&rows), expected);
    }

    #[test]
    fn narrow_terminals_show_the_span_only() {
        let narrow = Terminal { columns: Some(100), ..Terminal::plain() };
        let text = LogView::new(narrow).rows(&[row("run.started", None, "started")]);
        assert!(!text.contains("aaaa") && text.contains("bbbb"), "{text}");
    }

    #[test]
    fn columns_only_grow() {
        let mut view = LogView::new(Terminal::plain());
        let first = view.rows(&[row("node.succeeded", Some("a"), "x")]);
        let second = view.rows(&[row("log", Some("b"), "x")]);
        assert_eq!(first.len(), second.len());
    }
}
