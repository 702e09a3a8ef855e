//! `skein costs`: sums up what calls to models cost.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use skein_shared::domain::limits::PAGE_MAX;
use skein_shared::store::spending::CostGrouping;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, CostQuery};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::output::{print, print_to_stderr};
use crate::render::{Terminal, cost_table};

/// Arguments of `skein costs`.
#[derive(Debug, clap::Args)]
pub struct CostsArgs {
    /// What is summed up.
    #[arg(long, default_value = "model", value_parser = PossibleValuesParser::new(CostGrouping::WORDS))]
    by: String,
    /// Of this run only, whenever it was: its id, or `last`.
    #[arg(long, value_name = "RUN")]
    run: Option<RunName>,
    /// Of this workflow only.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Of calls that ended at or after this time only, RFC 3339: 30 days before `--until`, or before now, unless it is given;
    /// 366 days at most.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Of calls that ended before this time only, RFC 3339.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Rows at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    limit: u32,
    /// A line of JSON for each row.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn costs(args: CostsArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let shown = show(&connection.client, &args).await;
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, args: &CostsArgs) -> anyhow::Result<()> {
    let run = match args.run {
        Some(run) => Some(run.id(client).await?),
        None => None,
    };
    let query = CostQuery {
        by: args.by.clone(),
        run,
        workflow: args.workflow.clone(),
        from: args.since.clone(),
        to: args.until.clone(),
        limit: args.limit,
    };
    let page = client.costs(&query).await?;
    let text = match page.items.as_slice() {
        costs if args.json => costs.iter().map(|cost| format!("{cost}\n")).collect(),
        [] => "no costs\n".to_owned(),
        costs => cost_table(costs, &args.by, &Terminal::stdout()),
    };
    print(&text)?;
    if page.next_cursor.is_some() {
        let limit = args.limit;
        print_to_stderr(&format!("… there are more than these {limit}: see --limit and --since\n"));
    }
    Ok(())
}
