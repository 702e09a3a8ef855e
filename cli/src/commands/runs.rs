//! `skein runs`: lists runs.

use std::process::ExitCode;

use chrono::Utc;
use clap::builder::PossibleValuesParser;
use serde_json::Value;
use skein_shared::domain::limits::PAGE_MAX;
use skein_shared::domain::state::RunState;

use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, RunQuery, RunSummary};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::output::{print, print_to_stderr};
use crate::render::{Terminal, run_table};

/// Arguments of `skein runs`.
#[derive(Debug, clap::Args)]
pub struct RunsArgs {
    /// Runs of this workflow only.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Runs with this status only.
    #[arg(long, value_parser = PossibleValuesParser::new(RunState::ALL.iter().map(|state| state.as_str())))]
    status: Option<String>,
    /// Runs at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    limit: u32,
    /// A line of JSON for each run.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn runs(args: RunsArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let shown = show(&connection.client, &args).await;
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, args: &RunsArgs) -> anyhow::Result<()> {
    let query = RunQuery {
        workflow: args.workflow.clone(),
        status: args.status.clone(),
        limit: args.limit,
        ..RunQuery::default()
    };
    let (text, has_more) = if args.json {
        let page = client.newest_runs::<Value>(&query).await?;
        let text = page.items.iter().map(|run| format!("{run}\n")).collect();
        (text, page.next_cursor.is_some())
    } else {
        let page = client.newest_runs::<RunSummary>(&query).await?;
        let text = match page.items.as_slice() {
            [] => "no runs\n".to_owned(),
            runs => run_table(runs, Utc::now(), &Terminal::stdout()),
        };
        (text, page.next_cursor.is_some())
    };
    print(&text)?;
    if has_more {
        // Beside the output: what reads that expects runs.
        print_to_stderr(&format!(
            "… there are more than these {}: see --limit and --status\n",
            args.limit
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    #[test]
    fn a_status_that_there_is_not_is_refused_before_anybody_is_asked() {
        let command = || RunsArgs::augment_args(clap::Command::new("runs"));
        for state in RunState::ALL {
            let arguments = ["runs", "--status", state.as_str()];
            assert!(command().try_get_matches_from(arguments).is_ok(), "{state}");
        }
        let refused = command().try_get_matches_from(["runs", "--status", "foo"]).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("timed_out"), "{refused}");
    }
}
