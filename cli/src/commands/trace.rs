//! `skein trace`: draws the trace of a run.

use std::process::ExitCode;

use super::run_name::RunName;
use super::traced::trace_of;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::output::print;
use crate::render::{Terminal, headline};

/// Arguments of `skein trace`.
#[derive(Debug, clap::Args)]
pub struct TraceArgs {
    /// The run's id, or `last`.
    run: RunName,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn trace(args: TraceArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let found = async {
        let client = &connection.client;
        let id = args.run.id(client).await?;
        let (run, terminal) = (client.progress(&id).await?, Terminal::stdout());
        let traced = trace_of(client, &run, &args.server.flags(), &terminal).await;
        anyhow::Ok(format!("{}\n{traced}", headline(&run, &terminal)))
    }
    .await;
    connection.close().await?;
    print(&found?)?;
    Ok(ExitCode::SUCCESS)
}
