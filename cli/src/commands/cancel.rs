//! `skein cancel`: asks for a run to be cancelled.

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
Nodes that run are told to stop; what they have done stays done.

Examples:
  skein cancel last
  skein cancel 019c0000-0000-7000-8000-000000000001";

/// Arguments of `skein cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct CancelArgs {
    /// The run's id, its trace (32 hex digits), or `last`.
    run: RunName,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn cancel(args: CancelArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let done = async {
        let id = args.run.id(&connection.client).await?;
        let run = connection.client.cancel(&id).await?;
        let status = if run.has_ended() { run.status.as_str() } else { "asked to stop" };
        print(&match output.shape() {
            Shape::Data(format) => {
                let cancelling = run.cancelling;
                format.document(
                    &json!({ "id": run.id, "status": run.status, "cancelling": cancelling }),
                )
            }
            Shape::Ids => String::new(),
            Shape::Text => format!("{} {}\n", clean(&run.id), clean(status)),
        })?;
        anyhow::Ok(ExitCode::SUCCESS)
    }
    .await;
    connection.close().await?;
    done
}
