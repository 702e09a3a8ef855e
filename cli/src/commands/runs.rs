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
use crate::format::{OutputArgs, Shape};
use crate::output::{print, print_to_stderr};
use crate::render::{Terminal, clean, run_table};
use crate::time_argument::{TimeArgument, rfc3339};

const HELP: &str = "\
Examples:
  skein runs
  skein runs --workflow digest --status failed,timed_out --since 2h
  skein runs --since 2030-01-01T00:00:00Z --until 2030-02-01T00:00:00Z --limit 500
  skein runs --status running -q                     # ids alone
  skein runs -o json                                 # an object on each line";

/// Arguments of `skein runs`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct RunsArgs {
    /// Runs of this workflow only.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Runs with this status only; several with commas between them.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(RunState::ALL.iter().map(|state| state.as_str())))]
    status: Vec<String>,
    /// Runs that were accepted since then: so long ago (90s, 10m, 2h, 7d), or a time in RFC 3339.
    #[arg(long, value_name = "TIME")]
    since: Option<TimeArgument>,
    /// Runs that were accepted before then.
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArgument>,
    /// Runs at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    limit: u32,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn runs(args: RunsArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let shown = show(&connection.client, &args, output).await;
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, args: &RunsArgs, output: OutputArgs) -> anyhow::Result<()> {
    let now = Utc::now();
    let time = |time: Option<TimeArgument>| time.map(|time| rfc3339(time.before(now)));
    let query = RunQuery {
        workflow: args.workflow.clone(),
        status: (!args.status.is_empty()).then(|| args.status.join(",")),
        created_after: time(args.since),
        created_before: time(args.until),
        limit: args.limit,
        ..RunQuery::default()
    };
    let (text, has_more) = match output.shape() {
        Shape::Data(format) => {
            let page = client.newest_runs::<Value>(&query).await?;
            (format.listing(&page.items), page.next_cursor.is_some())
        }
        shape => {
            let page = client.newest_runs::<RunSummary>(&query).await?;
            let text = match page.items.as_slice() {
                runs if shape == Shape::Ids => {
                    runs.iter().map(|run| format!("{}\n", clean(&run.id))).collect()
                }
                [] => "no runs\n".to_owned(),
                runs => run_table(runs, now, &Terminal::stdout()),
            };
            (text, page.next_cursor.is_some())
        }
    };
    print(&text)?;
    if has_more {
        // Beside the output: what reads that expects runs.
        print_to_stderr(&format!(
            "… there are more than these {}: see --limit, --status and --since\n",
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
        let several = ["runs", "--status", "failed,cancelled"];
        assert!(command().try_get_matches_from(several).is_ok());
        let refused =
            command().try_get_matches_from(["runs", "--status", "failed,foo"]).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("timed_out"), "{refused}");
    }
}
