//! `skein decide`: allows or forbids what a node waits to do.

use std::process::ExitCode;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::output::print;
use crate::render::clean;

/// Arguments of `skein decide`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("decision").required(true))]
pub struct DecideArgs {
    /// The run's id, or `last`.
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

pub(super) async fn decide(args: DecideArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let done = async {
        let run = args.run.id(&connection.client).await?;
        let node = (&*run, &*args.node, &*args.scope);
        let reason = args.reason.as_deref();
        connection.client.decide(node, args.step, args.approve, reason).await?;
        let decision = if args.approve { "approved" } else { "denied" };
        print(&format!("step {} of {} {decision}\n", args.step, clean(&args.node)))?;
        anyhow::Ok(ExitCode::SUCCESS)
    }
    .await;
    connection.close().await?;
    done
}
