//! `skein run`: publishes a workflow, runs it, and shows what came of it.

mod view;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use chrono::Utc;
use serde_json::{Map, Value, json};
use skein_shared::domain::limits::PAGE_MAX;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::budget::number;
use super::traced::trace_of;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, ClientError, LogRow, Run};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::{EXIT_FAILED, EXIT_INTERRUPTED};
use crate::input::{self, WorkflowFile};
use crate::output::{print, print_if_read, print_to_stderr};
use crate::render::{
    LogView, PlannedNode, Style, Terminal, headline, node_table, output, waits, width_of,
};
use crate::usage::UsageError;
use view::View;
use watch::{Seen, Watch};

/// Log rows that are shown with a result.
const LOG_ROWS_MAX: usize = 1_000;

/// Arguments of `skein run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The workflow, in YAML or JSON; - for standard input.
    file: PathBuf,
    /// What the run works on: JSON, @FILE with JSON or YAML, or - for either on standard input.
    #[arg(long, short, value_name = "JSON", default_value = "{}")]
    input: String,
    /// Follows the run until it has ended; this is the default.
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Prints the run's id once it is accepted, and leaves it to the server.
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// Shows the log and what models write as it comes, in place of a picture.
    #[arg(long, short, conflicts_with = "no_wait")]
    follow: bool,
    /// The run as JSON, in place of pictures; with --follow a line of JSON for each event before.
    #[arg(long)]
    json: bool,
    /// US dollars that the run may spend at most on calls to models.
    #[arg(long, value_name = "AMOUNT", value_parser = number)]
    budget_usd: Option<Value>,
    /// Tokens of inputs and outputs that the run may spend at most.
    #[arg(long, value_name = "COUNT", value_parser = number)]
    max_tokens: Option<Value>,
    /// When the run is stopped: 90s, 1h, or a time in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    deadline: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    embedded: EmbeddedArgs,
}

impl RunArgs {
    /// What the run may spend, by the names of the API; `None` leaves that to the workflow.
    fn budget(&self) -> Option<Value> {
        let given = [
            ("max_usd", self.budget_usd.clone()),
            ("max_tokens", self.max_tokens.clone()),
            ("deadline", self.deadline.clone().map(Value::String)),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let budget: Map<String, Value> = given.collect();
        (!budget.is_empty()).then_some(Value::Object(budget))
    }
}

pub(super) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let (file, input) = input::read_both(&args.file, &args.input)?;
    let connection = Connection::open(&args.server, &args.embedded, Role::Executes).await?;
    let mut interrupts = signal(SignalKind::interrupt())?;
    let ended = Box::pin(publish_and_run(&connection, &args, file, input, &mut interrupts)).await;
    // A server within the process gives its work some time. What it does not wait for goes on the next time.
    match unless_interrupted(&mut interrupts, connection.close()).await {
        Some(closed) => closed.and(ended),
        None => ended.map(|_| ExitCode::from(EXIT_INTERRUPTED)),
    }
}

/// What comes of the work, unless Ctrl-C comes first. From the first use of `signal` on, SIGINT does nothing by
/// itself, so whatever may take long has to be waited for here.
async fn unless_interrupted<T>(
    interrupts: &mut Signal,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        _ = interrupts.recv() => None,
        done = work => Some(done),
    }
}

async fn publish_and_run(
    connection: &Connection,
    args: &RunArgs,
    file: WorkflowFile,
    input: Value,
    interrupts: &mut Signal,
) -> anyhow::Result<ExitCode> {
    let client = &connection.client;
    let interrupted = ExitCode::from(EXIT_INTERRUPTED);
    if args.no_wait && connection.is_embedded() {
        let message =
            "--no-wait needs a server that stays: start `skein dev`, or name one with SKEIN_URL";
        return Err(UsageError::new(message).into());
    }
    let plan = file.nodes().into_iter().map(|(id, kind)| PlannedNode { id, kind }).collect();
    let published = client.publish(file.text.clone(), file.format);
    let Some(workflow) = unless_interrupted(interrupts, published).await else {
        return Ok(interrupted);
    };
    let workflow = workflow.map_err(|error| error.of_document(file))?;
    let budget = args.budget();
    let started = client.start_within::<Run>(&workflow.name, &input, budget.as_ref());
    let Some(run) = unless_interrupted(interrupts, started).await else {
        print_to_stderr("the server may have accepted the run: `skein runs` tells\n");
        return Ok(interrupted);
    };
    let run = run?;
    if args.no_wait {
        let text = if args.json {
            format!("{}\n", json!({ "id": run.id }))
        } else {
            format!("{}\n", run.id)
        };
        print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some((run, was_interrupted)) = follow(connection, args, run, plan, interrupts).await?
    else {
        return Ok(interrupted);
    };
    let shown = async {
        if args.json {
            let run = client.run::<Value>(&run.id).await?;
            return Ok(if args.follow {
                format!("{}\n", json!({ "event": "run", "data": run }))
            } else {
                format!("{run:#}\n")
            });
        }
        result(client, &run, &args.server.flags()).await
    };
    let Some(text) = unless_interrupted(interrupts, shown).await else {
        let id = &run.id;
        print_to_stderr(&format!("run {id} has ended: skein trace {id}\n"));
        return Ok(interrupted);
    };
    print_if_read(&text?)?;
    Ok(match run.status.as_str() {
        _ if was_interrupted => interrupted,
        "succeeded" => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_FAILED),
    })
}

/// Watches the run until it has ended, and returns whether it was interrupted. The first Ctrl-C asks for it to be
/// cancelled, the second leaves it; then there is nothing to show.
async fn follow(
    connection: &Connection,
    args: &RunArgs,
    mut run: Run,
    plan: Vec<PlannedNode>,
    interrupts: &mut Signal,
) -> anyhow::Result<Option<(Run, bool)>> {
    let client = &connection.client;
    let terminal = Terminal::stderr();
    let mut view = View::new(args, terminal, plan);
    print_to_stderr(&format!("{}\n", title(&run.id, client.url(), &terminal)));
    view.draw(&run);
    let mut watch = Watch::new(client, &run.id, args.follow);
    let mut was_interrupted = false;
    while args.follow || !run.has_ended() {
        let Some(seen) = unless_interrupted(interrupts, watch.next()).await else {
            view.clear();
            if was_interrupted {
                print_to_stderr(&left_behind(connection, &run, args));
                return Ok(None);
            }
            was_interrupted = true;
            watch.cancel();
            print_to_stderr("cancelling; Ctrl-C again leaves the run to itself\n");
            continue;
        };
        match seen {
            Ok(Seen::Run(newer)) => {
                run = newer;
                view.draw(&run);
            }
            Ok(Seen::Nothing) => view.draw(&run),
            Ok(Seen::Event(followed)) => view.show(&followed)?,
            Ok(Seen::Last(newer)) => {
                run = newer;
                view.draw(&run);
                break;
            }
            Err(error) => {
                view.clear();
                print_to_stderr(&left_behind(connection, &run, args));
                return Err(
                    anyhow::Error::from(error).context(format!("run {} is lost sight of", run.id))
                );
            }
        }
    }
    view.clear();
    Ok(Some((run, was_interrupted)))
}

/// The run and where it is: on two lines where one has no room for both.
fn title(id: &str, url: &str, terminal: &Terminal) -> String {
    let fits =
        terminal.columns.is_none_or(|columns| "run  at ".len() + id.len() + url.len() <= columns);
    let title = format!("run {id}{}at {url}", if fits { " " } else { "\n" });
    terminal.paint(&title, Style::Dim)
}

/// What becomes of a run that is not waited for, and what it waited for when it was seen last.
fn left_behind(connection: &Connection, run: &Run, args: &RunArgs) -> String {
    let id = &run.id;
    let becomes = if connection.is_embedded() {
        format!("run {id} stays open; `skein dev` or the next `skein run` goes on with it\n")
    } else {
        format!("the run goes on: skein trace {id}\n")
    };
    becomes + &waits(run, &args.server.flags(), Utc::now(), &Terminal::stderr())
}

/// The whole result: output, nodes, log, trace.
async fn result(client: &Client, run: &Run, server: &[String]) -> anyhow::Result<String> {
    let terminal = Terminal::stdout();
    let title = |text: &str| format!("\n{}\n", terminal.paint(text, Style::Bold));
    // A narrow terminal has the trace in the headline only; where there are several, each is named where it begins.
    let of_trace = |what: &str, long: String| {
        let fits = terminal.columns.is_none_or(|columns| width_of(&long) <= columns);
        title(if fits && run.earlier_traces.is_empty() { &long } else { what })
    };
    let mut text = headline(run, &terminal);
    if let Some(value) = run.output.as_ref().filter(|value| !value.is_null()) {
        text.push_str(&title("Output"));
        text.push_str(&output(value));
    }
    text.push_str(&title("Nodes"));
    text.push_str(&node_table(run, Utc::now(), &terminal));
    let (rows, are_all) = log(client, &run.id).await?;
    text.push_str(&of_trace("Log", format!("Log of trace {}", run.trace_id)));
    text.push_str(&LogView::new(terminal).rows(&rows));
    if !are_all {
        text.push_str(&format!("… more: skein logs {}\n", run.id));
    }
    text.push_str(&of_trace("Trace", format!("Trace {}", run.trace_id)));
    text.push_str(&trace_of(client, run, server, &terminal).await);
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
