//! `skein workers`: lists the fleet.

use std::process::ExitCode;

use chrono::Utc;
use serde_json::Value;
use skein_shared::domain::limits::PAGE_MAX;

use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, Worker};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::format::{OutputArgs, Shape};
use crate::output::{print, print_to_stderr};
use crate::render::{Terminal, clean, worker_table};

const HELP: &str = "\
Those that have gone within the last day are listed too: `stopped` has said so, `dead` has not been heard of any more. It takes
a key with the scope `admin`.

Examples:
  skein workers
  skein workers -o json";

/// Arguments of `skein workers`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct WorkersArgs {
    /// Workers at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    limit: u32,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn workers(args: WorkersArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let shown = show(&connection.client, &args, output).await;
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, args: &WorkersArgs, output: OutputArgs) -> anyhow::Result<()> {
    let limit = args.limit;
    let (text, has_more) = match output.shape() {
        Shape::Data(format) => {
            let page = client.workers::<Value>(limit).await?;
            (format.listing(&page.items), page.next_cursor.is_some())
        }
        shape => {
            let page = client.workers::<Worker>(limit).await?;
            let text = match page.items.as_slice() {
                workers if shape == Shape::Ids => {
                    workers.iter().map(|worker| format!("{}\n", clean(&worker.id))).collect()
                }
                [] => "no workers\n".to_owned(),
                workers => worker_table(workers, Utc::now(), &Terminal::stdout()),
            };
            (text, page.next_cursor.is_some())
        }
    };
    print(&text)?;
    if has_more {
        print_to_stderr(&format!("… there are more than these {limit}: see --limit\n"));
    }
    Ok(())
}
