//! Where in a file a diagnostic lies: its line and column, the node or edge, and the line itself with a mark below.

use serde_json::Value;
use skein_shared::document;

use super::terminal::{Style, Terminal, clean, width_of};
use crate::client::Diagnostic;
use crate::input::WorkflowFile;

/// Columns of a line that are shown where the terminal does not say how many it has.
const COLUMNS_MAX: usize = 120;
/// Columns of a line that are shown however narrow the terminal is.
const COLUMNS_MIN: usize = 16;

/// A document whose places are asked for.
pub(super) struct Places<'f> {
    file: &'f WorkflowFile,
    /// It, if it can be read.
    document: Option<Value>,
}

impl<'f> Places<'f> {
    pub(super) fn of(file: &'f WorkflowFile) -> Self {
        Self { file, document: document::parse(&file.text, Some(file.format)).ok() }
    }

    /// The place of a diagnostic that has line and column, in lines.
    pub(super) fn of_diagnostic(
        &self,
        diagnostic: &Diagnostic,
        terminal: &Terminal,
    ) -> Option<String> {
        let (line, column) = (diagnostic.line?, diagnostic.column?);
        let place = format!("{}:{line}:{column}", clean(&self.file.name));
        let mut text = format!("  {}", terminal.paint(&place, Style::Yellow));
        let pointer = diagnostic.pointer.as_deref().unwrap_or_default();
        if let Some(owner) = self.owner(pointer) {
            text.push_str(&format!(" ({})", clean(&owner)));
        }
        if !pointer.is_empty() {
            let pointer = format!(" {}", clean(pointer));
            text.push_str(&terminal.paint(&pointer, Style::Dim));
        }
        text.push('\n');
        text.push_str(&self.excerpt(line, column, terminal).unwrap_or_default());
        Some(text)
    }

    /// The node or the edge that a pointer leads into.
    fn owner(&self, pointer: &str) -> Option<String> {
        let mut tokens = pointer.split('/').skip(1);
        let (list, at) = (tokens.next()?, tokens.next()?);
        let owner = self.document.as_ref()?.get(list)?.get(at.parse::<usize>().ok()?)?;
        let text = |name: &str| owner.get(name).and_then(Value::as_str);
        match list {
            "nodes" => Some(format!("node {}", text("id")?)),
            "edges" => Some(format!("edge {} -> {}", text("from")?, text("to")?)),
            _ => None,
        }
    }

    /// A line, or as much of it around a column as there is room for, and a mark below.
    fn excerpt(&self, line: usize, column: usize, terminal: &Terminal) -> Option<String> {
        let bare = self.file.text.trim_start_matches('\u{feff}');
        let written = bare.lines().nth(line.checked_sub(1)?)?;
        let number = line.to_string();
        let gutter = "    ".len() + number.len() + " | ".len();
        let room = terminal.columns.map_or(COLUMNS_MAX, |columns| columns.saturating_sub(gutter));
        let room = room.clamp(COLUMNS_MIN, COLUMNS_MAX);
        // A mark may lie behind the last character.
        let before = column - 1;
        let first = if before < room { 0 } else { before - room / 2 };
        let start = if first > 0 { "…" } else { "" };
        let shown: Vec<char> = written.chars().skip(first).take(room).collect();
        let has_more = written.chars().nth(first + room).is_some();
        let prefix: String = shown.iter().take(before - first).collect();
        let shown: String = shown.into_iter().collect();
        let end = if has_more { "…" } else { "" };
        let blanks = " ".repeat(width_of(start) + width_of(&clean(&prefix)));
        let mark = terminal.paint("^", Style::Red);
        let bar = terminal.paint(&format!("    {number} |"), Style::Dim);
        let empty = terminal.paint(&format!("    {} |", " ".repeat(number.len())), Style::Dim);
        let shown = clean(&format!("{start}{shown}{end}"));
        Some(format!("{bar} {}\n{empty} {blanks}{mark}\n", shown.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use skein_shared::document::Format;

    use super::*;

    fn excerpt(text: &str, line: usize, column: usize, columns: Option<usize>) -> Option<String> {
        let (name, text, format) = ("w.yaml".to_owned(), text.to_owned(), Format::Yaml);
        let file = WorkflowFile { name, text, format };
        let terminal = Terminal { columns, ..Terminal::plain() };
        Places::of(&file).excerpt(line, column, &terminal)
    }

    #[test]
    fn the_mark_lies_below_its_column_whatever_stands_before() {
        assert_eq!(
            excerpt("a: 1\n\tä: 日本x\n", 2, 7, None),
            Some(format!("    2 |  ä: 日本x\n      | {}^\n", " ".repeat(8)))
        );
        assert_eq!(
            excerpt("a: \x1b[2J", 1, 8, None),
            Some(format!("    1 | a:  [2J\n      | {}^\n", " ".repeat(7)))
        );
        assert_eq!(excerpt("a: 1\n", 9, 1, None), None);
        // Behind the last character.
        assert_eq!(excerpt("a:", 1, 3, None), Some("    1 | a:\n      |   ^\n".to_owned()));
    }

    #[test]
    fn of_a_long_line_the_part_around_the_mark_is_shown() {
        let line = format!("{}!{}", "a".repeat(200_000), "b".repeat(200_000));
        let text = excerpt(&line, 1, 200_001, Some(40)).unwrap();
        let (shown, mark) = text.trim_end().split_once('\n').unwrap();
        assert!(width_of(shown) <= 42, "{shown}");
        assert_eq!(shown.chars().position(|c| c == '!'), mark.chars().position(|c| c == '^'));
        assert!(shown.contains("| …a") && shown.ends_with("b…"), "{shown}");
    }
}
