//! `skein costs`: sums up what calls to models cost.

use std::process::ExitCode;

use chrono::Utc;
use clap::builder::PossibleValuesParser;
use skein_shared::domain::limits::PAGE_MAX;
use skein_shared::store::spending::CostGrouping;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, CostQuery};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::format::{OutputArgs, Shape};
use crate::output::{print, print_to_stderr};
use crate::render::{Terminal, cost_table};
use crate::time_argument::{TimeArgument, rfc3339};

const HELP: &str = "\
Examples:
  skein costs                                       # of the last 30 days, by model
  skein costs --by workflow --since 7d
  skein costs --by day --since 2030-01-01T00:00:00Z --until 2030-02-01T00:00:00Z
  skein costs --run last --by node
  skein costs --by user -o json                     # an object on each line";

/// Arguments of `skein costs`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct CostsArgs {
    /// What is summed up.
    #[arg(long, default_value = "model", value_parser = PossibleValuesParser::new(CostGrouping::WORDS))]
    by: String,
    /// Of this run only, whenever it was: its id, its trace, or `last`.
    #[arg(long, value_name = "RUN")]
    run: Option<RunName>,
    /// Of this workflow only.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Of calls that ended since then: so long (90s, 2h, 7d) before --until, or a time in RFC 3339. 30 days unless it is
    /// given; 366 days at most.
    #[arg(long, value_name = "TIME")]
    since: Option<TimeArgument>,
    /// Of calls that ended before then: so long ago, or a time in RFC 3339. Now unless it is given.
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArgument>,
    /// Rows at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    limit: u32,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn costs(args: CostsArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let shown = show(&connection.client, &args, output).await;
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, args: &CostsArgs, output: OutputArgs) -> anyhow::Result<()> {
    let run = match args.run {
        Some(run) => Some(run.id(client).await?),
        None => None,
    };
    let now = Utc::now();
    let until = args.until.map(|until| until.before(now));
    let since = args.since.map(|since| since.before(until.unwrap_or(now)));
    let query = CostQuery {
        by: args.by.clone(),
        run,
        workflow: args.workflow.clone(),
        from: since.map(rfc3339),
        to: until.map(rfc3339),
        limit: args.limit,
    };
    let page = client.costs(&query).await?;
    let text = match (output.shape(), page.items.as_slice()) {
        (Shape::Data(format), costs) => format.listing(costs),
        (Shape::Ids, _) => String::new(),
        (Shape::Text, []) => "no costs\n".to_owned(),
        (Shape::Text, costs) => cost_table(costs, &args.by, &Terminal::stdout()),
    };
    print(&text)?;
    if page.next_cursor.is_some() {
        let limit = args.limit;
        print_to_stderr(&format!("… there are more than these {limit}: see --limit and --since\n"));
    }
    Ok(())
}
