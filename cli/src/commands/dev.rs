//! `skein dev`: the whole of Skein in one process.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use serde_json::json;
use skein_shared::config::{HttpArgs, OpsArgs, StoreUrl};
use skein_shared::ops::Ops;
use skein_shared::shutdown;
use skein_shared::telemetry::tally::Signal;
use skein_shared::telemetry::{self, TelemetryConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::arguments::{DATA_DIRECTORY, EmbeddedArgs, data_flags};
use crate::connection::keep_log_quiet;
use crate::data_directory::{DataDirectory, DirectoryClaim, Ownership};
use crate::embedded::{Embedded, Role, SERVICE, StoreAccess};
use crate::failure::EXIT_INTERRUPTED;
use crate::format::{OutputArgs, Shape};
use crate::output::print_if_read;
use crate::render::{Style, Terminal, clean};
use crate::shell::skein_command;

/// How long it waits for a `skein run` that has the data directory for a moment.
const OWNER_PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two polls of the directory.
const OWNER_POLL: Duration = Duration::from_millis(50);

const HELP: &str = "\
Commands that are typed in the same directory find it by themselves. Ctrl-C and SIGTERM stop it: what is under way may end, and
what it has accepted is kept; a second Ctrl-C does not wait.

Examples:
  skein dev
  skein dev --listen 127.0.0.1:0 --data /var/tmp/skein
  skein dev --mock-models examples/models/replies.yaml
  skein dev -o json                     # where it listens, once it does, as an object";

/// Arguments of `skein dev`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct DevArgs {
    /// Where the store and the key are kept.
    #[arg(long, env = "SKEIN_DATA", default_value = DATA_DIRECTORY, value_name = "DIRECTORY")]
    data: PathBuf,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    embedded: EmbeddedArgs,
}

pub(super) async fn dev(args: DevArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let mut config = TelemetryConfig::from_env()?.with_scrape(args.ops.listen().is_some());
    if output.quiet {
        keep_log_quiet(&mut config);
    }
    let ownership = claim(&DataDirectory::new(&args.data)).await?;
    let telemetry = telemetry::init(SERVICE, &config)?;
    let served = async {
        let ops = Ops::start(args.ops.listen(), telemetry.scrape()).await?;
        let served = serve(&args, ownership, &config, (&ops, output)).await;
        ops.stop().await;
        served
    };
    let served = served.await;
    telemetry.shutdown().await;
    served
}

async fn claim(directory: &DataDirectory) -> anyhow::Result<Ownership> {
    let deadline = Instant::now() + OWNER_PATIENCE;
    loop {
        match directory.claim()? {
            DirectoryClaim::Owned(ownership) => return Ok(ownership),
            DirectoryClaim::Taken(Some(owner)) if owner.stays => bail!(
                "{} is in use by the `skein dev` at {} (process {}); commands find it by themselves",
                directory.path().display(),
                clean(&owner.url),
                owner.pid
            ),
            DirectoryClaim::Taken(_) if Instant::now() >= deadline => {
                bail!("{} is in use by another skein command", directory.path().display());
            }
            DirectoryClaim::Taken(_) => tokio::time::sleep(OWNER_POLL).await,
        }
    }
}

async fn serve(
    args: &DevArgs,
    ownership: Ownership,
    telemetry: &TelemetryConfig,
    (ops, output): (&Ops, OutputArgs),
) -> anyhow::Result<ExitCode> {
    let stop = shutdown::requested();
    let listen = args.http.listen.as_str();
    let access = StoreAccess::Owner(ownership);
    let mut embedded = Embedded::start(access, &args.embedded, listen, Role::Stays).await?;
    ops.is_ready_when(embedded.ready());
    print_if_read(&match output.shape() {
        Shape::Data(format) => {
            let key_file = DataDirectory::new(&args.data).key_file().display().to_string();
            format.document(&json!({ "url": embedded.url(), "key_file": key_file }))
        }
        Shape::Ids => String::new(),
        Shape::Text => banner(args, &embedded, telemetry)?,
    })?;
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = embedded.failed() => ended,
    };
    let mut impatience = signal(SignalKind::interrupt())?;
    tokio::select! {
        stopped = embedded.stop() => ended.and(stopped).map(|()| ExitCode::SUCCESS),
        // Nothing is lost: what was under way goes on after the next start.
        _ = impatience.recv() => Ok(ExitCode::from(EXIT_INTERRUPTED)),
    }
}

fn banner(
    args: &DevArgs,
    embedded: &Embedded,
    telemetry: &TelemetryConfig,
) -> anyhow::Result<String> {
    let terminal = Terminal::stdout();
    let store = match args.embedded.store.store()? {
        None => format!("SQLite in {}", args.data.join("skein.db").display()),
        Some(StoreUrl::Sqlite(path)) => format!("SQLite in {}", path.display()),
        Some(StoreUrl::Postgres(url)) => url.to_string(),
    };
    let queue = match args.embedded.broker.amqp()? {
        None => "within the process".to_owned(),
        Some(amqp) => amqp.url.to_string(),
    };
    // A key that somebody has set is theirs to keep; the one that was made is nobody's yet. Where nobody sits in front
    // of it, what is printed is kept: in a journal, in the log of a job.
    let (key, in_curl) = if args.embedded.bootstrap.bootstrap_key.is_some() {
        ("as SKEIN_BOOTSTRAP_KEY says".to_owned(), "$SKEIN_BOOTSTRAP_KEY".to_owned())
    } else if std::io::stdout().is_terminal() {
        (embedded.key().expose().to_owned(), embedded.key().expose().to_owned())
    } else {
        let file = DataDirectory::new(&args.data).key_file();
        (format!("in {}", file.display()), format!("$(cat '{}')", file.display()))
    };
    let traces = match telemetry.destination(Signal::Traces) {
        Some(destination) => format!("exported to {}", clean(&destination.url)),
        None => "not exported; set OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
    };
    let mock = args.embedded.mock_models.as_ref();
    let models = mock.map(|script| format!("mock, by {}", script.display()));
    let mut text = String::new();
    let title = concat!("skein ", env!("CARGO_PKG_VERSION"));
    writeln!(text, "{}\n", terminal.paint(title, Style::Bold))?;
    let lines = [
        ("API", embedded.url()),
        ("Key", &key),
        ("Store", &store),
        ("Queue", &queue),
        ("Traces", &traces),
    ];
    let models = models.as_deref().map(|models| ("Models", models));
    for (name, value) in lines.into_iter().chain(models) {
        writeln!(text, "  {}  {value}", terminal.paint(&format!("{name:<6}"), Style::Dim))?;
    }
    writeln!(text, "\nIn another terminal, in the same directory:\n")?;
    writeln!(text, "  {}", example(&args.data))?;
    writeln!(
        text,
        "  curl -s {}/v1/runs -H \"Authorization: Bearer {in_curl}\"\n",
        embedded.url()
    )?;
    writeln!(
        text,
        "{}\n",
        terminal.paint("Ctrl-C stops it; what it has accepted is kept.", Style::Dim)
    )?;
    Ok(text)
}

/// A command that finds this server, typed in the same directory.
fn example(data: &Path) -> String {
    let words = ["run", "examples/api-tour.yaml"];
    // The data directory is shown above, as far as it can be.
    skein_command(&words, &data_flags(data))
        .unwrap_or_else(|| "skein run examples/api-tour.yaml --data DIRECTORY".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_finds_the_server_by_its_data_directory() {
        for (data, command) in [
            (DATA_DIRECTORY, "skein run examples/api-tour.yaml"),
            ("/srv/one", "skein run examples/api-tour.yaml --data /srv/one"),
            ("my data", "skein run examples/api-tour.yaml --data 'my data'"),
            ("a\nb", "skein run examples/api-tour.yaml --data DIRECTORY"),
        ] {
            assert_eq!(example(Path::new(data)), command);
        }
    }
}
