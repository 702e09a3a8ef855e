//! Workflows and their versions.

use super::table::{Align, Cell, Table};
use super::terminal::{Style, Terminal};
use super::time::moment;
use crate::client::{VersionSummary, WorkflowSummary};

/// A table of workflows.
#[must_use]
pub fn workflow_table(workflows: &[WorkflowSummary], terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("WORKFLOW", Align::Left),
        ("LATEST", Align::Right),
        ("STATUS", Align::Left),
        ("UPDATED", Align::Left),
        ("DESCRIPTION", Align::Left),
    ])
    .sparing(&["DESCRIPTION", "UPDATED"])
    .cutting("WORKFLOW");
    for workflow in workflows {
        let (status, style) = match (workflow.archived_at, workflow.version) {
            (Some(_), _) => ("archived", Style::Dim),
            (None, None) => ("drafts only", Style::Yellow),
            (None, Some(_)) => ("published", Style::Green),
        };
        table.row(vec![
            Cell::plain(&workflow.name),
            Cell::plain(workflow.version.map_or_else(|| "–".to_owned(), |it| it.to_string())),
            Cell::new(status, style),
            Cell::plain(moment(workflow.updated_at)),
            Cell::plain(workflow.description.as_deref().unwrap_or_default()),
        ]);
    }
    table.render(terminal)
}

/// A table of the versions of a workflow, newest first. The first one that is no draft is the latest.
#[must_use]
pub fn version_table(versions: &[VersionSummary], terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("VERSION", Align::Right),
        ("STATUS", Align::Left),
        ("NODES", Align::Right),
        ("EDGES", Align::Right),
        ("STORED", Align::Left),
        ("BY", Align::Left),
        ("DESCRIPTION", Align::Left),
    ])
    .sparing(&["DESCRIPTION", "BY", "EDGES", "NODES", "STORED"]);
    let latest = versions.iter().find(|version| !version.draft).map(|version| version.version);
    for version in versions {
        let (status, style) = match version {
            version if version.draft => ("draft", Style::Yellow),
            version if Some(version.version) == latest => ("latest", Style::Green),
            _ => ("", Style::Plain),
        };
        table.row(vec![
            Cell::plain(version.version.to_string()),
            Cell::new(status, style),
            Cell::plain(version.node_count.to_string()),
            Cell::plain(version.edge_count.to_string()),
            Cell::plain(moment(version.created_at)),
            Cell::plain(&version.created_by),
            Cell::plain(version.description.as_deref().unwrap_or_default()),
        ]);
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::at;

    #[test]
    fn workflows_say_what_becomes_of_a_start() {
        let workflow = |name: &str, version, archived: bool| WorkflowSummary {
            name: name.to_owned(),
            description: (name == "digest").then(|| "Reads a feed".to_owned()),
            version,
            archived_at: archived.then(|| at(0)),
            created_at: at(0),
            updated_at: at(0),
        };
        let all = [
            workflow("digest", Some(12), false),
            workflow("old", Some(1), true),
            workflow("tried", None, false),
        ];
        let expected = "\
WORKFLOW  LATEST  STATUS       UPDATED               DESCRIPTION
digest        12  published    2030-01-31T12:00:00Z  Reads a feed
old            1  archived     2030-01-31T12:00:00Z
tried          –  drafts only  2030-01-31T12:00:00Z
";
        assert_eq!(workflow_table(&all, &Terminal::plain()), expected);
    }

    #[test]
    fn drafts_and_the_latest_version_are_marked() {
        let version = |version, draft| VersionSummary {
            version,
            draft,
            description: None,
            node_count: 3,
            edge_count: 2,
            created_by: "ada".to_owned(),
            created_at: at(0),
        };
        let expected = "\
VERSION  STATUS  NODES  EDGES  STORED                BY   DESCRIPTION
      3  draft       3      2  2030-01-31T12:00:00Z  ada
      2  latest      3      2  2030-01-31T12:00:00Z  ada
      1              3      2  2030-01-31T12:00:00Z  ada
";
        let versions = [version(3, true), version(2, false), version(1, false)];
        assert_eq!(version_table(&versions, &Terminal::plain()), expected);
    }
}
