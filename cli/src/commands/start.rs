//! `skein start`: starts a run of a workflow that the server has.

use std::process::ExitCode;
use std::str::FromStr;

use serde_json::Value;

use super::starting::{self, Asked, BudgetArgs, Then, refuse_to_leave};
use super::workflow_name::WorkflowName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::WantedRun;
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::EXIT_INTERRUPTED;
use crate::format::OutputArgs;
use crate::input::InputArgs;
use crate::interrupts::Interrupts;
use crate::usage::UsageError;

/// Characters of an idempotency key at most, as the API takes it.
const KEY_CHARS_MAX: usize = 255;

const HELP: &str = "\
Without a version it is the latest one that is published; drafts are started by their number. A workflow that is archived
takes no new runs.

Without --wait and --follow, the run's id is printed and the run is left to the server. With one of them it is as with
`skein run`: the picture or the log, then what else is known of the run, and the exit code 3 if it did not succeed. Ctrl-C and
SIGTERM detach from it, and it goes on; without a server, they cancel it.

Examples:
  skein start digest -i url=https://example.com/feed.json
  skein start digest@3 --input '{\"url\": \"https://example.com/feed.json\"}' --wait
  skein start digest --input @input.yaml -i limit=3 --follow
  skein start digest --input - --idempotency-key 2030-01-31   # again, it is the same run
  skein start agent --budget-usd 0.5 --deadline 1h
  skein start digest -q                                       # the id and nothing else";

/// Arguments of `skein start`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct StartArgs {
    /// The workflow, with the number of a version if it is not to be the latest.
    #[arg(value_name = "NAME[@VERSION]")]
    workflow: WorkflowVersion,
    #[command(flatten)]
    input: InputArgs,
    /// Waits until the run has ended, and shows it.
    #[arg(long)]
    wait: bool,
    /// Waits, and shows the log and what models write as it comes; with -o json as events, a line each.
    #[arg(long, short)]
    follow: bool,
    /// Makes repeating the command harmless: with the same key, the same request gives the first run.
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    idempotency_key: Option<String>,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// A workflow, and which version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WorkflowVersion {
    name: WorkflowName,
    version: Option<u32>,
}

impl FromStr for WorkflowVersion {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => {
                let number = version.parse().ok().filter(|number| *number > 0);
                let wrong = || UsageError::new("a version is a number from 1: digest@3");
                (name, Some(number.ok_or_else(wrong)?))
            }
        };
        Ok(Self { name: name.parse()?, version })
    }
}

fn idempotency_key(text: &str) -> Result<String, String> {
    let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.is_empty() || text.len() > KEY_CHARS_MAX || !is_printable {
        return Err(format!("must be 1 to {KEY_CHARS_MAX} printable ASCII characters"));
    }
    Ok(text.to_owned())
}

impl StartArgs {
    fn then(&self) -> Then {
        if self.wait || self.follow { Then::Wait { follow: self.follow } } else { Then::Leave }
    }
}

pub(super) async fn start(args: StartArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let input = args.input.read()?;
    let role = if args.then() == Then::Leave { Role::Reads } else { Role::Executes };
    let connection = Connection::open(&args.server, &EmbeddedArgs::from_env()?, role).await?;
    let mut interrupts = Interrupts::new()?;
    let ended = Box::pin(begin(&connection, &args, &input, output, &mut interrupts)).await;
    match interrupts.or(connection.close()).await {
        Some(closed) => closed.and(ended),
        None => ended.map(|_| ExitCode::from(EXIT_INTERRUPTED)),
    }
}

async fn begin(
    connection: &Connection,
    args: &StartArgs,
    input: &Value,
    output: OutputArgs,
    interrupts: &mut Interrupts,
) -> anyhow::Result<ExitCode> {
    let then = args.then();
    let WorkflowVersion { name, version } = &args.workflow;
    if then == Then::Leave {
        refuse_to_leave(connection, "leaving a run without --wait", &args.server)?;
    }
    let budget = args.budget.budget();
    let wanted = WantedRun {
        workflow: name.as_str(),
        version: *version,
        input,
        budget: budget.as_ref(),
        idempotency_key: args.idempotency_key.as_deref(),
    };
    let asked = Asked { server: args.server.flags(), output, plan: None };
    starting::start(connection, &wanted, then, asked, interrupts).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_named_with_or_without_a_version() {
        let read = |text: &str| {
            let read = text.parse::<WorkflowVersion>();
            read.map(|it| (it.name.as_str().to_owned(), it.version))
        };
        assert_eq!(read("digest"), Ok(("digest".to_owned(), None)));
        assert_eq!(read("digest@12"), Ok(("digest".to_owned(), Some(12))));
        for wrong in [
            "",
            "@3",
            "digest@",
            "digest@0",
            "digest@-1",
            "digest@latest",
            "digest@3@4",
            "..",
            "../x@1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_sent_is_refused() {
        assert_eq!(idempotency_key("order 17"), Ok("order 17".to_owned()));
        for wrong in ["", "ü", "a\nb", &"x".repeat(256)] {
            assert!(idempotency_key(wrong).unwrap_err().contains("255"), "{wrong:?}");
        }
    }
}
