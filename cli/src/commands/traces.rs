//! `skein traces`: sends the spans of runs to a collector once more.

mod sink;

use std::path::PathBuf;
use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use skein_shared::config::SecretUrl;
use skein_shared::domain::limits::PAGE_MAX;
use skein_shared::domain::state::RunState;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, Page, RunQuery, RunSummary};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::{self, EXIT_HALFWAY};
use crate::format::{OutputArgs, Shape};
use crate::otlp::{Batch, Batcher, Destination, Given, begun_at, spans_of};
use crate::output::{print, print_to_stderr};
use crate::render::clean;
use crate::time_argument::{TimeArgument, rfc3339};
use crate::usage::UsageError;
use sink::Sink;

/// Runs that are exported at most by one command: what is more is better done in parts, each of which can fail alone.
const RUNS_MAX: usize = 10_000;
/// How long before a span begins to be too old for SigNoz, unless its operator has changed that. Runs that have ended lately
/// are looked for among those that were accepted in that time, too: the spans of others would not be taken.
const BACKEND_AGE_MAX: TimeDelta = TimeDelta::days(15);

const EXPORT_HELP: &str = "\
Where nothing says so, the collector is that of OTEL_EXPORTER_OTLP_ENDPOINT. The exit code is 4 if only a part was sent or taken.

Examples:
  skein traces export --run last
  skein traces export --run last --to http://collector:4318 --header signoz-ingestion-key=abc
  skein traces export --failed --since 1h --dry-run
  skein traces export --run last --out spans.json";

/// Arguments of `skein traces`.
#[derive(Debug, clap::Args)]
pub struct TracesArgs {
    #[command(subcommand)]
    action: TracesAction,
}

/// What to do with traces.
#[derive(Debug, clap::Subcommand)]
enum TracesAction {
    /// Makes the spans of runs once more from the database, with the same ids, and sends them to a collector: what was not
    /// sampled, died with its process, or ended while the collector was down. They carry `skein.rebuilt`.
    Export(Box<ExportArgs>),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXPORT_HELP)]
struct ExportArgs {
    /// The run: its id, its trace, or `last`. Several are several of these.
    #[arg(long = "run", value_name = "RUN", required_unless_present = "failed", conflicts_with_all = ["failed", "since", "until"])]
    runs: Vec<RunName>,
    /// All runs that have failed or timed out, since `--since`.
    #[arg(long, requires = "since")]
    failed: bool,
    /// Those that ended since then: so long ago (90s, 10m, 2h, 7d), or a time in RFC 3339. They must have been accepted no
    /// more than 15 days before it.
    #[arg(long, value_name = "TIME")]
    since: Option<TimeArgument>,
    /// Those that ended before then.
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArgument>,
    /// The collector's address, such as http://collector:4318; without it, what OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
    /// OTEL_EXPORTER_OTLP_ENDPOINT says.
    #[arg(long, value_name = "URL")]
    to: Option<SecretUrl>,
    /// A header for the collector, as `name=value`; beside those of OTEL_EXPORTER_OTLP_TRACES_HEADERS or
    /// OTEL_EXPORTER_OTLP_HEADERS. Several are several of these.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// Writes the spans to a file instead, a line of OTLP/JSON for each request; `-` is standard output.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "headers"])]
    out: Option<PathBuf>,
    /// Only says what would be sent.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    variables: Variables,
    #[command(flatten)]
    server: ServerArgs,
}

/// The variables that exporters go by.
#[derive(Debug, clap::Args)]
struct Variables {
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", hide = true, hide_env_values = true)]
    otlp_traces_endpoint: Option<SecretUrl>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide = true, hide_env_values = true)]
    otlp_endpoint: Option<SecretUrl>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", hide = true, hide_env_values = true)]
    otlp_traces_headers: Option<String>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide = true, hide_env_values = true)]
    otlp_headers: Option<String>,
}

pub(super) async fn traces(args: TracesArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    match args.action {
        TracesAction::Export(args) => export(*args, output).await,
    }
}

async fn export(args: ExportArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    // What cannot be sent is not read.
    let sink = args.sink()?;
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let mut exporting = Exporting::new(&connection.client, sink);
    let result = match args.runs(&connection.client).await {
        Ok(runs) => exporting.all(&runs).await,
        Err(error) => Err(error),
    };
    let Exporting { sink, told, .. } = exporting;
    connection.close().await?;
    let code = match result {
        Ok(()) if told.rejected > 0 => ExitCode::from(EXIT_HALFWAY),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if told.spans == 0 => return Err(error),
        Err(error) => {
            // Its own exit code does not say that a part is done.
            let _ = failure::report(&error);
            ExitCode::from(EXIT_HALFWAY)
        }
    };
    match output.shape() {
        // Standard output is where the spans are.
        Shape::Data(format) if !sink.is_stdout() => print(&format.document(&told.object(&sink)))?,
        Shape::Data(_) | Shape::Ids | Shape::Text => print_to_stderr(&told.summary(&sink)),
    }
    Ok(code)
}

impl ExportArgs {
    fn sink(&self) -> anyhow::Result<Sink> {
        if let Some(path) = &self.out {
            return Ok(if self.dry_run {
                Sink::nowhere(path.display())
            } else {
                Sink::file(path)?
            });
        }
        let destination = Destination::new(&Given {
            to: self.to.as_ref(),
            traces_endpoint: self.variables.otlp_traces_endpoint.as_ref(),
            endpoint: self.variables.otlp_endpoint.as_ref(),
            headers: &self.headers,
            traces_header_list: self.variables.otlp_traces_headers.as_deref(),
            header_list: self.variables.otlp_headers.as_deref(),
        })?;
        Ok(if self.dry_run {
            Sink::nowhere(&destination.url)
        } else {
            Sink::collector(destination)?
        })
    }

    /// The runs that are exported; of those that are looked for the failed ones first, each kind with the newest first.
    async fn runs(&self, client: &Client) -> anyhow::Result<Vec<String>> {
        let mut runs = Vec::new();
        for run in &self.runs {
            runs.push(run.id(client).await?);
        }
        let now = Utc::now();
        let since = self.since.filter(|_| self.failed).map(|since| since.before(now));
        let Some(since) = since else { return Ok(runs) };
        let until = self.until.map(|until| until.before(now));
        for state in [RunState::Failed, RunState::TimedOut] {
            let mut query = RunQuery {
                status: Some(state.to_string()),
                created_after: Some(rfc3339(since - BACKEND_AGE_MAX)),
                ended_after: Some(rfc3339(since)),
                ended_before: until.map(rfc3339),
                limit: PAGE_MAX,
                ..RunQuery::default()
            };
            loop {
                let Page { items, next_cursor } = client.runs::<RunSummary>(&query).await?;
                runs.extend(items.into_iter().map(|run| run.id));
                if runs.len() > RUNS_MAX {
                    let message = format!(
                        "there are more than {RUNS_MAX} of them: narrow --since and --until"
                    );
                    return Err(UsageError::new(message).into());
                }
                query.cursor = next_cursor;
                if query.cursor.is_none() {
                    break;
                }
            }
        }
        Ok(runs)
    }
}

/// An export under way.
struct Exporting<'a> {
    client: &'a Client,
    sink: Sink,
    batcher: Batcher,
    told: Told,
}

/// What has come of it so far.
#[derive(Debug, Default)]
struct Told {
    runs: usize,
    /// Spans that were taken, those among them that were thrown away included.
    spans: usize,
    rejected: u64,
    message: Option<String>,
    /// Spans that are too old for SigNoz.
    old: usize,
}

impl<'a> Exporting<'a> {
    fn new(client: &'a Client, sink: Sink) -> Self {
        Self { client, sink, batcher: Batcher::default(), told: Told::default() }
    }

    async fn all(&mut self, runs: &[String]) -> anyhow::Result<()> {
        let read = self.read(runs).await;
        // What was read is sent, also where no more could be.
        let delivered = match self.batcher.take() {
            Some(batch) => self.deliver(batch).await,
            None => Ok(()),
        };
        read.and(delivered)
    }

    async fn read(&mut self, runs: &[String]) -> anyhow::Result<()> {
        let oldest = Utc::now() - BACKEND_AGE_MAX;
        for run in runs {
            let mut cursor = None;
            loop {
                let page = self.client.spans(run, cursor.as_deref()).await?;
                self.take(&page.resource_spans, oldest).await?;
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            self.told.runs += 1;
        }
        Ok(())
    }

    async fn take(&mut self, spans: &[Value], oldest: DateTime<Utc>) -> anyhow::Result<()> {
        let begun = spans_of(spans).filter_map(begun_at);
        self.told.old += begun.filter(|begun| *begun < oldest).count();
        match self.batcher.add(spans) {
            Some(batch) => self.deliver(batch).await,
            None => Ok(()),
        }
    }

    async fn deliver(&mut self, batch: Batch) -> anyhow::Result<()> {
        let delivered = self.sink.deliver(&batch).await?;
        self.told.spans += batch.spans;
        self.told.rejected += delivered.rejected;
        self.told.message = delivered.message.or(self.told.message.take());
        Ok(())
    }
}

impl Told {
    fn object(&self, sink: &Sink) -> Value {
        let Self { runs, spans, rejected, message, old } = self;
        json!({
            "what": sink.verb(), "to": sink.place(), "runs": runs, "spans": spans, "rejected": rejected,
            "message": message, "older_than_15_days": old,
        })
    }

    fn summary(&self, sink: &Sink) -> String {
        let Self { runs, spans, rejected, message, old } = self;
        let counted = |count: usize, of: &str| match count {
            1 => format!("1 {of}"),
            count => format!("{count} {of}s"),
        };
        let mut text = format!(
            "{} {} of {} to {}\n",
            sink.verb(),
            counted(*spans, "span"),
            counted(*runs, "run"),
            clean(&sink.place()),
        );
        if *rejected > 0 {
            let why = message.as_deref().unwrap_or("it does not say why");
            text.push_str(&format!(
                "the collector has thrown {rejected} of them away: {}\n",
                clean(why)
            ));
        }
        if *old > 0 {
            let of = if *old == 1 { "1 of them is" } else { &format!("{old} of them are") };
            text.push_str(&format!(
                "{of} older than 15 days: SigNoz drops such spans unless told otherwise, and says nothing\n"
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn read(args: &[&str]) -> Result<ExportArgs, clap::Error> {
        let command = ExportArgs::augment_args(clap::Command::new("export"));
        let matches = command.try_get_matches_from([&["export"], args].concat())?;
        ExportArgs::from_arg_matches(&matches)
    }

    #[test]
    fn runs_are_named_or_looked_for() {
        let id = "019c0000-0000-7000-8000-000000000001";
        assert_eq!(read(&["--run", id, "--run", "last"]).unwrap().runs.len(), 2);
        assert!(read(&["--failed", "--since", "1h"]).unwrap().failed);
        for wrong in [
            &[] as &[&str],
            &["--failed"],
            &["--since", "1h"],
            &["--run", "last", "--failed", "--since", "1h"],
            &["--run", "last", "--since", "1h"],
            &["--run", "../x"],
            &["--run", "last", "--out", "x", "--to", "http://x"],
        ] {
            assert_eq!(read(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn what_was_done_is_said_and_what_is_lost() {
        let sink = Sink::nowhere("http://collector/v1/traces");
        let told = Told { runs: 1, spans: 12, ..Told::default() };
        let expected = "would send 12 spans of 1 run to http://collector/v1/traces\n";
        assert_eq!(told.summary(&sink), expected);
        let told = Told { rejected: 3, message: Some("too old".to_owned()), old: 1, ..told };
        let text = told.summary(&sink);
        assert!(text.contains("thrown 3 of them away: too old\n"), "{text}");
        assert!(text.contains("1 of them is older than 15 days"), "{text}");
    }
}
