//! `skein bench`: measures how many runs a server accepts and completes a second.
//!
//! It shares the machine with what it measures, so it asks little: one request a run, and then one small
//! listing now and then until nothing is open. All times of runs are the server's own.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use skein_shared::domain::document::Format;
use skein_shared::domain::limits::{NODES_MAX, PAGE_MAX};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{AcceptedRun, Client, ClientError, RunQuery, RunSummary};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::EXIT_FAILED;
use crate::input::{self, WorkflowFile};
use crate::render::{Align, Cell, Style, Table, Terminal, duration, print, seconds};

/// The pause between two looks at what is still open, at least.
const OPEN_POLL_MIN: Duration = Duration::from_millis(200);
/// How much longer the pause is than the look took, so that looking costs the server a twentieth at most.
const OPEN_POLL_FACTOR: u32 = 20;
/// How long nothing may end before what is open is given up.
const STALL_MAX: Duration = Duration::from_secs(120);
/// How often one run is submitted before the measurement is given up.
const SUBMITS_MAX: u32 = 30;
/// The pause before a run is submitted again where the server names none.
const SUBMIT_PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `skein bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Runs to start.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    runs: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    concurrency: u16,
    /// The workflow to run; without it, a chain of transforms.
    #[arg(long, value_name = "FILE", conflicts_with = "nodes")]
    workflow: Option<PathBuf>,
    /// Nodes of the chain.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=NODES_MAX as i64))]
    nodes: u16,
    /// What every run works on.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    embedded: EmbeddedArgs,
}

pub(super) async fn bench(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let file = match &args.workflow {
        Some(path) => WorkflowFile::read(path)?,
        None => chain(args.nodes),
    };
    let input = input::read(&args.input)?;
    let connection = Connection::open(&args.server, &args.embedded, Role::Executes).await?;
    let measured = Box::pin(measure(&connection.client, &args, file, input)).await;
    connection.close().await?;
    let (accepted, runs) = measured?;
    let failed = runs.iter().filter(|run| run.status != "succeeded").count();
    print(&report(&accepted, &runs, &Terminal::stdout()))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// A chain of transforms, each of which reads the one before.
fn chain(nodes: u16) -> WorkflowFile {
    let node = |n: u16| {
        let value =
            if n == 0 { "{{ run.id }}".to_owned() } else { format!("{{{{ nodes.n{} }}}}", n - 1) };
        json!({"id": format!("n{n}"), "type": "transform", "params": {"value": value}})
    };
    let edge = |n: u16| json!({"from": format!("n{}", n - 1), "to": format!("n{n}")});
    let document = json!({
        "name": format!("bench-{nodes}"),
        "nodes": (0..nodes).map(node).collect::<Vec<_>>(),
        "edges": (1..nodes).map(edge).collect::<Vec<_>>(),
    });
    WorkflowFile { text: document.to_string(), format: Format::Json }
}

/// What was accepted.
struct Accepted {
    runs: Vec<AcceptedRun>,
    /// From the first request to the last answer, by our clock.
    took: Duration,
    /// How long each accepted request took.
    latencies: Vec<Duration>,
    /// Requests that had to be sent again.
    repeated: u64,
}

async fn measure(
    client: &Client,
    args: &BenchArgs,
    file: WorkflowFile,
    input: Value,
) -> anyhow::Result<(Accepted, Vec<RunSummary>)> {
    let workflow = client.publish(file.text, file.format).await?.name;
    eprintln!(
        "{} runs of {workflow} on {}, {} at a time",
        args.runs,
        client.url(),
        args.concurrency
    );
    let accepted = submit(client, args, &workflow, input).await?;
    let since = accepted.runs.iter().map(|run| run.created_at).min();
    let since = since.context("nothing was accepted")?;
    await_ends(client, &workflow, since).await?;
    let runs = collect(client, &workflow, &accepted.runs, since).await?;
    Ok((accepted, runs))
}

async fn submit(
    client: &Client,
    args: &BenchArgs,
    workflow: &str,
    input: Value,
) -> anyhow::Result<Accepted> {
    let (left, repeated) = (Arc::new(AtomicU64::new(args.runs)), Arc::new(AtomicU64::new(0)));
    let input = Arc::new(input);
    let mut submitters = JoinSet::new();
    let start = Instant::now();
    for _ in 0..args.concurrency {
        let (client, workflow, input) = (client.clone(), workflow.to_owned(), Arc::clone(&input));
        let (left, repeated) = (Arc::clone(&left), Arc::clone(&repeated));
        submitters.spawn(async move {
            let mut accepted = Vec::new();
            let take = |left: u64| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                accepted.push(submit_one(&client, &workflow, &input, &repeated).await?);
            }
            Ok::<_, ClientError>(accepted)
        });
    }
    let mut runs = Vec::new();
    let mut latencies = Vec::new();
    while let Some(submitted) = submitters.join_next().await {
        for (run, latency) in submitted.context("a submitter crashed")?? {
            runs.push(run);
            latencies.push(latency);
        }
    }
    let repeated = repeated.load(Ordering::Relaxed);
    Ok(Accepted { runs, took: start.elapsed(), latencies, repeated })
}

/// Submits a run, again and again while the server has no room for it.
async fn submit_one(
    client: &Client,
    workflow: &str,
    input: &Value,
    repeated: &AtomicU64,
) -> Result<(AcceptedRun, Duration), ClientError> {
    let mut submits = 1;
    loop {
        let start = Instant::now();
        match client.start(workflow, input).await {
            Ok(run) => return Ok((run, start.elapsed())),
            Err(error) if error.is_transient() && submits < SUBMITS_MAX => {
                submits += 1;
                repeated.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(error.retry_after().unwrap_or(SUBMIT_PAUSE)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits until no run that was accepted since then is open.
async fn await_ends(client: &Client, workflow: &str, since: DateTime<Utc>) -> anyhow::Result<()> {
    let mut oldest: Option<String> = None;
    let mut progressed = Instant::now();
    loop {
        let start = Instant::now();
        let mut open = None;
        for status in ["queued", "running", "suspended"] {
            let query =
                RunQuery { status: Some(status.to_owned()), limit: 1, ..query(workflow, since) };
            open = client.runs::<AcceptedRun>(&query).await?.items.pop().map(|run| run.id);
            if open.is_some() {
                break;
            }
        }
        if open.is_none() {
            return Ok(());
        }
        if open != oldest {
            (oldest, progressed) = (open, Instant::now());
        } else if progressed.elapsed() > STALL_MAX {
            bail!("run {} has been open for {STALL_MAX:?}", oldest.unwrap_or_default());
        }
        tokio::time::sleep(OPEN_POLL_MIN.max(start.elapsed() * OPEN_POLL_FACTOR)).await;
    }
}

/// Every accepted run as it has ended.
async fn collect(
    client: &Client,
    workflow: &str,
    accepted: &[AcceptedRun],
    since: DateTime<Utc>,
) -> anyhow::Result<Vec<RunSummary>> {
    let mut missing: HashSet<&str> = accepted.iter().map(|run| run.id.as_str()).collect();
    let (mut runs, mut cursor) = (Vec::with_capacity(accepted.len()), None);
    loop {
        let page =
            client.runs::<RunSummary>(&RunQuery { cursor, ..query(workflow, since) }).await?;
        runs.extend(page.items.into_iter().filter(|run| missing.remove(run.id.as_str())));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if !missing.is_empty() {
        bail!("{} accepted runs are not listed", missing.len());
    }
    Ok(runs)
}

fn query(workflow: &str, since: DateTime<Utc>) -> RunQuery {
    RunQuery {
        workflow: Some(workflow.to_owned()),
        created_after: Some(since.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        limit: PAGE_MAX,
        ..RunQuery::default()
    }
}

fn report(accepted: &Accepted, runs: &[RunSummary], terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("RUNS", Align::Right),
        ("TIME", Align::Right),
        ("RUNS/S", Align::Right),
        ("P50", Align::Right),
        ("P95", Align::Right),
        ("P99", Align::Right),
        ("MAX", Align::Right),
    ]);
    let latencies = accepted.latencies.iter();
    let latencies = latencies.filter_map(|latency| TimeDelta::from_std(*latency).ok()).collect();
    let took = TimeDelta::from_std(accepted.took).unwrap_or_default();
    table.row(row("accepted", latencies, took));
    let first = runs.iter().map(|run| run.created_at).min();
    let last = runs.iter().filter_map(|run| run.finished_at).max();
    let took = last.zip(first).map_or_else(TimeDelta::zero, |(last, first)| last - first);
    let lives = runs.iter().filter_map(|run| Some(run.finished_at? - run.created_at)).collect();
    table.row(row("completed", lives, took));
    let waits = runs.iter().filter_map(|run| Some(run.started_at? - run.created_at)).collect();
    let mut queued = row("in the queue", waits, took);
    queued.splice(1..4, std::iter::repeat_n(Cell::plain(""), 3));
    table.row(queued);
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

fn row(name: &str, mut times: Vec<TimeDelta>, took: TimeDelta) -> Vec<Cell> {
    times.sort_unstable();
    let rate = times.len() as f64 / seconds(took).max(1e-6);
    let mut cells = vec![
        Cell::new(name, Style::Bold),
        Cell::plain(times.len().to_string()),
        Cell::plain(duration(took)),
        Cell::new(format!("{rate:.0}"), Style::Green),
    ];
    cells
        .extend([0.5, 0.95, 0.99, 1.0].map(|share| Cell::plain(duration(quantile(&times, share)))));
    cells
}

/// The smallest time that `share` of all times do not exceed (nearest rank); zero of none.
fn quantile(sorted: &[TimeDelta], share: f64) -> TimeDelta {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use skein_shared::domain::compile::compile;

    use super::*;
    use crate::render::samples::at;

    #[test]
    fn chains_of_any_length_are_valid() {
        for nodes in [1, 2, 10, NODES_MAX as u16] {
            let plan = compile(&serde_json::from_str(&chain(nodes).text).unwrap()).unwrap();
            assert_eq!(plan.nodes.len(), usize::from(nodes));
            assert_eq!(plan.edge_count, u32::from(nodes) - 1);
        }
    }

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
              RUNS   TIME  RUNS/S    P50    P95    P99    MAX
accepted         4   10ms     400  2.0ms  2.0ms  2.0ms  2.0ms
completed        3  100ms      30   30ms   60ms   60ms   60ms
in the queue                       2.0ms  2.0ms  2.0ms  2.0ms
1 of 3 runs did not succeed
3 requests had to be sent again
";
        assert_eq!(report(&accepted, &runs, &Terminal::plain()), expected);
    }
}
