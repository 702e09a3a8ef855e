//! `skein logs`: shows the log of a run.

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::Value;
use skein_shared::domain::limits::PAGE_MAX;
use tokio::time::Instant;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{ClientError, Followed, Follower, LogQuery, LogRow};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::EXIT_INTERRUPTED;
use crate::format::{OutputArgs, Shape};
use crate::interrupts::Interrupts;
use crate::output::{PrintError, print, print_to_stderr};
use crate::render::{LogView, Terminal};
use crate::time_argument::{TimeArgument, rfc3339};

/// How long the log of a run may be out of reach while its server ends: that drains first, for 3 s at most.
const SUCCESSION_MAX: Duration = Duration::from_secs(10);
/// The pause between two polls for whoever comes next.
const SUCCESSION_POLL: Duration = Duration::from_millis(100);

const HELP: &str = "\
Ctrl-C and SIGTERM end the command, not the run; the exit code is 130.

Examples:
  skein logs last
  skein logs last --follow                       # until the run has ended
  skein logs last --level warn --since 10m
  skein logs 4bf92f3577b34da6a3ce929d0e0e4736 --node fetch    # the run of this trace
  skein logs last --ids                          # with the span of each row
  skein logs last -o json                        # an object on each line";

/// Arguments of `skein logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct LogsArgs {
    /// The run's id, its trace (32 hex digits), or `last`.
    run: RunName,
    /// Goes on until the run has ended.
    #[arg(long, short)]
    follow: bool,
    /// Rows as severe as this, or more.
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// Rows about this node only.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Rows of this time or later only: so long ago (90s, 10m, 2h, 7d), or a time in RFC 3339.
    #[arg(long, value_name = "TIME")]
    since: Option<TimeArgument>,
    /// Shows trace id and span id in each row.
    #[arg(long)]
    ids: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// How severe a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

pub(super) async fn logs(args: LogsArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let embedded = EmbeddedArgs::from_env()?;
    let mut interrupts = Interrupts::new()?;
    let mut reader = Reader::new(&args, output);
    loop {
        let mut connection = Connection::open(&args.server, &embedded, Role::Reads).await?;
        let shown = interrupts.or(reader.show(&mut connection)).await;
        let is_passing = connection.is_passing();
        connection.close().await?;
        match shown {
            // The command that executed the run has ended. What it left is read from its store.
            Some(Err(error)) if is_passing && is_lost(&error) && reader.has_patience() => {
                tokio::time::sleep(SUCCESSION_POLL).await;
            }
            Some(shown) => {
                shown?;
                reader.finish()?;
                return Ok(ExitCode::SUCCESS);
            }
            None => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
        }
    }
}

fn is_lost(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(ClientError::is_transient)
}

/// Which rows are wanted.
#[derive(Debug, Clone)]
struct Wanted {
    level: Option<Level>,
    node: Option<String>,
    since: Option<DateTime<Utc>>,
}

impl Wanted {
    /// What a server is asked for. Whoever follows a log asks for all of it and chooses here: the stream of events, which
    /// goes on where the pages end, has all rows and knows no other cursors.
    fn query(&self, follow: bool) -> LogQuery {
        let all = LogQuery { limit: PAGE_MAX, ..LogQuery::default() };
        if follow {
            return all;
        }
        LogQuery {
            level: self.level.map(|level| level.word().to_owned()),
            node: self.node.clone(),
            since: self.since.map(rfc3339),
            ..all
        }
    }

    /// Whether a row is one of them. A row that says of itself what is not known here is shown.
    fn has(&self, row: &Value) -> bool {
        let level = row["level"].as_str().and_then(|it| Level::from_str(it, false).ok());
        let is_severe = self.level.is_none_or(|least| level.is_none_or(|level| level >= least));
        let is_of_node = self.node.as_deref().is_none_or(|node| row["node"] == node);
        let ts = row["ts"].as_str().and_then(|ts| ts.parse::<DateTime<Utc>>().ok());
        let is_new = self.since.is_none_or(|since| ts.is_none_or(|ts| ts >= since));
        is_severe && is_of_node && is_new
    }
}

/// How far a log has been read, over the servers that show it.
struct Reader<'a> {
    args: &'a LogsArgs,
    shape: Shape,
    wanted: Wanted,
    id: Option<String>,
    view: LogView,
    after: Option<String>,
    /// Whether no row was printed.
    is_empty: bool,
    answered: Instant,
}

impl<'a> Reader<'a> {
    fn new(args: &'a LogsArgs, output: OutputArgs) -> Self {
        let since = args.since.map(|since| since.before(Utc::now()));
        let view = LogView::new(Terminal::stdout());
        Self {
            args,
            shape: output.shape(),
            wanted: Wanted { level: args.level, node: args.node.clone(), since },
            id: None,
            view: if args.ids { view.with_ids() } else { view },
            after: None,
            is_empty: true,
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
        let mut query = self.wanted.query(self.args.follow);
        loop {
            query.after.clone_from(&self.after);
            let page = client.logs::<Value>(&id, &query).await?;
            self.answered = Instant::now();
            // A page of chosen rows may be empty, and the next one not.
            let is_last = page.items.is_empty()
                && page.next_cursor.as_ref().is_none_or(|next| Some(next) == self.after.as_ref());
            if is_last {
                break;
            }
            self.print(page.items)?;
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
                    self.print(vec![row])?;
                    self.after = follower.last().map(ToOwned::to_owned);
                }
                Followed::Notice(notice) => print_to_stderr(&format!("{notice}\n")),
                Followed::End(_) => return Ok(()),
                Followed::Text(_) | Followed::Change => {}
            }
        }
    }

    /// Says that there was nothing, where nothing at all would be no listing.
    fn finish(&self) -> Result<(), PrintError> {
        match self.shape {
            Shape::Data(format) if self.is_empty => print(&format.listing(&[])),
            _ => Ok(()),
        }
    }

    fn print(&mut self, mut rows: Vec<Value>) -> anyhow::Result<()> {
        rows.retain(|row| self.wanted.has(row));
        self.is_empty &= rows.is_empty();
        let text = match self.shape {
            // A row has no id that anybody could use.
            Shape::Ids => return Ok(()),
            Shape::Data(format) => format.rows(&rows),
            Shape::Text => {
                let rows: Result<Vec<LogRow>, _> =
                    rows.into_iter().map(serde_json::from_value).collect();
                self.view.rows(&rows?)
            }
        };
        Ok(print(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_chosen_here_where_a_log_is_followed() {
        let since = "2030-01-31T12:00:00Z".parse().unwrap();
        let wanted =
            Wanted { level: Some(Level::Warn), node: Some("a".to_owned()), since: Some(since) };
        let row = |level, node, ts| wanted.has(&json!({ "level": level, "node": node, "ts": ts }));
        let (early, late) = ("2030-01-31T11:59:59.999Z", "2030-01-31T12:00:00Z");
        assert!(row("warn", Some("a"), late) && row("error", Some("a"), late));
        assert!(row("fatal", Some("a"), late), "what is not known may be severe");
        assert!(!row("info", Some("a"), late) && !row("error", Some("a"), early));
        assert!(!row("error", Some("b"), late) && !row("error", None, late));
        let asked = wanted.query(false);
        assert_eq!((asked.level.as_deref(), asked.node.as_deref()), (Some("warn"), Some("a")));
        assert_eq!(asked.since.as_deref(), Some(late));
        assert_eq!(wanted.query(true), LogQuery { limit: PAGE_MAX, ..LogQuery::default() });
    }
}
