//! `skein analyze`: looks back at runs.

use std::process::ExitCode;

use chrono::{SubsecRound, Utc};
use serde_json::Value;

use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Analysis, AnalysisQuery, Client};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::format::{OutputArgs, Shape};
use crate::output::print;
use crate::render::{Terminal, analysis};
use crate::time_argument::{TimeArgument, rfc3339};

const HELP: &str = "\
Examples:
  skein analyze                                     # of the last 24 hours
  skein analyze --since 7d --workflow digest
  skein analyze --workflow digest --versions 3,4    # which of the two is worse
  skein analyze -o json                             # all of it";

/// Arguments of `skein analyze`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct AnalyzeArgs {
    /// At runs that were accepted since then: so long (90s, 2h, 7d) before --until, or a time in RFC 3339; 31 days before it
    /// at most.
    #[arg(long, default_value = "24h", value_name = "TIME")]
    since: TimeArgument,
    /// At runs that were accepted before then: so long ago, or a time in RFC 3339. Now unless it is given.
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArgument>,
    /// Of this workflow only.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Of these two versions of it only, which are compared: `1,2`. Costs are of all versions.
    #[arg(long, value_name = "A,B", requires = "workflow")]
    versions: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn analyze(args: AnalyzeArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let now = Utc::now().trunc_subsecs(3);
    let until = args.until.map(|until| until.before(now));
    // So long before now is said with its end: by the time the server reads it, 31 days would be more than that.
    let is_relative = matches!(args.since, TimeArgument::Apart(_));
    let query = AnalysisQuery {
        from: Some(rfc3339(args.since.before(until.unwrap_or(now)))),
        to: until.or(is_relative.then_some(now)).map(rfc3339),
        workflow: args.workflow.clone(),
        versions: args.versions.clone(),
    };
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let shown = show(&connection.client, &query, &args, output).await;
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(
    client: &Client,
    query: &AnalysisQuery,
    args: &AnalyzeArgs,
    output: OutputArgs,
) -> anyhow::Result<()> {
    let text = match output.shape() {
        Shape::Data(format) => format.document(&client.analysis::<Value>(query).await?),
        Shape::Ids => return Ok(()),
        Shape::Text => {
            let found = client.analysis::<Analysis>(query).await?;
            analysis(&found, &args.server.flags(), &Terminal::stdout())
        }
    };
    print(&text)?;
    Ok(())
}
