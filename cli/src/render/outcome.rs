//! What a run yielded.

use serde_json::Value;

use super::amounts::plural;
use super::terminal::{Style, Terminal, clean_lines, cut, width_of};
use crate::client::Run;
use crate::shell::ShellCommand;

/// Rows of a terminal that are left to what stands around an output: the run in a few lines, and the prompt.
const ROWS_AROUND: usize = 10;
/// Rows of an output that are shown on any terminal.
const ROWS_MIN: usize = 8;
/// Rows where the height of the terminal is unknown.
const ROWS_DEFAULT: usize = 24;
/// Columns before a command.
const COMMAND_INDENT: usize = 4;

/// What a run yielded: text as it is, anything else as JSON. A terminal shows as much of it as leaves the run itself in
/// sight, and how to see all of it; elsewhere it is whole. `server` are the flags of the server.
#[must_use]
pub(super) fn output(value: &Value, run: &Run, server: &[String], terminal: &Terminal) -> String {
    let text = match value {
        Value::String(text) => clean_lines(text.trim_end()),
        // Pretty JSON escapes what could drive a terminal, but for the directions of text.
        value => clean_lines(&format!("{value:#}")),
    };
    let Some(columns) = terminal.columns.map(|columns| columns.max(1)) else {
        return format!("{text}\n");
    };
    let height = terminal.rows.unwrap_or(ROWS_DEFAULT);
    let mut room = height.saturating_sub(ROWS_AROUND).max(ROWS_MIN);
    let mut shown = String::new();
    let mut lines = text.lines();
    let mut is_cut = false;
    for line in lines.by_ref() {
        let rows = width_of(line).div_ceil(columns).max(1);
        is_cut = rows > room;
        shown.push_str(&cut(line, room.saturating_mul(columns)));
        shown.push('\n');
        room = room.saturating_sub(rows);
        if room == 0 {
            break;
        }
    }
    let left_out = lines.count();
    if left_out > 0 || is_cut {
        let what = match left_out as u64 {
            0 => "… more".to_owned(),
            lines => format!("… {}", plural(lines, "more line", "more lines")),
        };
        let command = ["show", &run.id, "-o", "json"];
        shown.push_str(&left_out_with(&what, &command, server, terminal));
    }
    shown
}

/// What is said in place of what is left out, with the command of this program that shows it.
pub(super) fn left_out_with(
    what: &str,
    words: &[&str],
    server: &[String],
    terminal: &Terminal,
) -> String {
    let words = std::iter::once("skein").chain(words.iter().copied());
    let Some(command) = ShellCommand::new(words.chain(server.iter().map(String::as_str))) else {
        return format!("{}\n", terminal.paint(what, Style::Dim));
    };
    let line = format!("{what}: {command}");
    if terminal.columns.is_none_or(|columns| width_of(&line) <= columns) {
        return format!("{}\n", terminal.paint(&line, Style::Dim));
    }
    let width = terminal.columns.map(|columns| columns.saturating_sub(COMMAND_INDENT));
    let parts = command.lines(width).into_iter();
    let parts = parts.map(|part| format!("{}{part}", " ".repeat(COMMAND_INDENT)));
    let lines = std::iter::once(format!("{what}:")).chain(parts);
    lines.map(|line| format!("{}\n", terminal.paint(&line, Style::Dim))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::samples::run;

    const LOW: Terminal =
        Terminal { colour: false, live: true, columns: Some(80), rows: Some(30), unicode: true };
    const ALL: &str = "skein show 019c0000-0000-7000-8000-000000000001 -o json\n";

    fn shown(value: &Value, terminal: &Terminal) -> String {
        output(value, &run(), &[], terminal)
    }

    #[test]
    fn text_is_shown_as_it_is_and_the_rest_as_json() {
        let text = json!("a report\n  of \x1b[2J two lines\n");
        for terminal in [Terminal::plain(), LOW] {
            assert_eq!(shown(&text, &terminal), "a report\n  of  [2J two lines\n");
            assert_eq!(shown(&json!({"n": [1]}), &terminal), "{\n  \"n\": [\n    1\n  ]\n}\n");
        }
    }

    #[test]
    fn a_terminal_shows_what_there_is_room_for_and_how_to_see_the_rest() {
        let long = json!(vec![0; 100]);
        let text = shown(&long, &LOW);
        assert_eq!(text.lines().count(), 21, "{text}");
        assert!(text.ends_with(&format!("  0,\n… 82 more lines: {ALL}")), "{text}");
        assert_eq!(shown(&long, &Terminal::plain()).lines().count(), 102);
        let fits = shown(&json!(vec![0; 18]), &LOW);
        assert!(fits.ends_with("  0\n]\n"), "{fits}");
        let narrow = Terminal { columns: Some(50), ..LOW };
        let text = shown(&long, &narrow);
        let lines: Vec<_> = text.lines().skip(20).collect();
        let rest = "      019c0000-0000-7000-8000-000000000001 -o json";
        let expected = ["… 82 more lines:", "    skein show \\", rest];
        assert_eq!(lines, expected, "{text}");
        let low = Terminal { rows: Some(3), ..LOW };
        assert_eq!(shown(&long, &low).lines().count(), ROWS_MIN + 1);
    }

    #[test]
    fn a_line_that_takes_many_rows_is_cut_as_well() {
        let long = json!("x".repeat(80 * 20 + 1));
        let text = shown(&long, &LOW);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(width_of(lines[0]), 80 * 20, "{text}");
        assert!(lines[0].ends_with("x…") && text.ends_with(&format!("\n… more: {ALL}")), "{text}");
        assert_eq!(shown(&json!("x".repeat(80 * 20)), &LOW).lines().count(), 1);
        let both = json!(format!("{}\nand\nmore", "x".repeat(80 * 20)));
        assert!(shown(&both, &LOW).contains("… 2 more lines: "));
        assert_eq!(shown(&json!(""), &LOW), "");
    }
}
