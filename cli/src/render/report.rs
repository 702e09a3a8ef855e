//! All that there is to show of a run, in the order in which it is read: what came of it stands last, where a terminal
//! leaves it in sight.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::line::StyledLine;
use super::log::LogView;
use super::nodes::node_table;
use super::outcome::{left_out_with, output};
use super::plan::Plan;
use super::summary::headline;
use super::terminal::{Style, Terminal};
use super::waits::waits;
use crate::client::{LogRow, Run};

/// What the times of a node are that stand near each other.
const TIMES: &str = "TOOK: first claim to last commit; inlined: in the commit before; execution_ms in the log: work alone";

/// Columns of an input that is said in short where there is no terminal.
const INPUT_COLUMNS: usize = 120;

/// A run with what was read of it.
#[derive(Debug)]
pub struct Report<'a> {
    /// The run, with its output.
    pub run: &'a Run,
    /// What its workflow plans.
    pub plan: &'a Plan,
    /// The first rows of its log, unless it was shown as it came.
    pub log: Option<&'a [LogRow]>,
    /// Whether these are all.
    pub is_log_whole: bool,
    /// The waterfall and what is said of it.
    pub trace: &'a str,
    /// What else was asked for: titles, and what stands below each.
    pub details: &'a [(&'a str, String)],
    /// Whether its input is said in short where it failed: it does not stand among the details.
    pub says_input: bool,
    /// Whether workers are named though there is only one.
    pub names_workers: bool,
    /// The flags of the server.
    pub server: &'a [String],
}

impl Report<'_> {
    /// Nodes, log and waterfall, and then how the run is, and what it yielded or waits for.
    #[must_use]
    pub fn render(&self, now: DateTime<Utc>, terminal: &Terminal) -> String {
        let Self { run, plan, server, .. } = self;
        let title = |text: &str| format!("{}\n", terminal.paint(text, Style::Bold));
        let mut text = title("Nodes");
        text.push_str(&node_table(run, plan, self.names_workers, now, terminal));
        let mut times = StyledLine::default();
        times.push(TIMES, Style::Dim);
        text.push_str(&format!("{}\n", times.wrap(terminal, 2)));
        if let Some(log) = self.log {
            text.push_str(&format!("\n{}", title("Log")));
            text.push_str(&LogView::new(*terminal).rows(log));
            if !self.is_log_whole {
                let command = ["logs", run.id.as_str()];
                text.push_str(&left_out_with("… more", &command, server, terminal));
            }
        }
        text.push_str(&format!("\n{}{}\n", title("Trace"), self.trace));
        for (name, details) in self.details {
            text.push_str(&format!("{}{details}\n", title(name)));
        }
        text.push_str(&headline(run, terminal));
        if self.says_input {
            text.push_str(&input_in_short(run, server, terminal));
        }
        if let Some(value) = run.output.as_ref().filter(|value| !value.is_null()) {
            text.push_str(&format!("\n{}", title("Output")));
            text.push_str(&output(value, run, server, terminal));
        }
        let waits = waits(run, server, now, terminal);
        if !waits.is_empty() {
            text.push_str(&format!("\n{waits}"));
        }
        text
    }
}

/// The input of a run that failed, on one line below the others that say how it is, and how to see all of it where that has no
/// room there. Nothing where there is none, or nothing in it.
fn input_in_short(run: &Run, server: &[String], terminal: &Terminal) -> String {
    let has_failed = matches!(run.status.as_str(), "failed" | "timed_out");
    let Some(input) = run.input.as_ref().filter(|input| has_failed && !is_empty(input)) else {
        return String::new();
    };
    let columns = terminal.columns.unwrap_or(INPUT_COLUMNS);
    let mut line = StyledLine::default();
    line.push_padded("  input", Style::Plain, 9);
    line.push(&input.to_string(), Style::Plain);
    let (shown, _) = line.render(&Terminal { columns: Some(columns), ..*terminal });
    let mut text = format!("{shown}\n");
    if line.width() > columns {
        let command = ["show", run.id.as_str(), "--inputs"];
        text.push_str(&left_out_with("… all of it", &command, server, terminal));
    }
    text
}

fn is_empty(input: &Value) -> bool {
    input.is_null() || input.as_object().is_some_and(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::samples::{at, plan, run};
    use crate::render::waterfall;

    fn log() -> Vec<LogRow> {
        let row = json!({
            "ts": at(5), "level": "info", "event": "run.started", "message": "started", "node": null, "data": null,
            "trace_id": "aa".repeat(16), "span_id": "b0".repeat(8),
        });
        vec![serde_json::from_value(row).unwrap()]
    }

    fn drawn(run: &Run, is_log_whole: bool, terminal: &Terminal) -> String {
        let trace = waterfall(run, &plan(), &[], at(2000), terminal);
        let (log, plan) = (log(), plan());
        let report = Report {
            run,
            plan: &plan,
            log: Some(&log),
            is_log_whole,
            trace: &trace,
            details: &[],
            says_input: true,
            names_workers: false,
            server: &[],
        };
        report.render(at(2000), terminal)
    }

    #[test]
    fn a_log_that_was_shown_as_it_came_is_not_shown_again() {
        let (run, plan) = (run(), plan());
        let report = Report {
            run: &run,
            plan: &plan,
            log: None,
            is_log_whole: true,
            trace: "(the trace)\n",
            details: &[],
            says_input: true,
            names_workers: false,
            server: &[],
        };
        let text = report.render(at(2000), &Terminal::plain());
        assert!(text.starts_with("Nodes\n") && text.contains("\n\nTrace\n"), "{text}");
        assert!(!text.contains("Log\n"), "{text}");
    }

    #[test]
    fn a_run_that_failed_says_what_it_worked_on() {
        let input = |text: &str, terminal: &Terminal| {
            let run = Run { input: Some(serde_json::from_str(text).unwrap()), ..run() };
            let shown = drawn(&run, true, terminal);
            let lines = shown.lines().skip_while(|line| !line.starts_with("  error"));
            lines.skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        let wide = Terminal::plain();
        assert_eq!(input(r#"{"amount": 500}"#, &wide), [r#"  input  {"amount":500}"#]);
        assert_eq!(input("{}", &wide), [] as [&str; 0]);
        let narrow = Terminal { columns: Some(90), ..Terminal::plain() };
        let long = format!(r#"{{"text": "{}"}}"#, "x".repeat(100));
        let cut = input(&long, &narrow);
        assert!(cut[0].starts_with(r#"  input  {"text":"xxx"#) && cut[0].ends_with('…'), "{cut:?}");
        let all = format!("… all of it: skein show {} --inputs", run().id);
        assert_eq!(cut[1..], [all]);
        let ended = Run { status: "succeeded".to_owned(), input: Some(json!({"n": 1})), ..run() };
        assert!(!drawn(&ended, true, &wide).contains("  input"));
    }

    #[test]
    fn the_rest_of_a_log_is_named_with_its_server() {
        let server = ["--url", "http://x:1"].map(str::to_owned);
        let (run, plan, log) = (run(), plan(), log());
        let report = Report {
            run: &run,
            plan: &plan,
            log: Some(&log),
            is_log_whole: false,
            trace: "",
            details: &[],
            says_input: false,
            names_workers: false,
            server: &server,
        };
        let text = report.render(at(2000), &Terminal::plain());
        let more = format!("\n… more: skein logs {} --url http://x:1\n", run.id);
        assert!(text.contains(&more), "{text}");
    }

    #[test]
    fn what_came_of_a_run_stands_last() {
        let text = drawn(&run(), true, &Terminal::plain());
        let lines: Vec<_> = text.lines().collect();
        let places =
            ["Nodes", "Log", "Trace"].map(|title| lines.iter().position(|it| *it == title));
        assert!(places.is_sorted() && places[0] == Some(0) && places[2].is_some(), "{text}");
        let last = &lines[lines.len() - 4..];
        assert_eq!(last[0], "✗ digest v3 failed in 1.50s");
        assert_eq!(last[3], "  error  flaky: connect: connection refused");
        assert!(!text.contains("Output") && !text.contains("… more"), "{text}");
        let ended = Run { error: None, output: Some(json!({"titles": []})), ..run() };
        let text = drawn(&ended, false, &Terminal::plain());
        assert!(text.ends_with("\n\nOutput\n{\n  \"titles\": []\n}\n"), "{text}");
        assert!(text.contains(&format!("\n… more: skein logs {}\n\nTrace\n", ended.id)), "{text}");
    }

    #[test]
    fn the_end_of_a_run_is_in_sight_on_thirty_rows() {
        let output = Some(json!(vec![0; 100]));
        let ended = Run { error: None, output, calls: Some(1), ..run() };
        let page = Some("https://signoz.example/trace/aa".to_owned());
        let ended = Run { trace_url: page, ..ended };
        let low = Terminal { columns: Some(80), rows: Some(30), ..Terminal::plain() };
        let text = drawn(&ended, true, &low);
        let lines: Vec<_> = text.lines().collect();
        // The last row is the one of the cursor.
        let in_sight = &lines[lines.len() - 29..];
        assert!(in_sight.iter().any(|line| line.starts_with("✗ digest v3")), "{text}");
    }
}
