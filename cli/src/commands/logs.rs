//! `skein logs`: shows the log of a run.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use skein_shared::domain::limits::PAGE_MAX;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, LogRow, Run};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::render::{LogView, Terminal, print};

/// The pause between two looks at a log that is followed.
const FOLLOW_POLL: Duration = Duration::from_millis(500);

/// Arguments of `skein logs`.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// The run's id, or `last`.
    run: RunName,
    /// Goes on until the run has ended.
    #[arg(long, short)]
    follow: bool,
    /// A line of JSON for each row.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn logs(args: LogsArgs) -> anyhow::Result<ExitCode> {
    // A log that is followed grows only where something executes the run.
    let role = if args.follow { Role::Executes } else { Role::Reads };
    let connection = Connection::open(&args.server, &EmbeddedArgs::from_env()?, role).await?;
    let shown = tokio::select! {
        shown = show(&connection.client, &args) => shown,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, args: &LogsArgs) -> anyhow::Result<()> {
    let id = args.run.id(client).await?;
    let mut view = LogView::new(Terminal::stdout());
    let mut after: Option<String> = None;
    // Rows may show up a moment after the end of the run, so one more look follows it.
    let (mut has_ended, mut is_last) = (false, false);
    loop {
        let page = client.logs::<Value>(&id, after.as_deref(), PAGE_MAX).await?;
        let is_empty = page.items.is_empty();
        print(&text(page.items, args.json, &mut view)?)?;
        after = page.next_cursor.or(after);
        if !is_empty {
            continue;
        }
        if is_last || !args.follow {
            return Ok(());
        }
        is_last = has_ended;
        has_ended = has_ended || client.run::<Run>(&id).await?.has_ended();
        tokio::time::sleep(FOLLOW_POLL).await;
    }
}

fn text(rows: Vec<Value>, as_json: bool, view: &mut LogView) -> anyhow::Result<String> {
    if as_json {
        return Ok(rows.iter().map(|row| format!("{row}\n")).collect());
    }
    let rows: Result<Vec<LogRow>, _> = rows.into_iter().map(serde_json::from_value).collect();
    Ok(view.rows(&rows?))
}
