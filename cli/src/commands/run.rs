//! `skein run`: publishes a workflow, runs it, and shows what came of it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use skein_shared::domain::limits::PAGE_MAX;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, ClientError, LogRow, Run};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::{EXIT_FAILED, EXIT_INTERRUPTED, UsageError};
use crate::input::{self, WorkflowFile};
use crate::render::{
    LogView, PlannedNode, Progress, Style, Terminal, headline, node_table, output, print, waterfall,
};

/// The pause between two looks at a run, at first: what ends soon is shown soon.
const POLL_FIRST: Duration = Duration::from_millis(40);
/// The pause that it grows to.
const POLL_LAST: Duration = Duration::from_millis(500);
/// How many looks in a row may fail before the command gives up: half a minute. The run goes on either way.
const FAILED_POLLS_MAX: u32 = 60;
/// Log rows that are shown with a result.
const LOG_ROWS_MAX: usize = 1_000;

/// Arguments of `skein run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The workflow, in YAML or JSON.
    file: PathBuf,
    /// What the run works on: JSON, @FILE with JSON or YAML, or - for JSON on standard input.
    #[arg(long, short, value_name = "JSON", default_value = "{}")]
    input: String,
    /// Follows the run until it has ended; this is the default.
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Prints the run's id once it is accepted, and leaves it to the server.
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// The run as JSON, in place of pictures.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    embedded: EmbeddedArgs,
}

pub(super) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let file = WorkflowFile::read(&args.file)?;
    let input = input::read(&args.input)?;
    let connection = Connection::open(&args.server, &args.embedded, Role::Executes).await?;
    let ended = Box::pin(publish_and_run(&connection, &args, file, input)).await;
    connection.close().await?;
    ended
}

async fn publish_and_run(
    connection: &Connection,
    args: &RunArgs,
    file: WorkflowFile,
    input: Value,
) -> anyhow::Result<ExitCode> {
    let client = &connection.client;
    if args.no_wait && connection.is_embedded() {
        let message =
            "--no-wait needs a server that stays: start `skein dev`, or name one with SKEIN_URL";
        return Err(UsageError::new(message).into());
    }
    let mut interrupts = signal(SignalKind::interrupt())?;
    let plan = file.nodes().into_iter().map(|(id, kind)| PlannedNode { id, kind }).collect();
    let workflow = client.publish(file.text, file.format).await?;
    let run: Run = client.start(&workflow.name, &input).await?;
    if args.no_wait {
        let text = if args.json {
            format!("{}\n", json!({ "id": run.id }))
        } else {
            format!("{}\n", run.id)
        };
        print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (run, was_interrupted) = follow(client, run, plan, &mut interrupts).await?;
    if args.json {
        print(&format!("{:#}\n", client.run::<Value>(&run.id).await?))?;
    } else if run.has_ended() {
        print(&result(client, &run).await?)?;
    }
    Ok(match run.status.as_str() {
        _ if was_interrupted => ExitCode::from(EXIT_INTERRUPTED),
        "succeeded" => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_FAILED),
    })
}

/// Watches the run until it has ended. The first Ctrl-C asks for it to be cancelled, the second leaves it.
async fn follow(
    client: &Client,
    mut run: Run,
    plan: Vec<PlannedNode>,
    interrupts: &mut Signal,
) -> anyhow::Result<(Run, bool)> {
    let terminal = Terminal::stderr();
    let mut progress = Progress::new(terminal, plan);
    let (mut pause, mut failures, mut was_interrupted) = (POLL_FIRST, 0, false);
    eprintln!("{}", terminal.paint(&format!("run {} at {}", run.id, client.url()), Style::Dim));
    loop {
        eprint!("{}", progress.update(&run, Utc::now()));
        if run.has_ended() {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = interrupts.recv() => {
                if was_interrupted {
                    eprintln!("\nthe run goes on: skein trace {}", run.id);
                    return Ok((run, true));
                }
                was_interrupted = true;
                eprint!("{}", progress.clear());
                eprintln!("cancelling; Ctrl-C again leaves the run to itself");
                cancel(client, &run.id).await?;
            }
        }
        pause = pause.mul_f64(1.3).min(POLL_LAST);
        match client.progress(&run.id).await {
            Ok(newer) => (run, failures) = (newer, 0),
            Err(error) if error.is_transient() && failures < FAILED_POLLS_MAX => {
                failures += 1;
                pause = POLL_LAST;
            }
            Err(error) => return Err(error.into()),
        }
    }
    eprint!("{}", progress.clear());
    Ok((run, was_interrupted))
}

async fn cancel(client: &Client, id: &str) -> Result<(), ClientError> {
    match client.cancel(id).await {
        // It ended before it could be cancelled.
        Err(ClientError::Refused(problem)) if problem.status == 409 => Ok(()),
        cancelled => cancelled.map(|_| ()),
    }
}

/// The whole result: output, nodes, log, trace.
async fn result(client: &Client, run: &Run) -> anyhow::Result<String> {
    let terminal = Terminal::stdout();
    let title = |text: &str| format!("\n{}\n", terminal.paint(text, Style::Bold));
    let mut text = headline(run, &terminal);
    if let Some(value) = run.output.as_ref().filter(|value| !value.is_null()) {
        text.push_str(&title("Output"));
        text.push_str(&output(value));
    }
    text.push_str(&title("Nodes"));
    text.push_str(&node_table(run, Utc::now(), &terminal));
    let (rows, are_all) = log(client, &run.id).await?;
    text.push_str(&title(&format!("Log of trace {}", run.trace_id)));
    text.push_str(&LogView::new(terminal).rows(&rows));
    if !are_all {
        text.push_str(&format!("… more: skein logs {}\n", run.id));
    }
    text.push_str(&title(&format!("Trace {}", run.trace_id)));
    text.push_str(&waterfall(run, Utc::now(), &terminal));
    Ok(text)
}

async fn log(client: &Client, id: &str) -> Result<(Vec<LogRow>, bool), ClientError> {
    let mut rows: Vec<LogRow> = Vec::new();
    let mut after: Option<String> = None;
    while rows.len() < LOG_ROWS_MAX {
        let page = client.logs(id, after.as_deref(), PAGE_MAX).await?;
        if page.items.is_empty() {
            return Ok((rows, true));
        }
        rows.extend(page.items);
        after = page.next_cursor;
    }
    Ok((rows, false))
}
