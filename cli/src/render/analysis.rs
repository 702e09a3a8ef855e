//! What runs tell: sentences first, then bars.

mod sentences;

use self::sentences::{millis, most_waited, percent, sentences, total, value};
use super::amounts::{dollars, plural, thousands};
use super::chart::{Chart, ChartRow, Fill, legend};
use super::line::StyledLine;
use super::table::{Align, Cell, Table};
use super::terminal::{Style, Terminal};
use super::time::moment;
use crate::client::{
    Analysis, CriticalNode, ExampleRun, Findings, HotSpot, ModelCost, VersionComparison,
    WorkflowWaiting,
};
use crate::shell::ShellCommand;

/// Findings of a kind that are drawn. `-o json` has more.
const ROWS_MAX: usize = 10;
/// What the parts of bars are that show how time was spent.
const PARTS: [(Fill, &str); 2] = [(Fill::Work, "at work"), (Fill::Waiting, "waiting")];
/// What is not known.
const NOTHING: &str = "–";

/// What was found, for people. `server` are the flags of the server.
#[must_use]
pub fn analysis(found: &Analysis, server: &[String], terminal: &Terminal) -> String {
    let runs = found.runs;
    let all = runs.succeeded + runs.failed + runs.cancelled + runs.timed_out + runs.open;
    if all == 0 && found.costs.items.is_empty() {
        return nothing(found, terminal);
    }
    let mut text = paragraph(&[summary(found, all)], terminal);
    if let Some(limit) = limited(found) {
        text.push_str(&paragraph(&[limit], terminal));
    }
    let sentences = sentences(found);
    if !sentences.is_empty() {
        text.push('\n');
        text.push_str(&paragraph(&sentences, terminal));
    }
    let divided = [critical_path(found), waiting(found)];
    let is_divided = divided.iter().any(|chart| !chart.rows.is_empty());
    let charts = |charts: [Chart<'_>; 2]| {
        let charts = charts.into_iter().filter(|chart| !chart.rows.is_empty());
        charts.map(|chart| format!("\n{}", chart.render(terminal))).collect::<String>()
    };
    text.push_str(&charts(divided));
    if is_divided {
        text.push_str(&legend(&PARTS, terminal));
    }
    text.push_str(&charts([hot_spots(found), costs(found)]));
    if !found.regressions.items.is_empty() {
        text.push('\n');
        text.push_str(&versions(&found.regressions).render(terminal));
    }
    text.push('\n');
    text.push_str(&paragraph(&[hint(found, server)], terminal));
    text
}

/// Each sentence on lines of its own.
fn paragraph(sentences: &[String], terminal: &Terminal) -> String {
    let wrapped = sentences.iter().map(|sentence| {
        let mut line = StyledLine::default();
        line.push(sentence, Style::Plain);
        format!("{}\n", line.wrap(terminal, 2))
    });
    wrapped.collect()
}

fn nothing(found: &Analysis, terminal: &Terminal) -> String {
    let (from, to) = (moment(found.from), moment(found.to));
    let of = found.workflow.as_ref().map_or_else(String::new, |name| format!(" of `{name}`"));
    let sentence = format!(
        "no runs{of} were accepted from {from} to {to}: look further back with --since 7d (31d at most)"
    );
    paragraph(&[sentence], terminal)
}

fn summary(found: &Analysis, all: u64) -> String {
    let runs = found.runs;
    let states = [
        (runs.succeeded, "succeeded"),
        (runs.failed, "failed"),
        (runs.timed_out, "timed out"),
        (runs.cancelled, "cancelled"),
        (runs.open, "open"),
    ];
    let states = states.iter().filter(|(count, _)| *count > 0);
    let states: Vec<_> =
        states.map(|(count, word)| format!("{} {word}", thousands(*count))).collect();
    let colon = if states.is_empty() { "" } else { ": " };
    let (from, to) = (moment(found.from), moment(found.to));
    format!("{} from {from} to {to}{colon}{}", plural(all, "run", "runs"), states.join(", "))
}

/// That not all was looked at.
fn limited(found: &Analysis) -> Option<String> {
    let coverage = &found.coverage;
    if coverage.sampled {
        let (some, all) = (thousands(coverage.examined), thousands(coverage.total_estimated));
        return Some(format!(
            "a sample: {some} runs of about {all} were looked at, spread evenly over the time"
        ));
    }
    coverage.limited_by.as_ref().map(|_| {
        "reading took too long: costs of the end of the time are missing; ask for less".to_owned()
    })
}

fn hint(found: &Analysis, server: &[String]) -> String {
    let findings = [
        found.critical_path.others,
        found.waiting.others,
        found.hot_spots.others,
        found.costs.others,
        found.regressions.others,
    ];
    let more = if findings.iter().any(|others| *others > 0) { "; -o json has more" } else { "" };
    let words = ["skein", "trace", "RUN"].into_iter().chain(server.iter().map(String::as_str));
    let command = ShellCommand::new(words).map_or_else(String::new, |it| it.to_string());
    format!("look at a run: {command}{more}")
}

fn example(runs: &[ExampleRun]) -> Option<String> {
    runs.first().map(|run| run.run_id.clone())
}

fn rows<T>(findings: &Findings<T>, row: impl Fn(&T) -> ChartRow) -> Vec<ChartRow> {
    findings.items.iter().take(ROWS_MAX).map(row).collect()
}

fn critical_path(found: &Analysis) -> Chart<'static> {
    let row = |node: &CriticalNode| {
        let total = total(&node.spent).max(f64::MIN_POSITIVE);
        let work = node.spent.work_ms / total;
        ChartRow {
            name: format!("{}/{}", node.workflow, node.node),
            parts: vec![
                (node.share * work, Fill::Work),
                (node.share * (1.0 - work), Fill::Waiting),
            ],
            numbers: vec![percent(node.share), millis(node.p50_ms), millis(node.p95_ms)],
            example: example(&node.examples),
        }
    };
    let rows = rows(&found.critical_path, row);
    Chart { title: "Critical path", columns: &["SHARE", "P50", "P95"], rows }
}

fn waiting(found: &Analysis) -> Chart<'static> {
    let row = |workflow: &WorkflowWaiting| {
        let waits = workflow.waiting_share;
        let most = most_waited(&workflow.spent).map_or("", |(_, what)| what);
        ChartRow {
            name: workflow.workflow.clone(),
            parts: vec![(1.0 - waits, Fill::Work), (waits, Fill::Waiting)],
            numbers: vec![percent(waits), thousands(workflow.runs), most.to_owned()],
            example: example(&workflow.examples),
        }
    };
    let rows = rows(&found.waiting, row);
    Chart { title: "Working and waiting", columns: &["WAITING", "RUNS", "MOST OF IT"], rows }
}

fn hot_spots(found: &Analysis) -> Chart<'static> {
    let row = |spot: &HotSpot| {
        let part = spot.wasted_attempts as f64 / (spot.attempts.max(1)) as f64;
        ChartRow {
            name: format!("{}/{} {}", spot.workflow, spot.node, spot.code),
            parts: vec![(part, Fill::Waiting)],
            numbers: vec![
                thousands(spot.wasted_attempts),
                thousands(spot.attempts),
                millis(spot.wasted_ms),
            ],
            example: example(&spot.examples),
        }
    };
    let rows = rows(&found.hot_spots, row);
    Chart { title: "Attempts in vain", columns: &["IN VAIN", "OF", "TOOK"], rows }
}

fn costs(found: &Analysis) -> Chart<'static> {
    let row = |cost: &ModelCost| ChartRow {
        name: format!("{} {}", cost.workflow, cost.model),
        parts: vec![(cost.share.unwrap_or(0.0), Fill::Work)],
        numbers: vec![
            thousands(cost.calls),
            thousands(cost.total_tokens),
            cost.cost_usd.map_or_else(|| NOTHING.to_owned(), dollars),
        ],
        example: example(&cost.examples),
    };
    Chart { title: "Cost", columns: &["CALLS", "TOKENS", "COST"], rows: rows(&found.costs, row) }
}

fn versions(findings: &Findings<VersionComparison>) -> Table {
    let mut table = Table::new(&[
        ("WORKFLOW", Align::Left),
        ("VERSIONS", Align::Left),
        ("WHAT", Align::Left),
        ("BEFORE", Align::Right),
        ("AFTER", Align::Right),
        ("RUNS", Align::Right),
        ("P", Align::Right),
        ("VERDICT", Align::Left),
        ("EXAMPLE", Align::Left),
    ])
    .sparing(&["EXAMPLE", "RUNS", "P", "VERSIONS", "BEFORE"])
    .cutting("WORKFLOW");
    for it in findings.items.iter().take(ROWS_MAX) {
        let style = match &*it.verdict {
            "regression" => Style::Red,
            "improvement" => Style::Green,
            _ => Style::Dim,
        };
        let runs = format!("{}+{}", thousands(it.before.runs), thousands(it.after.runs));
        let p = match it.p {
            Some(p) if p < 0.001 => "<0.001".to_owned(),
            Some(p) => format!("{p:.3}"),
            None => NOTHING.to_owned(),
        };
        table.row(vec![
            Cell::plain(&it.workflow),
            Cell::plain(format!("{}, {}", it.before.version, it.after.version)),
            Cell::plain(it.metric.replace('_', " ")),
            Cell::plain(value(it, it.before)),
            Cell::plain(value(it, it.after)),
            Cell::plain(runs),
            Cell::plain(p),
            Cell::new(it.verdict.replace('_', " "), style),
            Cell::new(example(&it.examples).unwrap_or_default(), Style::Dim),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const RUN: &str = "019c0000-0000-7000-8000-000000000001";

    fn spent(work: f64, queue: f64) -> Value {
        json!({ "work_ms": work, "queue_ms": queue, "backoff_ms": 0.0, "decision_ms": 0.0, "budget_ms": 0.0, "rate_ms": 0.0,
            "timer_ms": 0.0, "crash_ms": 0.0 })
    }

    fn found() -> Value {
        let examples = json!([{ "run_id": RUN, "trace_id": "aa" }]);
        let side =
            |version, runs, value| json!({ "version": version, "runs": runs, "value": value });
        json!({
            "from": "2030-01-30T12:00:00Z", "to": "2030-01-31T12:00:00Z", "workflow": null,
            "coverage": { "examined": 410, "total_estimated": 410, "sampled": false, "limited_by": null },
            "runs": { "succeeded": 400, "failed": 8, "cancelled": 0, "timed_out": 0, "open": 2 },
            "critical_path": { "items": [{ "workflow": "digest", "node": "fetch", "type": "http", "runs": 408, "share": 0.62,
                "total_ms": 100_000.0, "p50_ms": 1_200.0, "p95_ms": 4_100.0, "spent": spent(62.0, 38.0), "examples": examples }],
                "others": 0 },
            "waiting": { "items": [{ "workflow": "digest", "runs": 408, "total_ms": 160_000.0, "waiting_share": 0.25,
                "spent": spent(75.0, 25.0), "examples": examples }], "others": 0 },
            "hot_spots": { "items": [{ "workflow": "digest", "node": "fetch", "type": "http", "code": "http_status",
                "attempts": 450, "wasted_attempts": 42, "wasted_ms": 65_000.0, "failed": 8, "runs": 30, "examples": examples }],
                "others": 1 },
            "costs": { "items": [{ "workflow": "digest", "provider": "openai", "model": "large", "calls": 1_200,
                "unpriced_calls": 0, "steps": 1_200, "input_tokens": 1, "cached_tokens": 0, "output_tokens": 1, "total_tokens": 98_000,
                "cost_usd": 1.2, "share": 0.8, "examples": examples }], "others": 0 },
            "regressions": { "items": [
                { "workflow": "digest", "metric": "duration", "test": "mann_whitney_u", "before": side(1, 200, 1_200.0),
                  "after": side(2, 208, 2_160.0), "superiority": 0.9, "p": 0.000_001, "verdict": "regression", "examples": examples },
                { "workflow": "digest", "metric": "failure_ratio", "test": "two_proportion_z", "before": side(1, 200, 0.02),
                  "after": side(2, 208, 0.02), "superiority": null, "p": 0.95, "verdict": "none", "examples": [] }],
                "others": 0 },
        })
    }

    fn shown(found: Value, terminal: &Terminal) -> String {
        analysis(&serde_json::from_value(found).unwrap(), &[], terminal)
    }

    #[test]
    fn sentences_come_first_and_bars_behind_them() {
        let expected = "\
410 runs from 2030-01-30T12:00:00Z to 2030-01-31T12:00:00Z: 400 succeeded, 8 failed, 2 open

version 2 of `digest` is slower than version 1: median 2.16s against 1.20s (Mann-Whitney U, p < 0.001)
`fetch` owns 62 % of the time of `digest`: p95 4.10s; 38 % of it is waiting for a worker
`fetch` of `digest` failed with `http_status` in 42 of 450 attempts, 8 for good: 1m05s of work in vain
`large` cost $1.200000 in `digest`, 80 % of all

Critical path                            SHARE    P50    P95
digest/fetch   #########------            62 %  1.20s  4.10s  019c0000-0000-7000-8000-000000000001

Working and waiting                            WAITING  RUNS            MOST OF IT
digest               ##################------     25 %   408  waiting for a worker  019c0000-0000-7000-8000-000000000001
# at work  - waiting

Attempts in vain                                    IN VAIN   OF   TOOK
digest/fetch http_status  --                             42  450  1m05s  019c0000-0000-7000-8000-000000000001

Cost                                    CALLS  TOKENS       COST
digest large  ###################       1,200  98,000  $1.200000  019c0000-0000-7000-8000-000000000001

WORKFLOW  VERSIONS  WHAT           BEFORE  AFTER     RUNS       P  VERDICT     EXAMPLE
digest    1, 2      duration        1.20s  2.16s  200+208  <0.001  regression  019c0000-0000-7000-8000-000000000001
digest    1, 2      failure ratio     2 %    2 %  200+208   0.950  none

look at a run: skein trace RUN; -o json has more
";
        assert_eq!(shown(found(), &Terminal::plain()), expected);
    }

    #[test]
    fn a_narrow_terminal_is_kept_to() {
        let narrow =
            Terminal { columns: Some(60), colour: true, unicode: true, ..Terminal::plain() };
        let text = shown(found(), &narrow);
        for code in ["\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[0m"] {
            assert!(text.contains(code), "{text:?}");
        }
        let bare = ["\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[0m"]
            .iter()
            .fold(text, |text, code| text.replace(code, ""));
        assert!(bare.lines().all(|line| super::super::terminal::width_of(line) <= 60), "{bare}");
        assert!(bare.contains(RUN) && bare.contains('█') && bare.contains('░'), "{bare}");
    }

    #[test]
    fn nothing_is_said_to_be_nothing_and_a_sample_a_sample() {
        let mut none = found();
        for section in ["critical_path", "waiting", "hot_spots", "costs", "regressions"] {
            none[section]["items"] = json!([]);
        }
        none["runs"] =
            json!({ "succeeded": 0, "failed": 0, "cancelled": 0, "timed_out": 0, "open": 0 });
        none["workflow"] = json!("digest");
        let text = shown(none, &Terminal::plain());
        assert!(
            text.starts_with("no runs of `digest` were accepted from 2030-01-30T12:00:00Z to"),
            "{text}"
        );
        assert!(text.contains("--since 7d"), "{text}");
        let mut sample = found();
        sample["coverage"] = json!({ "examined": 100_000, "total_estimated": 1_200_000, "sampled": true, "limited_by": "runs" });
        let text = shown(sample, &Terminal::plain());
        assert!(
            text.contains("a sample: 100,000 runs of about 1,200,000 were looked at"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_nothing_drives_the_terminal() {
        let mut strange = found();
        strange["critical_path"]["items"][0]["node"] = json!("a\x1b[2Jb");
        strange["regressions"]["items"][0]["verdict"] = json!("later");
        strange["hot_spots"] = Value::Null;
        let object = strange.as_object_mut().unwrap();
        object.remove("hot_spots");
        object.remove("waiting");
        let text = shown(strange, &Terminal::plain());
        assert!(!text.contains('\x1b') && !text.contains("is slower"), "{text}");
        assert!(text.contains("digest/a [2Jb"), "{text}");
    }
}
