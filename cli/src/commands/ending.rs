//! What is shown of a run: when it ends by whoever waits for it, and at any time by `skein show` and `skein trace`.

use std::process::ExitCode;

use chrono::Utc;
use serde_json::{Value, json};
use skein_shared::domain::limits::PAGE_MAX;

use super::accepted::in_short;
use super::attach::{Attachment, Watched};
use super::traced::trace_of;
use crate::client::{Client, ClientError, LogQuery, LogRow, Run};
use crate::connection::Connection;
use crate::failure::{EXIT_INTERRUPTED, EXIT_RUN_FAILED};
use crate::format::Shape;
use crate::interrupts::Interrupts;
use crate::output::{PrintError, print_after_interrupt, print_if_read, print_to_stderr};
use crate::render::{Plan, Report, Terminal, attempt_table, clean, headline, node_values, waits};
use crate::shell::hint;

/// Log rows that are shown with a result.
const LOG_ROWS_MAX: usize = 1_000;

/// Which part of a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole(Details),
    /// Its trace.
    Trace,
}

/// What of a run is shown beside what everybody wants to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Details {
    /// Each attempt of each node.
    pub(super) attempts: bool,
    /// What the run and its nodes got.
    pub(super) inputs: bool,
    /// What nodes yielded.
    pub(super) outputs: bool,
    /// All but its log, which was shown as it came.
    pub(super) without_log: bool,
}

impl Part {
    /// The same after its log was shown as it came, if it was.
    fn after(self, follow: bool) -> Self {
        match self {
            Self::Whole(details) => Self::Whole(Details { without_log: follow, ..details }),
            Self::Trace => Self::Trace,
        }
    }
}

/// Watches a run until it has ended and shows it then; the exit code says whether it succeeded. After an interrupt, a run
/// that was started here is shown in short where a program reads: nothing else would tell it which one it is.
///
/// # Errors
/// When the server does not answer for long, or says no.
pub(super) async fn to_the_end(
    attachment: Attachment<'_>,
    run: Run,
    part: Part,
    interrupts: &mut Interrupts,
) -> anyhow::Result<ExitCode> {
    let connection = attachment.connection;
    let client = &connection.client;
    let (server, plan) = (attachment.server.clone(), attachment.plan.clone());
    let (follow, shape) = (attachment.follow, attachment.output.shape());
    let is_own = attachment.is_own;
    let interrupted = ExitCode::from(EXIT_INTERRUPTED);
    let (run, was_interrupted) = match attachment.watch(run, interrupts).await? {
        Watched::Ended(run) => (run, false),
        Watched::Cancelled(run) => (run, true),
        Watched::Left(run) => {
            print_interrupted(&run, is_own, follow, shape)?;
            return Ok(interrupted);
        }
    };
    let shown = async {
        match shape {
            // After the events, the run is one more.
            Shape::Data(format) if follow => {
                let run = client.run::<Value>(&run.id).await?;
                Ok(format.rows(&[json!({ "event": "run", "data": run })]))
            }
            shape => show(connection, (&run, &plan), &server, shape, part.after(follow)).await,
        }
    };
    let Some(text) = interrupts.or(shown).await else {
        let show = hint(&["show", &run.id], &server);
        print_after_interrupt(&format!("run {} has ended: {show}\n", clean(&run.id)));
        print_interrupted(&run, is_own, follow, shape)?;
        return Ok(interrupted);
    };
    let text = text?;
    if follow && shape == Shape::Text {
        // Between what came and what came of it.
        print_to_stderr("\n");
    }
    print_if_read(&text)?;
    Ok(match run.status.as_str() {
        _ if was_interrupted => interrupted,
        "succeeded" => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_RUN_FAILED),
    })
}

/// Prints which run it was that is not shown because of an interrupt, if this command has started it.
fn print_interrupted(
    run: &Run,
    is_own: bool,
    follow: bool,
    shape: Shape,
) -> Result<(), PrintError> {
    if !is_own {
        return Ok(());
    }
    print_if_read(&match shape {
        Shape::Text => String::new(),
        Shape::Ids => format!("{}\n", clean(&run.id)),
        Shape::Data(format) if follow => {
            format.rows(&[json!({ "event": "run", "data": in_short(run) })])
        }
        Shape::Data(format) => format.document(&in_short(run)),
    })
}

/// A run as it is now, in a form.
///
/// # Errors
/// When the server does not answer, or says no.
pub(super) async fn show(
    connection: &Connection,
    (run, plan): (&Run, &Plan),
    server: &[String],
    shape: Shape,
    part: Part,
) -> anyhow::Result<String> {
    let client = &connection.client;
    match (shape, part) {
        (Shape::Ids, Part::Whole(_)) => Ok(format!("{}\n", clean(&run.id))),
        (Shape::Ids, Part::Trace) => Ok(format!("{}\n", clean(&run.trace_id))),
        (Shape::Data(format), _) => Ok(format.document(&client.run::<Value>(&run.id).await?)),
        (Shape::Text, Part::Whole(details)) => {
            whole(connection, (run, plan), server, details).await
        }
        (Shape::Text, Part::Trace) => {
            let terminal = Terminal::stdout();
            let traced = trace_of(client, run, plan, server, &terminal).await;
            // How the run is, and what it waits for, stay in sight below a trace that is taller than the terminal.
            let waits = waits(run, server, Utc::now(), &terminal);
            let gap = if waits.is_empty() { "" } else { "\n" };
            Ok(format!("{traced}\n{}{gap}{waits}", headline(run, &terminal)))
        }
    }
}

/// The whole of a run: nodes, log, trace, what else was asked for, and last what came of it.
async fn whole(
    connection: &Connection,
    (run, plan): (&Run, &Plan),
    server: &[String],
    wanted: Details,
) -> anyhow::Result<String> {
    let (client, terminal, now) = (&connection.client, Terminal::stdout(), Utc::now());
    let read = if wanted.without_log { None } else { Some(log(client, &run.id).await?) };
    let (log, is_log_whole) = match &read {
        Some((rows, is_whole)) => (Some(rows.as_slice()), *is_whole),
        None => (None, true),
    };
    let trace = trace_of(client, run, plan, server, &terminal).await;
    let mut details = Vec::new();
    if wanted.inputs || wanted.outputs {
        let with_values = client.run::<Run>(&run.id).await?;
        let values = (wanted.inputs, wanted.outputs);
        details.push(("Values", node_values(&with_values, values, server, &terminal)));
    }
    let attempts = attempt_table(run, now, &terminal);
    if wanted.attempts && !attempts.is_empty() {
        details.push(("Attempts", attempts));
    }
    let report = Report {
        run,
        plan,
        log,
        is_log_whole,
        trace: &trace,
        details: &details,
        says_input: !wanted.inputs,
        // The worker of an embedded server is this process.
        names_workers: !connection.is_embedded(),
        server,
    };
    Ok(report.render(now, &terminal))
}

async fn log(client: &Client, id: &str) -> Result<(Vec<LogRow>, bool), ClientError> {
    let mut rows: Vec<LogRow> = Vec::new();
    let mut query = LogQuery { limit: PAGE_MAX, ..LogQuery::default() };
    while rows.len() < LOG_ROWS_MAX {
        let page = client.logs(id, &query).await?;
        if page.items.is_empty() {
            return Ok((rows, true));
        }
        rows.extend(page.items);
        query.after = page.next_cursor;
    }
    Ok((rows, false))
}
