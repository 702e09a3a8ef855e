//! What can be done where a workflow takes no new run.

use crate::client::{ClientError, VersionSummary};
use crate::connection::Connection;
use crate::render::skein_command;

/// The code of a workflow of which there are drafts alone.
const NO_PUBLISHED_VERSION: &str = "no-published-version";
/// The code of a workflow that is archived.
const ARCHIVED: &str = "workflow-archived";

/// Why a run of the workflow was not accepted, with the command that helps where there is one. `server` are the flags of the
/// server. What cannot be learned is left out.
pub(super) async fn with_remedy(
    error: ClientError,
    connection: &Connection,
    workflow: &str,
    server: &[String],
) -> ClientError {
    let ClientError::Refused(mut problem) = error else { return error };
    problem.remedy = match problem.code() {
        NO_PUBLISHED_VERSION => {
            let draft = newest(connection, workflow).await;
            of_drafts(workflow, draft, connection.stays(), server)
        }
        ARCHIVED => to_unarchive(workflow, server)
            .map(|command| format!("`{command}` has it take new runs again")),
        _ => None,
    };
    ClientError::Refused(problem)
}

/// The command with which an archived workflow takes new runs again; `None` if it cannot be typed.
pub(super) fn to_unarchive(workflow: &str, server: &[String]) -> Option<String> {
    skein_command(&["archive", workflow, "--undo"], server)
}

/// The number of the newest version, which is a draft where nothing is published.
async fn newest(connection: &Connection, workflow: &str) -> Option<u32> {
    let page = connection.client.versions::<VersionSummary>(workflow, 1).await.ok()?;
    page.items.first().map(|version| version.version)
}

/// What is done with drafts. A server that does not stay runs what is waited for.
fn of_drafts(workflow: &str, draft: Option<u32>, stays: bool, server: &[String]) -> Option<String> {
    let publish = skein_command(&["publish", "FILE"], server)?;
    let publish = format!("`{publish}` makes a version the latest");
    let Some(draft) = draft else { return Some(publish) };
    let version = format!("{workflow}@{draft}");
    let wait: &[&str] = if stays { &[] } else { &["--wait"] };
    let start = skein_command(&[&["start", &version][..], wait].concat(), server)?;
    Some(format!("`{start}` runs the newest draft, {publish}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_started_by_number_or_published() {
        let server = ["--data", "d"].map(str::to_owned);
        let publish = "`skein publish FILE --data d` makes a version the latest";
        for (draft, stays, expected) in [
            (None, true, publish.to_owned()),
            (Some(2), true, format!("`skein start w@2 --data d` runs the newest draft, {publish}")),
            (
                Some(2),
                false,
                format!("`skein start w@2 --wait --data d` runs the newest draft, {publish}"),
            ),
        ] {
            assert_eq!(of_drafts("w", draft, stays, &server), Some(expected));
        }
        assert_eq!(of_drafts("a\nb", Some(1), true, &server), None);
    }

    #[test]
    fn an_archived_workflow_is_taken_back() {
        assert_eq!(to_unarchive("w", &[]).as_deref(), Some("skein archive w --undo"));
    }
}
