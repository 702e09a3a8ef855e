//! What was measured, as a table.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::client::{AcceptedRun, RunSummary};
use crate::render::{Align, Cell, Style, Table, Terminal, duration, seconds};

/// What was accepted.
pub(super) struct Accepted {
    /// The runs.
    pub(super) runs: Vec<AcceptedRun>,
    /// From the first request to the last answer, by our clock.
    pub(super) took: Duration,
    /// How long each accepted request took.
    pub(super) latencies: Vec<Duration>,
    /// Requests that had to be sent again.
    pub(super) repeated: u64,
}

/// The stage of a run that nothing is counted in, as its runs are those that were completed.
const QUEUED: &str = "in the queue";
/// The shares of all times that are told, each with the name of the time that they do not exceed.
const SHARES: [(&str, f64); 4] =
    [("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99), ("max_ms", 1.0)];

/// What was measured, for programs.
pub(super) fn report_data(accepted: &Accepted, runs: &[RunSummary]) -> Value {
    let stages = stages(accepted, runs).map(|(stage, times, took)| {
        let mut row = json!({ "stage": stage, "runs": times.len(), "seconds": seconds(took), "runs_per_second": rate(&times, took) });
        for (name, share) in SHARES {
            row[name] = json!(seconds(quantile(&times, share)) * 1e3);
        }
        row
    });
    let failed = runs.iter().filter(|run| run.status != "succeeded").count();
    json!({ "stages": stages, "not_succeeded": failed, "requests_repeated": accepted.repeated })
}

/// Each stage of the runs: its name, how long each run took for it, in order, and how long all of them did.
fn stages(
    accepted: &Accepted,
    runs: &[RunSummary],
) -> [(&'static str, Vec<TimeDelta>, TimeDelta); 3] {
    let latencies = accepted.latencies.iter();
    let latencies = latencies.filter_map(|latency| TimeDelta::from_std(*latency).ok()).collect();
    let accepting = TimeDelta::from_std(accepted.took).unwrap_or_default();
    let first = runs.iter().map(|run| run.created_at).min();
    let last = runs.iter().filter_map(|run| run.finished_at).max();
    let took = last.zip(first).map_or_else(TimeDelta::zero, |(last, first)| last - first);
    let lives = runs.iter().filter_map(|run| Some(run.finished_at? - run.created_at)).collect();
    let waits = runs.iter().filter_map(|run| Some(run.started_at? - run.created_at)).collect();
    let sorted = |mut times: Vec<TimeDelta>| {
        times.sort_unstable();
        times
    };
    [
        ("accepted", sorted(latencies), accepting),
        ("completed", sorted(lives), took),
        (QUEUED, sorted(waits), took),
    ]
}

fn rate(times: &[TimeDelta], took: TimeDelta) -> f64 {
    times.len() as f64 / seconds(took).max(1e-6)
}

/// The table: one line for accepting, one for whole runs, one for their time in the queue.
pub(super) fn report(accepted: &Accepted, runs: &[RunSummary], terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("STAGE", Align::Left),
        ("RUNS", Align::Right),
        ("TIME", Align::Right),
        ("RUNS/S", Align::Right),
        ("P50", Align::Right),
        ("P95", Align::Right),
        ("P99", Align::Right),
        ("MAX", Align::Right),
    ])
    .sparing(&["TIME", "P99", "MAX"]);
    for (stage, times, took) in stages(accepted, runs) {
        let mut row = row(stage, &times, took);
        if stage == QUEUED {
            row.splice(1..4, std::iter::repeat_n(Cell::plain(""), 3));
        }
        table.row(row);
    }
    let mut text = table.render(terminal);
    let failed = runs.iter().filter(|run| run.status != "succeeded").count();
    if failed > 0 {
        let line = format!("{failed} of {} runs did not succeed", runs.len());
        text.push_str(&format!("{}\n", terminal.paint(&line, Style::Red)));
    }
    if accepted.repeated > 0 {
        text.push_str(&format!("{} requests had to be sent again\n", accepted.repeated));
    }
    text
}

fn row(name: &str, times: &[TimeDelta], took: TimeDelta) -> Vec<Cell> {
    let mut cells = vec![
        Cell::new(name, Style::Bold),
        Cell::plain(times.len().to_string()),
        Cell::plain(duration(took)),
        Cell::new(format!("{:.0}", rate(times, took)), Style::Green),
    ];
    cells.extend(SHARES.map(|(_, share)| Cell::plain(duration(quantile(times, share)))));
    cells
}

/// The smallest time that `share` of all times do not exceed (nearest rank); zero of none.
fn quantile(sorted: &[TimeDelta], share: f64) -> TimeDelta {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::at;

    #[test]
    fn quantiles_are_times_that_occurred() {
        let times: Vec<TimeDelta> = (1..=200).map(TimeDelta::milliseconds).collect();
        let of = |share| quantile(&times, share).num_milliseconds();
        assert_eq!((of(0.5), of(0.95), of(0.99), of(1.0)), (100, 190, 198, 200));
        assert_eq!(quantile(&[], 0.5), TimeDelta::zero());
        assert_eq!(quantile(&times[..1], 0.99), times[0]);
    }

    #[test]
    fn the_report_counts_by_the_clock_of_the_server() {
        let run = |n: i64, status: &str| RunSummary {
            id: n.to_string(),
            workflow: "bench-1".to_owned(),
            version: 1,
            status: status.to_owned(),
            error: None,
            created_at: at(n),
            started_at: Some(at(n + 2)),
            finished_at: Some(at(n * 2 + 20)),
        };
        let accepted = Accepted {
            runs: Vec::new(),
            took: Duration::from_millis(10),
            latencies: vec![Duration::from_millis(2); 4],
            repeated: 3,
        };
        let runs = [run(0, "succeeded"), run(40, "failed"), run(10, "succeeded")];
        let expected = "\
STAGE         RUNS   TIME  RUNS/S    P50    P95    P99    MAX
accepted         4   10ms     400  2.0ms  2.0ms  2.0ms  2.0ms
completed        3  100ms      30   30ms   60ms   60ms   60ms
in the queue                       2.0ms  2.0ms  2.0ms  2.0ms
1 of 3 runs did not succeed
3 requests had to be sent again
";
        assert_eq!(report(&accepted, &runs, &Terminal::plain()), expected);
        let data = report_data(&accepted, &runs);
        assert_eq!(data["stages"][1]["runs"], 3, "{data:#}");
        assert_eq!(
            (&data["stages"][1]["p50_ms"], &data["not_succeeded"]),
            (&json!(30.0), &json!(1))
        );
    }
}
