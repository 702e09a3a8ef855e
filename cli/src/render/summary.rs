//! Runs in a few words: one in some lines, many in a table.

use chrono::{DateTime, TimeDelta, Utc};

use super::line::StyledLine;
use super::marked::{mark, marked};
use super::spent::spent;
use super::status::glyph;
use super::table::{Align, Cell};
use super::terminal::{Style, Terminal, clean};
use super::time::{duration, moment};
use super::workers::no_worker;
use crate::client::{Run, RunError, RunSummary};

/// Columns below which lines are laid out for a narrow terminal.
const NARROW: usize = 60;

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
    if let Some(reason) = no_worker(run) {
        say("waits", reason, Style::Yellow);
    }
    if let Some(error) = &run.error {
        let at = error.node.as_ref().map_or_else(String::new, |node| format!("{node}: "));
        say("error", &format!("{at}{}", error_text(error)), Style::Red);
    }
    text
}

/// Runs, a line each. On a terminal their age is shown, which is what one looks for; elsewhere when they were accepted,
/// which stays true.
#[must_use]
pub fn run_table(runs: &[RunSummary], now: DateTime<Utc>, terminal: &Terminal) -> String {
    let is_read_now = terminal.columns.is_some();
    let mut columns = vec![
        ("RUN", Align::Left),
        ("WORKFLOW", Align::Left),
        ("VERSION", Align::Right),
        ("STATUS", Align::Left),
        if is_read_now { ("AGE", Align::Right) } else { ("CREATED", Align::Left) },
        ("TOOK", Align::Right),
    ];
    let has_errors = runs.iter().any(|run| run.error.is_some());
    columns.extend(has_errors.then_some(("ERROR", Align::Left)));
    let mut table = marked(&columns, terminal)
        .sparing(&["VERSION", "ERROR", "TOOK", "RUN"])
        .cutting("WORKFLOW")
        .abbreviating("RUN");
    for run in runs {
        let created = run.created_at;
        let mut cells = mark(&run.status, terminal);
        cells.extend([
            Cell::plain(&run.id),
            Cell::plain(&run.workflow),
            Cell::plain(run.version.to_string()),
            Cell::new(&run.status, Style::of_status(&run.status)),
            Cell::plain(if is_read_now { age(created, now) } else { moment(created) }),
            Cell::plain(duration(run.finished_at.unwrap_or(now) - created)),
        ]);
        let error = run.error.as_ref().map_or_else(String::new, error_text);
        cells.extend(has_errors.then(|| Cell::new(error, Style::Red)));
        table.row(cells);
    }
    table.render(terminal)
}

/// How long ago something was, to the second: nobody looks for parts of one.
fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let age = (now - at).max(TimeDelta::zero());
    match age.num_seconds() {
        seconds @ 0..60 => format!("{seconds}s"),
        _ => duration(age),
    }
}

/// An error on one line.
pub(super) fn error_text(error: &RunError) -> String {
    match &error.details {
        Some(details) => format!("{}: {}: {details}", error.code, error.message),
        None => format!("{}: {}", error.code, error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{at, run, waiting_run};

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
    }

    #[test]
    fn a_run_that_no_worker_is_there_for_says_so_while_it_is_open() {
        let open = Run { no_worker: Some(true), ..waiting_run() };
        let text = headline(&open, &Terminal::plain());
        let line = "  waits  no worker lives: start one with skein-worker";
        assert_eq!(text.lines().last(), Some(line), "{text}");
        let ended = Run { no_worker: Some(true), ..run() };
        assert!(!headline(&ended, &Terminal::plain()).contains("no worker"));
        let unknown = Run { no_worker: None, ..waiting_run() };
        assert!(!headline(&unknown, &Terminal::plain()).contains("no worker"));
    }

    fn listed() -> Vec<RunSummary> {
        let run = |n: u32, workflow: &str, status: &str, took: Option<i64>| RunSummary {
            id: format!("019c0000-0000-7000-8000-{n:012x}"),
            workflow: workflow.to_owned(),
            version: 3,
            status: status.to_owned(),
            error: None,
            created_at: at(0),
            started_at: None,
            finished_at: took.map(at),
        };
        let error = RunError {
            code: "connect".to_owned(),
            message: "connection refused".to_owned(),
            details: None,
            node: Some("fetch".to_owned()),
        };
        vec![
            run(1, "digest", "running", None),
            RunSummary {
                error: Some(error),
                ..run(0xab_cdef, "a-workflow-with-a-long-name", "failed", Some(1500))
            },
        ]
    }

    #[test]
    fn runs_stand_in_a_table() {
        let expected = "\
RUN                                   WORKFLOW  VERSION  STATUS   CREATED                TOOK
019c0000-0000-7000-8000-000000000001  digest          3  running  2030-01-31T12:00:00Z  2.00s
";
        assert_eq!(run_table(&listed()[..1], at(2000), &Terminal::plain()), expected);
    }

    #[test]
    fn however_narrow_the_terminal_workflow_status_and_age_stay() {
        let at_width = |columns| {
            let narrow = Terminal { columns: Some(columns), ..Terminal::plain() };
            run_table(&listed(), at(125_000), &narrow)
        };
        let at_120 = concat!(
            "  RUN                                   WORKFLOW                     VERSION  STATUS     AGE   TOOK  ERROR\n",
            "… 019c0000-0000-7000-8000-000000000001  digest                             3  running  2m05s  2m05s\n",
            "✗ 019c0000-0000-7000-8000-000000abcdef  a-workflow-with-a-long-name        3  failed   2m05s  1.50s  connect: connectio…\n",
        );
        assert_eq!(at_width(120), at_120);
        let at_80 = concat!(
            "  RUN                                   WORKFLOW           STATUS     AGE   TOOK\n",
            "… 019c0000-0000-7000-8000-000000000001  digest             running  2m05s  2m05s\n",
            "✗ 019c0000-0000-7000-8000-000000abcdef  a-workflow-with-…  failed   2m05s  1.50s\n",
        );
        assert_eq!(at_width(80), at_80);
        let at_50 = concat!(
            "  RUN        WORKFLOW               STATUS     AGE\n",
            "… …00000001  digest                 running  2m05s\n",
            "✗ …00abcdef  a-workflow-with-a-lo…  failed   2m05s\n",
        );
        assert_eq!(at_width(50), at_50);
        for columns in [40, 50, 60, 80, 100, 160] {
            let text = at_width(columns);
            for word in ["WORKFLOW", "STATUS", "AGE", "digest", "running", "failed", "2m05s"] {
                assert!(text.contains(word), "{columns}: {text}");
            }
        }
    }
}
