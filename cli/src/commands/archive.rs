//! `skein archive`: has a workflow take no new runs.

use std::process::ExitCode;

use super::workflow_name::WorkflowName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::format::{OutputArgs, Shape};
use crate::output::print;
use crate::render::clean;

const HELP: &str = "\
Runs that have been accepted go on. Repeated, it changes nothing.

Examples:
  skein archive digest
  skein archive digest --undo           # it takes new runs again";

/// Arguments of `skein archive`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct ArchiveArgs {
    /// The workflow.
    name: WorkflowName,
    /// Has it take new runs again.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn archive(args: ArchiveArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let done = async {
        let name = args.name.as_str();
        let workflow = connection.client.archive(name, !args.undo).await?;
        let becomes = if args.undo { "takes new runs again" } else { "archived" };
        print(&match output.shape() {
            Shape::Data(format) => format.document(&workflow),
            Shape::Ids => String::new(),
            Shape::Text => format!("{} {becomes}\n", clean(name)),
        })?;
        anyhow::Ok(ExitCode::SUCCESS)
    }
    .await;
    connection.close().await?;
    done
}
