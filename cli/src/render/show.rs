//! More of a run than its end: who has worked on it, and with what.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::line::StyledLine;
use super::outcome::output;
use super::table::{Align, Cell, Table};
use super::terminal::{Style, Terminal};
use super::time::{moment, took};
use crate::client::{Attempt, NodeRun, Run, RunError};

/// Every attempt of every node, in their order: how it ended, which worker made it, when and for how long. Empty where
/// there was none.
#[must_use]
pub fn attempt_table(run: &Run, now: DateTime<Utc>, terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("ATTEMPT", Align::Right),
        ("OUTCOME", Align::Left),
        ("WORKER", Align::Left),
        ("STARTED", Align::Left),
        ("TOOK", Align::Right),
        ("ERROR", Align::Left),
    ])
    .sparing(&["STARTED", "TOOK", "ERROR", "WORKER"])
    .cutting("NODE");
    let mut is_empty = true;
    for node in &run.nodes {
        for row in attempts(node, now) {
            table.row(row);
            is_empty = false;
        }
    }
    if is_empty { String::new() } else { table.render(terminal) }
}

fn attempts(node: &NodeRun, now: DateTime<Utc>) -> impl Iterator<Item = Vec<Cell>> {
    let earlier = node.earlier_attempts.iter().map(move |attempt: &Attempt| {
        let span = (attempt.started_at, attempt.finished_at);
        let worker = attempt.worker.as_deref();
        row(node, attempt.attempt, &attempt.outcome, worker, span, attempt.error.as_ref())
    });
    // Between two attempts there are still the times of the one that is over.
    let over = node.earlier_attempts.last().map(|last| last.started_at);
    let latest = node.started_at.filter(|start| Some(*start) != over).map(|start| {
        let span = (start, node.finished_at.unwrap_or(now));
        row(
            node,
            node.latest_attempt(),
            &node.status,
            node.worker.as_deref(),
            span,
            node.error.as_ref(),
        )
    });
    earlier.chain(latest)
}

fn row(
    node: &NodeRun,
    attempt: u32,
    outcome: &str,
    worker: Option<&str>,
    (start, end): (DateTime<Utc>, DateTime<Utc>),
    error: Option<&RunError>,
) -> Vec<Cell> {
    vec![
        Cell::plain(node.label()),
        Cell::plain(attempt.to_string()),
        Cell::new(outcome, Style::of_status(outcome)),
        Cell::plain(worker.unwrap_or("–")),
        Cell::plain(moment(start)),
        Cell::plain(took(end - start)),
        Cell::new(
            error.map_or_else(String::new, |it| format!("{}: {}", it.code, it.message)),
            Style::Red,
        ),
    ]
}

/// What the run works on and each node got, and what each yielded, as far as it is asked for: a title for each value, and the
/// value below it. `server` are the flags of the server.
#[must_use]
pub fn node_values(
    run: &Run,
    (inputs, outputs): (bool, bool),
    server: &[String],
    terminal: &Terminal,
) -> String {
    let title = |text: &str| {
        let mut line = StyledLine::default();
        line.push(text, Style::Dim);
        format!("{}\n", line.render(terminal).0)
    };
    let mut text = String::new();
    if let Some(input) = run.input.as_ref().filter(|_| inputs) {
        text.push_str(&title("run input:"));
        text.push_str(&output(input, run, server, terminal));
    }
    for node in &run.nodes {
        let values = [("input", inputs, &node.input), ("output", outputs, &node.output)];
        for (name, is_wanted, value) in values {
            if !is_wanted {
                continue;
            }
            let label = node.label();
            match value {
                // Of null, nobody can say whether it was yielded: a node that has not ended has none.
                Some(Value::Null) | None if node.values_omitted => {
                    text.push_str(&title(&format!(
                        "{label} {name}: too large to be shown with the others"
                    )));
                }
                Some(Value::Null) | None => text.push_str(&title(&format!("{label} {name}: none"))),
                Some(value) => {
                    text.push_str(&title(&format!("{label} {name}:")));
                    text.push_str(&output(value, run, server, terminal));
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::nodes::node_table;
    use crate::render::plan::Plan;
    use crate::render::samples::{at, run};

    #[test]
    fn every_attempt_is_shown_with_who_has_made_it() {
        let mut run = run();
        run.nodes[0].worker = Some("a.example:17".to_owned());
        run.nodes[1].earlier_attempts[0].worker = Some("b.example:4".to_owned());
        let expected = "\
NODE   ATTEMPT  OUTCOME    WORKER        STARTED                TOOK  ERROR
fetch        1  succeeded  a.example:17  2030-01-31T12:00:00Z   40ms
flaky        1  retry      b.example:4   2030-01-31T12:00:00Z  340ms  connect: connection refused
flaky        2  failed     –             2030-01-31T12:00:01Z  500ms  connect: connection refused
";
        assert_eq!(attempt_table(&run, at(2000), &Terminal::plain()), expected);
        run.nodes.clear();
        assert_eq!(attempt_table(&run, at(2000), &Terminal::plain()), "");
    }

    #[test]
    fn an_attempt_that_was_made_along_with_another_says_so() {
        let mut run = run();
        run.nodes[0].finished_at = run.nodes[0].started_at;
        let table = attempt_table(&run, at(2000), &Terminal::plain());
        assert!(table.lines().nth(1).is_some_and(|row| row.ends_with("  inlined")), "{table}");
    }

    #[test]
    fn an_attempt_has_the_number_that_its_node_says() {
        let mut run = crate::render::samples::waiting_run();
        run.nodes[0].attempts = 0;
        let nodes = node_table(&run, &Plan::default(), false, at(2000), &Terminal::plain());
        let attempts = attempt_table(&run, at(2000), &Terminal::plain());
        let word = |table: &str, index| {
            let row = table.lines().nth(1).unwrap_or_default();
            row.split_whitespace().nth(index).map(str::to_owned)
        };
        assert_eq!(word(&nodes, 3).as_deref(), Some("1"), "{nodes}");
        assert_eq!(word(&attempts, 1).as_deref(), Some("1"), "{attempts}");
        // It was never begun.
        run.nodes[0].started_at = None;
        run.nodes[0].earlier_attempts.clear();
        assert_eq!(run.nodes[0].latest_attempt(), 0);
    }

    #[test]
    fn an_attempt_that_waits_is_shown_once_and_once_more_when_it_goes_on() {
        let mut run = crate::render::samples::waiting_run();
        let outcomes = |run: &Run| {
            let table = attempt_table(run, at(2000), &Terminal::plain());
            let rows =
                table.lines().skip(1).map(|row| row.split_whitespace().nth(2).map(str::to_owned));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(outcomes(&run), [Some("waiting".to_owned())]);
        run.nodes[0].started_at = Some(at(1500));
        run.nodes[0].status = "running".to_owned();
        assert_eq!(outcomes(&run), [Some("waiting".to_owned()), Some("running".to_owned())]);
    }

    #[test]
    fn what_nodes_got_and_yielded_is_shown_as_far_as_it_is_asked_for() {
        let mut run = run();
        run.nodes[0].input = Some(json!({ "url": "http://x" }));
        run.nodes[0].output = Some(json!("a\x1b[2Jb"));
        run.nodes[1].values_omitted = true;
        let shown = |wanted| node_values(&run, wanted, &[], &Terminal::plain());
        let expected =
            "fetch output:\na [2Jb\nflaky output: too large to be shown with the others\n";
        assert_eq!(shown((false, true)), expected);
        assert!(
            shown((true, false)).starts_with("fetch input:\n{\n  \"url\""),
            "{}",
            shown((true, false))
        );
        assert_eq!(shown((false, false)), "");
        run.input = Some(json!({ "amount": 500 }));
        let shown = |wanted| node_values(&run, wanted, &[], &Terminal::plain());
        let inputs = shown((true, false));
        assert!(
            inputs.starts_with("run input:\n{\n  \"amount\": 500\n}\nfetch input:"),
            "{inputs}"
        );
        assert!(!shown((false, true)).contains("amount"));
    }
}
