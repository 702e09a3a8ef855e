//! All that there is to show of a run, in the order in which it is read: what came of it stands last, where a terminal
//! leaves it in sight.

use chrono::{DateTime, Utc};

use super::line::StyledLine;
use super::log::LogView;
use super::nodes::node_table;
use super::outcome::output;
use super::plan::Plan;
use super::summary::headline;
use super::terminal::{Style, Terminal};
use super::waits::waits;
use crate::client::{LogRow, Run};

/// What the times of a node are that stand near each other.
const TIMES: &str = "TOOK: first claim to last commit; inlined: in the commit before; execution_ms in the log: work alone";

/// A run with what was read of it.
#[derive(Debug)]
pub struct Report<'a> {
    /// The run, with its output.
    pub run: &'a Run,
    /// What its workflow plans.
    pub plan: &'a Plan,
    /// The first rows of its log.
    pub log: &'a [LogRow],
    /// Whether these are all.
    pub is_log_whole: bool,
    /// The waterfall and what is said of it.
    pub trace: &'a str,
    /// What else was asked for: titles, and what stands below each.
    pub details: &'a [(&'a str, String)],
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
        text.push_str(&format!("{}\n\n{}", times.wrap(terminal, 2), title("Log")));
        text.push_str(&LogView::new(*terminal).rows(self.log));
        if !self.is_log_whole {
            text.push_str(&format!("… more: skein logs {}\n", run.id));
        }
        text.push_str(&format!("\n{}{}\n", title("Trace"), self.trace));
        for (name, details) in self.details {
            text.push_str(&format!("{}{details}\n", title(name)));
        }
        text.push_str(&headline(run, terminal));
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
            log: &log,
            is_log_whole,
            trace: &trace,
            details: &[],
            names_workers: false,
            server: &[],
        };
        report.render(at(2000), terminal)
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
