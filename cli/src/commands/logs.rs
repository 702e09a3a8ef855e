//! `skein logs`: shows the log of a run.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use skein_shared::domain::limits::PAGE_MAX;
use tokio::time::Instant;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{ClientError, Followed, Follower, LogRow};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::output::{print, print_to_stderr};
use crate::render::{LogView, Terminal};

/// How long the log of a run may be out of reach while its server ends: that drains first, for 3 s at most.
const SUCCESSION_MAX: Duration = Duration::from_secs(10);
/// The pause between two polls for whoever comes next.
const SUCCESSION_POLL: Duration = Duration::from_millis(100);

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
    let embedded = EmbeddedArgs::from_env()?;
    let mut reader = Reader::new(&args);
    loop {
        let mut connection = Connection::open(&args.server, &embedded, Role::Reads).await?;
        let shown = tokio::select! {
            shown = reader.show(&mut connection) => shown,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        let is_passing = connection.is_passing();
        connection.close().await?;
        match shown {
            // The command that executed the run has ended. What it left is read from its store.
            Err(error) if is_passing && is_lost(&error) && reader.has_patience() => {
                tokio::time::sleep(SUCCESSION_POLL).await;
            }
            shown => return shown.map(|()| ExitCode::SUCCESS),
        }
    }
}

fn is_lost(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(ClientError::is_transient)
}

/// How far a log has been read, over the servers that show it.
struct Reader<'a> {
    args: &'a LogsArgs,
    id: Option<String>,
    view: LogView,
    after: Option<String>,
    answered: Instant,
}

impl<'a> Reader<'a> {
    fn new(args: &'a LogsArgs) -> Self {
        Self {
            args,
            id: None,
            view: LogView::new(Terminal::stdout()),
            after: None,
            answered: Instant::now(),
        }
    }

    /// Whether a server that has gone may still have a successor.
    fn has_patience(&self) -> bool {
        self.answered.elapsed() < SUCCESSION_MAX
    }

    async fn show(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        let client = connection.client.clone();
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.id.insert(self.args.run.id(&client).await?).clone(),
        };
        loop {
            let page = client.logs::<Value>(&id, self.after.as_deref(), PAGE_MAX).await?;
            self.answered = Instant::now();
            if page.items.is_empty() {
                break;
            }
            print(&text(page.items, self.args.json, &mut self.view)?)?;
            self.after = page.next_cursor.or(self.after.take());
        }
        if !self.args.follow {
            return Ok(());
        }
        if !client.progress(&id).await?.has_ended() {
            // A log grows only where something executes the run.
            connection.execute();
        }
        let follower = Follower::new(&client, &id, self.after.clone());
        // Whoever comes after a server that ends with its command is found by asking anew.
        let mut follower = if connection.is_passing() { follower.impatient() } else { follower };
        loop {
            let followed = follower.next().await?;
            self.answered = Instant::now();
            match followed {
                Followed::Row(row) => {
                    print(&text(vec![row], self.args.json, &mut self.view)?)?;
                    self.after = follower.last().map(ToOwned::to_owned);
                }
                Followed::Notice(notice) => print_to_stderr(&format!("{notice}\n")),
                Followed::End(_) => return Ok(()),
                Followed::Text(_) | Followed::Change => {}
            }
        }
    }
}

fn text(rows: Vec<Value>, as_json: bool, view: &mut LogView) -> anyhow::Result<String> {
    if as_json {
        return Ok(rows.iter().map(|row| format!("{row}\n")).collect());
    }
    let rows: Result<Vec<LogRow>, _> = rows.into_iter().map(serde_json::from_value).collect();
    Ok(view.rows(&rows?))
}
