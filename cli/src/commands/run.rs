//! `skein run`: stores a workflow as a draft, runs it, and shows what came of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use super::starting::{self, Asked, BudgetArgs, Then, refuse_to_leave};
use super::validate::tell_warnings;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, ClientError, PublishedVersion, WantedRun};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::EXIT_INTERRUPTED;
use crate::format::OutputArgs;
use crate::input::{InputArgs, WorkflowFile, is_stdin};
use crate::interrupts::Interrupts;
use crate::output::print_to_stderr;
use crate::render::{Plan, clean};
use crate::shell::{hint, skein_command};

const HELP: &str = "\
The document is stored as a draft, and that version is run: what others get who start the workflow without a version does
not change. `skein publish FILE` makes it the latest.

Ctrl-C and SIGTERM: on a server that stays, they detach; the run goes on, and it is said how to follow and how to cancel it.
Without a server, the run is cancelled, and a second one leaves it to the next command. The exit code is 130.

Examples:
  skein run examples/api-tour.yaml
  skein run digest.yaml -i url=https://example.com/feed.json
  skein run digest.yaml --input @input.yaml -i limit=3   # a member wins over the same one of the file
  skein run digest.yaml --follow                         # the log, and what models write, as it comes
  skein run digest.yaml --no-wait                        # the id, on a server that stays
  skein run agent.yaml --budget-usd 0.5 --deadline 1h
  skein run examples/models/summarise.yaml --mock-models examples/models/replies.yaml
  skein run digest.yaml -o json                          # the run with all of its nodes";

/// Arguments of `skein run`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct RunArgs {
    /// The workflow, in YAML or JSON; - for standard input.
    file: PathBuf,
    #[command(flatten)]
    input: InputArgs,
    /// Follows the run until it has ended; this is the default.
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Prints the run's id once it is accepted, and leaves it to the server.
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// Shows the log and what models write as it comes, in place of a picture; with -o json as events, a line each.
    #[arg(long, short, conflicts_with = "no_wait")]
    follow: bool,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    embedded: EmbeddedArgs,
}

pub(super) async fn run(args: RunArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let (file, input) = args.input.read_with(&args.file)?;
    let connection = Connection::open(&args.server, &args.embedded, Role::Executes).await?;
    let mut interrupts = Interrupts::new()?;
    let asked = (file, input);
    let ended = Box::pin(store_and_run(&connection, &args, asked, output, &mut interrupts)).await;
    // A server within the process gives its work some time. What it does not wait for goes on the next time.
    match interrupts.or(connection.close()).await {
        Some(closed) => closed.and(ended),
        None => ended.map(|_| ExitCode::from(EXIT_INTERRUPTED)),
    }
}

async fn store_and_run(
    connection: &Connection,
    args: &RunArgs,
    (file, input): (WorkflowFile, Value),
    output: OutputArgs,
    interrupts: &mut Interrupts,
) -> anyhow::Result<ExitCode> {
    let client = &connection.client;
    if args.no_wait {
        refuse_to_leave(connection, "--no-wait", &args.server)?;
    }
    let plan = Plan::of(&file.document());
    let server = args.server.flags();
    let Some(stored) = interrupts.or(store(client, &file, &server)).await else {
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    let stored = stored?;
    tell_warnings(&file, &stored.warnings);
    if stored.draft == Some(true) {
        print_to_stderr(&of_draft(&stored, &args.file, &server));
    }
    let budget = args.budget.budget();
    let wanted = WantedRun {
        workflow: &stored.name,
        version: Some(stored.version),
        input: &input,
        budget: budget.as_ref(),
        idempotency_key: None,
    };
    let then = if args.no_wait { Then::Leave } else { Then::Wait { follow: args.follow } };
    let asked = Asked { server, output, plan: Some(plan) };
    starting::start(connection, &wanted, then, asked, interrupts).await
}

/// Stores the document as a draft, unless it is the latest version already.
async fn store(
    client: &Client,
    file: &WorkflowFile,
    server: &[String],
) -> anyhow::Result<PublishedVersion> {
    match client.draft(file.text.clone(), file.format).await {
        // It would change what everybody else gets.
        Err(ClientError::Refused(problem)) if problem.refuses_parameter("draft") => {
            let url = client.url();
            let (publish, start) =
                (hint(&["publish", "FILE"], server), hint(&["start", "NAME"], server));
            anyhow::bail!(
                "the server at {url} is an older one and keeps no drafts: {publish} makes the workflow the latest version, {start} runs that"
            )
        }
        stored => Ok(stored.map_err(|error| error.of_document(file.clone()))?),
    }
}

fn of_draft(stored: &PublishedVersion, file: &Path, server: &[String]) -> String {
    let (name, version) = (clean(&stored.name), stored.version);
    let publish = to_publish(file, server)
        .map_or_else(|| "publishing the same document".to_owned(), |it| format!("`{it}`"));
    format!("version {version} of {name} is a draft; {publish} makes it the latest\n")
}

/// The command that publishes the file; `None` where it cannot be typed.
fn to_publish(file: &Path, server: &[String]) -> Option<String> {
    let name = file.to_str().filter(|_| !is_stdin(file))?;
    // What looks like a flag would be one.
    let file = if name.starts_with('-') { format!("./{name}") } else { name.to_owned() };
    skein_command(&["publish", &file], server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_told_of_with_the_command_that_publishes_it() {
        let stored = PublishedVersion {
            name: "w".to_owned(),
            version: 3,
            draft: Some(true),
            warnings: Vec::new(),
            outcome: Some("created".to_owned()),
            archived: Some(false),
            is_new: true,
        };
        let server = ["--data", "/srv/one"].map(str::to_owned);
        for (file, publish) in [
            ("w.yaml", "`skein publish w.yaml --data /srv/one`"),
            ("my w.yaml", "`skein publish 'my w.yaml' --data /srv/one`"),
            ("-w.yaml", "`skein publish ./-w.yaml --data /srv/one`"),
            ("-", "publishing the same document"),
            ("a\nb.yaml", "publishing the same document"),
        ] {
            let said = of_draft(&stored, Path::new(file), &server);
            let expected = format!("version 3 of w is a draft; {publish} makes it the latest\n");
            assert_eq!(said, expected, "{file:?}");
        }
    }
}
