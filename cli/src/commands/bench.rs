//! `skein bench`: measures how many runs a server accepts and completes a second.
//!
//! It shares the machine with what it measures, so it asks little: one request a run, and then one small
//! listing now and then until nothing is open. All times of runs are the server's own.

mod report;
mod stall;

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use skein_shared::document::Format;
use skein_shared::domain::limits::{NODES_MAX, PAGE_MAX};
use tokio::task::JoinSet;
use tokio::time::Instant;

use report::{Accepted, report, report_data};
use stall::{STALL_MAX, StallDetector};

use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{AcceptedRun, Client, ClientError, RunQuery, RunSummary, WantedRun};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::EXIT_RUN_FAILED;
use crate::format::{OutputArgs, Shape};
use crate::input::{InputArgs, WorkflowFile};
use crate::output::{print_if_read, print_to_stderr};
use crate::render::Terminal;
use crate::shell::hint;

/// The pause between two polls of what is still open, at least.
const OPEN_POLL_MIN: Duration = Duration::from_millis(200);
/// How much longer the pause is than the poll took, so that polling costs the server a twentieth at most.
const OPEN_POLL_FACTOR: u32 = 20;
/// How often one run is submitted before the measurement is given up.
const SUBMITS_MAX: u32 = 30;
/// The pause before a run is submitted again where the server names none.
const SUBMIT_PAUSE: Duration = Duration::from_millis(500);

const HELP: &str = "\
The workflow is published. The exit code is 3 if a run did not succeed.

Examples:
  skein bench
  skein bench --runs 500 --concurrency 8 --nodes 5
  skein bench --workflow digest.yaml -i url=https://example.com/feed.json --runs 100 -o json";

/// Arguments of `skein bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
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
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn bench(args: BenchArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let file = match &args.workflow {
        Some(path) => WorkflowFile::read(path)?,
        None => chain(args.nodes),
    };
    let input = args.input.read()?;
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Executes).await?;
    let measured = Box::pin(measure(&connection.client, &args, file, input)).await;
    let closed = connection.close().await;
    let Measured { workflow, accepted, ended, given_up } = measured?;
    let failed = ended.iter().flatten().filter(|run| run.status != "succeeded").count();
    let runs = ended.as_deref().unwrap_or_default();
    print_if_read(&match output.shape() {
        Shape::Data(format) => format.document(&report_data(&accepted, runs)),
        Shape::Ids => String::new(),
        Shape::Text => report(&accepted, runs, &Terminal::stdout()),
    })?;
    let left = match &ended {
        Some(ended) => format!("{} runs are left open", accepted.runs.len() - ended.len()),
        None => format!("what became of {} runs is not known", accepted.runs.len()),
    };
    if given_up.is_err() {
        let list = hint(&["runs", "--workflow", &workflow], &args.server.flags());
        print_to_stderr(&format!("{left}: {list} lists them\n"));
    }
    given_up.and(closed)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_RUN_FAILED) })
}

/// What there is to report, be it all that was asked for or not.
struct Measured {
    workflow: String,
    accepted: Accepted,
    /// The runs that have ended, of those that were accepted; `None` when the server would not say.
    ended: Option<Vec<RunSummary>>,
    /// Why the measurement was not carried through.
    given_up: anyhow::Result<()>,
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
    let (name, text) = ("bench".to_owned(), document.to_string());
    WorkflowFile { name, text, format: Format::Json }
}

async fn measure(
    client: &Client,
    args: &BenchArgs,
    file: WorkflowFile,
    input: Value,
) -> anyhow::Result<Measured> {
    let workflow = client.publish(file.text, file.format).await?.name;
    print_to_stderr(&format!(
        "{} runs of {workflow} on {}, {} at a time\n",
        args.runs,
        client.url(),
        args.concurrency
    ));
    let (accepted, refused) = submit(client, args, &workflow, input).await?;
    let Some(since) = accepted.runs.iter().map(|run| run.created_at).min() else {
        return Err(refused.map_or_else(|| anyhow!("nothing was accepted"), Into::into));
    };
    let given_up = match refused {
        Some(error) => Err(anyhow::Error::from(error).context("not every run was accepted")),
        None => await_ends(client, &workflow, &accepted.runs, since).await,
    };
    let ended = match collect(client, &workflow, &accepted.runs, since).await {
        // Whatever was in the way is still there, and was reported.
        Err(_) if given_up.is_err() => None,
        ended => Some(ended?),
    };
    Ok(Measured { workflow, accepted, ended, given_up })
}

async fn submit(
    client: &Client,
    args: &BenchArgs,
    workflow: &str,
    input: Value,
) -> anyhow::Result<(Accepted, Option<ClientError>)> {
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
                match submit_one(&client, &workflow, &input, &repeated).await {
                    Ok(run) => accepted.push(run),
                    Err(error) => {
                        // The others would fare no better.
                        left.store(0, Ordering::Relaxed);
                        return (accepted, Some(error));
                    }
                }
            }
            (accepted, None)
        });
    }
    let mut runs = Vec::new();
    let mut latencies = Vec::new();
    let mut refused = None;
    while let Some(submitted) = submitters.join_next().await {
        let (accepted, error) = submitted.context("a submitter crashed")?;
        refused = refused.or(error);
        for (run, latency) in accepted {
            runs.push(run);
            latencies.push(latency);
        }
    }
    let repeated = repeated.load(Ordering::Relaxed);
    Ok((Accepted { runs, took: start.elapsed(), latencies, repeated }, refused))
}

/// Submits a run, again and again while the server has no room for it.
async fn submit_one(
    client: &Client,
    workflow: &str,
    input: &Value,
    repeated: &AtomicU64,
) -> Result<(AcceptedRun, Duration), ClientError> {
    let mut submits = 1;
    let wanted = WantedRun { workflow, version: None, input, budget: None, idempotency_key: None };
    loop {
        let start = Instant::now();
        match client.start(&wanted).await {
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

/// Waits until none of the runs that were accepted since then is open.
async fn await_ends(
    client: &Client,
    workflow: &str,
    accepted: &[AcceptedRun],
    since: DateTime<Utc>,
) -> anyhow::Result<()> {
    let mut stall = StallDetector::new(Instant::now());
    loop {
        let start = Instant::now();
        let Some(open) = newest_open(client, workflow, since).await? else { return Ok(()) };
        if stall.is_strained(&open, start) {
            let ended = collect(client, workflow, accepted, since).await?.len();
            if stall.is_exhausted(ended, Instant::now()) {
                bail!("nothing has ended for {STALL_MAX:?}, and run {open} is open");
            }
        }
        tokio::time::sleep(OPEN_POLL_MIN.max(start.elapsed() * OPEN_POLL_FACTOR)).await;
    }
}

async fn newest_open(
    client: &Client,
    workflow: &str,
    since: DateTime<Utc>,
) -> Result<Option<String>, ClientError> {
    for status in ["queued", "running", "suspended"] {
        let query =
            RunQuery { status: Some(status.to_owned()), limit: 1, ..query(workflow, since) };
        if let Some(open) = client.newest_runs::<AcceptedRun>(&query).await?.items.pop() {
            return Ok(Some(open.id));
        }
    }
    Ok(None)
}

/// The accepted runs that have ended.
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
        let own = page.items.into_iter().filter(|run| missing.remove(run.id.as_str()));
        runs.extend(own.filter(|run| run.finished_at.is_some()));
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

#[cfg(test)]
mod tests {
    use skein_shared::workflow::compile::compile;

    use super::*;

    #[test]
    fn chains_of_any_length_are_valid() {
        for nodes in [1, 2, 10, NODES_MAX as u16] {
            let plan = compile(&serde_json::from_str(&chain(nodes).text).unwrap()).unwrap();
            assert_eq!(plan.nodes.len(), usize::from(nodes));
            assert_eq!(plan.edge_count, u32::from(nodes) - 1);
        }
    }
}
