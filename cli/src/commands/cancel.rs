//! `skein cancel`: asks for a run to be cancelled.

use std::process::ExitCode;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::output::print;
use crate::render::clean;

/// Arguments of `skein cancel`.
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// The run's id, or `last`.
    run: RunName,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn cancel(args: CancelArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let done = async {
        let id = args.run.id(&connection.client).await?;
        let run = connection.client.cancel(&id).await?;
        let status = if run.has_ended() { run.status.as_str() } else { "asked to stop" };
        print(&format!("{} {}\n", clean(&run.id), clean(status)))?;
        anyhow::Ok(ExitCode::SUCCESS)
    }
    .await;
    connection.close().await?;
    done
}
