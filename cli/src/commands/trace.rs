//! `skein trace`: draws the trace of a run.

use std::process::ExitCode;

use chrono::Utc;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::Run;
use crate::connection::Connection;
use crate::embedded::Role;
use crate::output::print;
use crate::render::{Terminal, headline, waterfall};

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
        let id = args.run.id(&connection.client).await?;
        anyhow::Ok(connection.client.run::<Run>(&id).await?)
    }
    .await;
    connection.close().await?;
    let (run, terminal) = (found?, Terminal::stdout());
    let picture = waterfall(&run, Utc::now(), &terminal);
    print(&format!("{}\n{picture}", headline(&run, &terminal)))?;
    Ok(ExitCode::SUCCESS)
}
