//! `skein decide`: allows or forbids what a node waits to do.

use std::process::ExitCode;

use serde_json::json;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::format::{OutputArgs, Shape};
use crate::output::print;
use crate::render::clean;

const HELP: &str = "\
`skein show` says what a run waits for, with the command that decides it. It takes a key with the scope `approve`.

Examples:
  skein decide last ask 2 --approve
  skein decide last ask 2 --deny --reason 'not on a Friday'
  skein decide 019c0000-0000-7000-8000-000000000001 ask 2 --approve --scope 3/0";

/// Arguments of `skein decide`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[command(group = clap::ArgGroup::new("decision").required(true))]
pub struct DecideArgs {
    /// The run's id, its trace (32 hex digits), or `last`.
    run: RunName,
    /// The node that waits.
    node: String,
    /// The number of the step that waits, as `skein steps` shows it.
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    step: u32,
    /// Lets the tool be called.
    #[arg(long, group = "decision")]
    approve: bool,
    /// Forbids it; the model reads that in place of a result.
    #[arg(long, group = "decision")]
    deny: bool,
    /// Why, for the record and for the model.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Which repetition of a node within maps: 3 or 3/0.
    #[arg(long, value_name = "SCOPE", default_value = "")]
    scope: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn decide(args: DecideArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let done = async {
        let run = args.run.id(&connection.client).await?;
        let node = (&*run, &*args.node, &*args.scope);
        let reason = args.reason.as_deref();
        connection.client.decide(node, args.step, args.approve, reason).await?;
        let decision = if args.approve { "approved" } else { "denied" };
        print(&match output.shape() {
            Shape::Data(format) => format.document(&json!({
                "run": run, "node": args.node, "scope": args.scope, "step": args.step, "decision": decision,
            })),
            Shape::Ids => String::new(),
            Shape::Text => format!("step {} of {} {decision}\n", args.step, clean(&args.node)),
        })?;
        anyhow::Ok(ExitCode::SUCCESS)
    }
    .await;
    connection.close().await?;
    done
}
