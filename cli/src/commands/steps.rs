//! `skein steps`: lists the calls that a run has made to models and tools.

use std::process::ExitCode;

use chrono::Utc;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::run_name::RunName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, Step};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::format::{OutputArgs, Shape};
use crate::output::print;
use crate::render::{Terminal, step_table, waits};

const HELP: &str = "\
Examples:
  skein steps last                      # each call: status, tokens, cost
  skein steps last -o json              # with its arguments and what came back, an object on each line";

/// Arguments of `skein steps`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct StepsArgs {
    /// The run's id, its trace (32 hex digits), or `last`.
    run: RunName,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn steps(args: StepsArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let shown = show(&connection.client, &args, output).await;
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, args: &StepsArgs, output: OutputArgs) -> anyhow::Result<()> {
    let run = args.run.id(client).await?;
    match output.shape() {
        Shape::Data(format) => {
            let mut is_empty = true;
            each_page::<Value>(client, &run, |page| {
                is_empty &= page.is_empty();
                Ok(print(&format.rows(&page))?)
            })
            .await?;
            if is_empty {
                print(&format.listing(&[]))?;
            }
            return Ok(());
        }
        // A step is known by its run, its node and its number.
        Shape::Ids => return Ok(()),
        Shape::Text => {}
    }
    let mut steps = Vec::new();
    each_page::<Step>(client, &run, |page| {
        steps.extend(page);
        Ok(())
    })
    .await?;
    let terminal = Terminal::stdout();
    let mut text = match steps.as_slice() {
        [] => "no steps\n".to_owned(),
        steps => step_table(steps, &terminal),
    };
    // Whether a step that is to be decided about still waits for that, its run knows.
    if steps.iter().any(|step| step.status == "pending") {
        let waiting = client.progress(&run).await?;
        text.push_str(&waits(&waiting, &args.server.flags(), Utc::now(), &terminal));
    }
    Ok(print(&text)?)
}

/// Hands on one page after the other: steps may be large.
async fn each_page<T: DeserializeOwned>(
    client: &Client,
    run: &str,
    mut take: impl FnMut(Vec<T>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut cursor = None;
    loop {
        let page = client.steps::<T>(run, cursor.as_deref()).await?;
        take(page.items)?;
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
