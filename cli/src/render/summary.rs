//! What came of a run, and lists of runs.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::line::StyledLine;
use super::spent::spent;
use super::status::glyph;
use super::table::{Align, Cell, Table};
use super::terminal::{Style, Terminal, clean, clean_lines};
use super::time::{duration, moment};
use crate::client::{Run, RunError, RunSummary};

/// Columns below which lines are laid out for a narrow terminal.
const NARROW: usize = 60;
/// Lines of an output that are shown. `--json` shows all of it.
const OUTPUT_LINES_MAX: usize = 200;

/// A run in a few lines: how it ended, its id, its trace, what it has spent on models, and its error.
#[must_use]
pub fn headline(run: &Run, terminal: &Terminal) -> String {
    let style = Style::of_status(&run.status);
    let took = run.finished_at.map(|end| format!(" in {}", duration(end - run.created_at)));
    let mut text = format!(
        "{} {} {}{}\n",
        terminal.paint(glyph(&run.status), style),
        terminal.paint(&format!("{} v{}", clean(&run.workflow), run.version), Style::Bold),
        terminal.paint(&clean(&run.status), style),
        took.unwrap_or_default(),
    );
    let mut say = |name: &str, value: &str, style| {
        let mut line = StyledLine::default();
        line.push_padded(&format!("  {name}"), Style::Plain, 9);
        line.push(value, style);
        // Ids stay whole: somebody may want to copy one.
        let indent = if terminal.columns.is_some_and(|columns| columns < NARROW) { 4 } else { 9 };
        text.push_str(&format!("{}\n", line.wrap(terminal, indent)));
    };
    say("run", &run.id, Style::Plain);
    for earlier in &run.earlier_traces {
        say("before", &earlier.trace_id, Style::Plain);
    }
    say("trace", &run.trace_id, Style::Plain);
    if let Some(page) = &run.trace_url {
        say("see", &clean(page), Style::Plain);
    }
    if let Some(spent) = spent(run) {
        say("spent", &spent, Style::Plain);
    }
    if let Some(error) = &run.error {
        let at = error.node.as_ref().map_or_else(String::new, |node| format!("{node}: "));
        say("error", &format!("{at}{}", message(error)), Style::Red);
    }
    text
}

/// What a run yielded: text as it is, anything else as JSON.
#[must_use]
pub fn output(value: &Value) -> String {
    let text = match value {
        Value::String(text) => clean_lines(text.trim_end()),
        // Pretty JSON escapes what could drive a terminal, but for the directions of text.
        value => clean_lines(&format!("{value:#}")),
    };
    let mut lines: Vec<&str> = text.lines().collect();
    let left_out = lines.len().saturating_sub(OUTPUT_LINES_MAX);
    lines.truncate(OUTPUT_LINES_MAX);
    let mut shown = lines.join("\n");
    if left_out > 0 {
        shown.push_str(&format!("\n… {left_out} more lines; --json shows them all"));
    }
    shown.push('\n');
    shown
}

/// The nodes of a run: how each ended, after how many attempts and how long.
#[must_use]
pub fn node_table(run: &Run, now: DateTime<Utc>, terminal: &Terminal) -> String {
    let mut columns = vec![
        ("NODE", Align::Left),
        ("TYPE", Align::Left),
        ("STATUS", Align::Left),
        ("ATTEMPTS", Align::Right),
        ("DURATION", Align::Right),
    ];
    let has_errors = run.nodes.iter().any(|node| node.error.is_some());
    columns.extend(has_errors.then_some(("ERROR", Align::Left)));
    let mut table = marked(&columns, terminal)
        .sparing(&["ATTEMPTS", "TYPE", "ERROR", "DURATION"])
        .cutting("NODE");
    for node in &run.nodes {
        let took = node.first_started_at().map(|start| node.finished_at.unwrap_or(now) - start);
        let mut cells = mark(&node.status, terminal);
        cells.extend([
            Cell::plain(node.label()),
            Cell::plain(&node.r#type),
            Cell::new(&node.status, Style::of_status(&node.status)),
            Cell::plain(if node.attempts == 0 { String::new() } else { node.attempts.to_string() }),
            Cell::plain(took.map_or_else(String::new, duration)),
        ]);
        let error = node.error.as_ref().map_or_else(String::new, message);
        cells.extend(has_errors.then(|| Cell::new(error, Style::Red)));
        table.row(cells);
    }
    table.render(terminal)
}

/// Runs, a line each.
#[must_use]
pub fn run_table(runs: &[RunSummary], now: DateTime<Utc>, terminal: &Terminal) -> String {
    let mut columns = vec![
        ("RUN", Align::Left),
        ("WORKFLOW", Align::Left),
        ("VERSION", Align::Right),
        ("STATUS", Align::Left),
        ("CREATED", Align::Left),
        ("DURATION", Align::Right),
    ];
    let has_errors = runs.iter().any(|run| run.error.is_some());
    columns.extend(has_errors.then_some(("ERROR", Align::Left)));
    let spared = &["VERSION", "CREATED", "ERROR", "DURATION", "STATUS", "WORKFLOW"];
    let mut table = marked(&columns, terminal).sparing(spared).cutting("WORKFLOW");
    for run in runs {
        let mut cells = mark(&run.status, terminal);
        cells.extend([
            Cell::plain(&run.id),
            Cell::plain(&run.workflow),
            Cell::plain(run.version.to_string()),
            Cell::new(&run.status, Style::of_status(&run.status)),
            Cell::plain(moment(run.created_at)),
            Cell::plain(duration(run.finished_at.unwrap_or(now) - run.created_at)),
        ]);
        let error = run.error.as_ref().map_or_else(String::new, message);
        cells.extend(has_errors.then(|| Cell::new(error, Style::Red)));
        table.row(cells);
    }
    table.render(terminal)
}

/// A table whose rows start with a glyph on a terminal, where people look; elsewhere the first column is the
/// first word.
fn marked(columns: &[(&'static str, Align)], terminal: &Terminal) -> Table {
    let mark = terminal.columns.map(|_| ("", Align::Mark));
    let columns: Vec<_> = mark.into_iter().chain(columns.iter().copied()).collect();
    Table::new(&columns)
}

fn mark(status: &str, terminal: &Terminal) -> Vec<Cell> {
    let mark = terminal.columns.map(|_| Cell::new(glyph(status), Style::of_status(status)));
    mark.into_iter().collect()
}

fn message(error: &RunError) -> String {
    match &error.details {
        Some(details) => format!("{}: {}: {details}", error.code, error.message),
        None => format!("{}: {}", error.code, error.message),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::samples::{at, run};

    #[test]
    fn a_run_is_shown_in_a_few_lines() {
        let expected = format!(
            "\
✗ digest v3 failed in 1.50s
  run    019c0000-0000-7000-8000-000000000001
  trace  {}
  error  flaky: connect: connection refused
",
            "aa".repeat(16)
        );
        assert_eq!(headline(&run(), &Terminal::plain()), expected);
    }

    #[test]
    fn the_page_of_a_trace_stands_below_its_id() {
        let page = "https://signoz.example/trace/aa".to_owned();
        let run = Run { trace_url: Some(page), ..run() };
        let text = headline(&run, &Terminal::plain());
        assert_eq!(text.lines().nth(3), Some("  see    https://signoz.example/trace/aa"));
    }

    #[test]
    fn what_was_spent_stands_between_trace_and_error() {
        let run = Run { calls: Some(2), cost_usd: Some(0.25), ..run() };
        let text = headline(&run, &Terminal::plain());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[3], "  spent  2 calls, 0 tokens in, 0 out, $0.25");
        assert!(lines[4].starts_with("  error"), "{text}");
    }

    #[test]
    fn the_nodes_stand_in_a_table() {
        let expected = "\
NODE   TYPE  STATUS     ATTEMPTS  DURATION  ERROR
fetch  http  succeeded         1      40ms
flaky  http  failed            2     1.44s  connect: connection refused
";
        assert_eq!(node_table(&run(), at(2000), &Terminal::plain()), expected);
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters() {
        let narrow = Terminal { columns: Some(40), ..Terminal::plain() };
        let expected = "\
✗ digest v3 failed in 1.50s
  run
    019c0000-0000-7000-8000-000000000001
  trace
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
  error  flaky: connect: connection
    refused
";
        assert_eq!(headline(&run(), &narrow), expected);
        let table = node_table(&run(), at(2000), &narrow);
        let lines: Vec<_> = table.lines().collect();
        let expected = [
            "  NODE   STATUS     DURATION",
            "✓ fetch  succeeded      40ms",
            "✗ flaky  failed        1.44s",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn runs_stand_in_a_table() {
        let run = RunSummary {
            id: "019c".to_owned(),
            workflow: "digest".to_owned(),
            version: 3,
            status: "running".to_owned(),
            error: None,
            created_at: at(0),
            started_at: None,
            finished_at: None,
        };
        let expected = "\
RUN   WORKFLOW  VERSION  STATUS   CREATED               DURATION
019c  digest          3  running  2030-01-31T12:00:00Z     2.00s
";
        assert_eq!(run_table(&[run], at(2000), &Terminal::plain()), expected);
    }

    #[test]
    fn text_is_shown_as_it_is_and_the_rest_as_json() {
        assert_eq!(
            output(&json!("a report\n  of \x1b[2J two lines\n")),
            "a report\n  of  [2J two lines\n"
        );
        assert_eq!(output(&json!({"n": [1]})), "{\n  \"n\": [\n    1\n  ]\n}\n");
        let long = output(&json!(vec![0; OUTPUT_LINES_MAX]));
        assert!(long.ends_with("… 2 more lines; --json shows them all\n"), "{long}");
    }
}
