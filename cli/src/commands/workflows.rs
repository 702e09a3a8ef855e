//! `skein workflows`: lists workflows, or the versions of one.

use std::process::ExitCode;

use serde_json::Value;
use skein_shared::domain::limits::PAGE_MAX;

use super::remedy::to_unarchive;
use super::workflow_name::WorkflowName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, Page, VersionSummary, WorkflowSummary};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::format::{OutputArgs, Shape};
use crate::output::{print, print_to_stderr};
use crate::render::{Terminal, clean, version_table, workflow_table};

const HELP: &str = "\
Of a workflow, drafts are marked: `skein run` makes them, `skein start NAME@VERSION` runs them, and they are pruned after a week
in which nobody does. A workflow that is archived takes no new runs.

Examples:
  skein workflows
  skein workflows digest                # its versions, newest first
  skein workflows -q                    # names alone; with a name, NAME@VERSION
  skein workflows digest -o json";

/// Arguments of `skein workflows`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct WorkflowsArgs {
    /// The workflow whose versions are listed.
    name: Option<WorkflowName>,
    /// Rows at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    limit: u32,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn workflows(args: WorkflowsArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Reads).await?;
    let shown = show(&connection.client, &args, output).await;
    connection.close().await?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, args: &WorkflowsArgs, output: OutputArgs) -> anyhow::Result<()> {
    let limit = args.limit;
    let Page { items, next_cursor } = match &args.name {
        Some(name) => client.versions::<Value>(name.as_str(), limit).await?,
        None => client.workflows::<Value>(None, limit).await?,
    };
    let text = match (output.shape(), &args.name) {
        (Shape::Data(format), _) => format.listing(&items),
        (Shape::Ids, None) => of_all::<WorkflowSummary>(items)?
            .iter()
            .map(|workflow| format!("{}\n", clean(&workflow.name)))
            .collect(),
        (Shape::Ids, Some(name)) => of_all::<VersionSummary>(items)?
            .iter()
            .map(|version| format!("{}@{}\n", clean(name.as_str()), version.version))
            .collect(),
        (Shape::Text, _) if items.is_empty() => "no workflows\n".to_owned(),
        (Shape::Text, None) => workflow_table(&of_all(items)?, &Terminal::stdout()),
        (Shape::Text, Some(name)) => {
            let archived = archived(client, name.as_str(), &args.server.flags()).await;
            version_table(&of_all::<VersionSummary>(items)?, &Terminal::stdout()) + &archived
        }
    };
    print(&text)?;
    if next_cursor.is_some() {
        print_to_stderr(&format!("… there are more than these {limit}: see --limit\n"));
    }
    Ok(())
}

fn of_all<T: serde::de::DeserializeOwned>(items: Vec<Value>) -> serde_json::Result<Vec<T>> {
    items.into_iter().map(serde_json::from_value).collect()
}

/// A line that says so if the workflow is archived. What cannot be learned is not said.
async fn archived(client: &Client, name: &str, server: &[String]) -> String {
    match client.workflow(name, None).await {
        Ok(workflow) if workflow["archived_at"].is_string() => {
            let undo = to_unarchive(name, server).map_or_else(String::new, |command| {
                format!("; `{command}` lets it take them again")
            });
            format!("{} is archived: it takes no new runs{undo}\n", clean(name))
        }
        _ => String::new(),
    }
}
