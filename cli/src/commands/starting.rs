//! Starting a run, and what becomes of it then: what `skein run` and `skein start` have in common.

use std::io::IsTerminal;
use std::process::ExitCode;

use serde_json::{Map, Value};

use super::accepted::in_short;
use super::attach::Attachment;
use super::budget::number;
use super::ending::{Details, Part, to_the_end};
use super::planned::plan_of;
use super::remedy::with_remedy;
use crate::arguments::{ServerArgs, data_flags};
use crate::client::{Run, WantedRun};
use crate::connection::Connection;
use crate::failure::EXIT_INTERRUPTED;
use crate::format::{OutputArgs, Shape};
use crate::interrupts::Interrupts;
use crate::output::{print, print_after_interrupt, print_to_stderr};
use crate::render::{Plan, Terminal, clean, how_to_follow};
use crate::shell::hint;
use crate::usage::UsageError;

/// What a run may spend, on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Budget")]
pub(super) struct BudgetArgs {
    /// US dollars that the run may spend at most on calls to models.
    #[arg(long, value_name = "AMOUNT", value_parser = number)]
    budget_usd: Option<Value>,
    /// Tokens of inputs and outputs that the run may spend at most.
    #[arg(long, value_name = "COUNT", value_parser = number)]
    max_tokens: Option<Value>,
    /// When the run is stopped: so long after it was accepted (90s, 1h), or a time in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    deadline: Option<String>,
}

impl BudgetArgs {
    /// What the run may spend, by the names of the API; `None` leaves that to the workflow.
    pub(super) fn budget(&self) -> Option<Value> {
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

/// What a run is started with beside itself.
pub(super) struct Asked {
    /// The flags of the server.
    pub(super) server: Vec<String>,
    /// How it is shown.
    pub(super) output: OutputArgs,
    /// What its workflow plans, where that is known.
    pub(super) plan: Option<Plan>,
}

/// What becomes of a run once it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It is left to the server.
    Leave,
    /// It is waited for, with a picture of it or with its log as it comes.
    Wait {
        /// With its log.
        follow: bool,
    },
}

/// Refuses to leave a run to a server that does not go on with it.
///
/// # Errors
/// When that is so.
pub(super) fn refuse_to_leave(
    connection: &Connection,
    what: &str,
    server: &ServerArgs,
) -> Result<(), UsageError> {
    if connection.stays() {
        return Ok(());
    }
    let dev = hint(&["dev"], &data_flags(&server.data));
    let message =
        format!("{what} needs a server that stays: start {dev}, or name one with SKEIN_URL");
    Err(UsageError::new(message))
}

/// Starts a run and does with it what is asked for. Without a plan, the server is asked for it.
///
/// # Errors
/// When it is not accepted, or lost sight of.
pub(super) async fn start(
    connection: &Connection,
    wanted: &WantedRun<'_>,
    then: Then,
    Asked { server, output, plan }: Asked,
    interrupts: &mut Interrupts,
) -> anyhow::Result<ExitCode> {
    let started = connection.client.start_or_find::<Run>(wanted);
    let Some(started) = interrupts.or(started).await else {
        let list = hint(&["runs"], &server);
        print_after_interrupt(&format!("the server may have accepted the run: {list} tells\n"));
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    let run = match started {
        Ok((run, is_repeated)) => {
            if is_repeated {
                print_to_stderr(&of_repeated(&run));
            }
            run
        }
        Err(error) => {
            let remedied = Box::pin(with_remedy(error, connection, wanted.workflow, &server));
            return match interrupts.or(remedied).await {
                Some(error) => Err(error.into()),
                None => Ok(ExitCode::from(EXIT_INTERRUPTED)),
            };
        }
    };
    match then {
        Then::Leave => leave(&run, &server, output),
        Then::Wait { follow } => {
            let plan = match plan {
                Some(plan) => plan,
                None => plan_of(&connection.client, &run).await,
            };
            let attachment = Attachment { connection, server, follow, output, plan, is_own: true };
            Box::pin(to_the_end(attachment, run, Part::Whole(Details::default()), interrupts)).await
        }
    }
}

/// What is said of a run that was started before, with the same key.
fn of_repeated(run: &Run) -> String {
    format!("the key was used before: this is the run of then, {}\n", clean(&run.status))
}

fn leave(run: &Run, server: &[String], output: OutputArgs) -> anyhow::Result<ExitCode> {
    let id = clean(&run.id);
    match output.shape() {
        Shape::Data(format) => print(&format.document(&in_short(run)))?,
        Shape::Ids => print(&format!("{id}\n"))?,
        Shape::Text => {
            print(&format!("{id}\n"))?;
            // A script takes the id, and knows what it does with it. What is over is not followed.
            if std::io::stderr().is_terminal() && !run.has_ended() {
                print_to_stderr(&how_to_follow(&run.id, server, &Terminal::stderr()));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::run;

    #[test]
    fn a_run_of_then_is_told_of_with_how_it_is_now() {
        let said = "the key was used before: this is the run of then, failed\n";
        assert_eq!(of_repeated(&run()), said);
    }
}
