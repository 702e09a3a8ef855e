//! What can be done where a workflow takes no new run.

use crate::client::{ClientError, VersionSummary};
use crate::connection::Connection;
use crate::shell::{shell_words, skein_command};

/// The code of a workflow of which there are drafts alone.
const NO_PUBLISHED_VERSION: &str = "no-published-version";
/// The code of a workflow that is archived.
const ARCHIVED: &str = "workflow-archived";

/// Why a run of the workflow was not accepted, with the command that helps where there is one, in place of the request that the
/// server names. `server` are the flags of the server. What cannot be learned is left out.
pub(super) async fn with_remedy(
    error: ClientError,
    connection: &Connection,
    workflow: &str,
    server: &[String],
) -> ClientError {
    let ClientError::Refused(mut problem) = error else { return error };
    let (detail, remedy) = match problem.code() {
        NO_PUBLISHED_VERSION => {
            let draft = newest(connection, workflow).await;
            let remedy = of_drafts(workflow, draft, server);
            (format!("of `{workflow}` there are drafts alone"), remedy)
        }
        ARCHIVED => {
            let command = to_unarchive(workflow, server);
            let remedy = command.map(|command| format!("`{command}` has it take new runs again"));
            (format!("`{workflow}` takes no new runs"), remedy)
        }
        _ => return ClientError::Refused(problem),
    };
    if remedy.is_some() {
        problem.detail = detail;
        problem.remedy = remedy;
    }
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

/// What is done with drafts: the same is asked for of one by its number, or one is published.
fn of_drafts(workflow: &str, draft: Option<u32>, server: &[String]) -> Option<String> {
    let publish = skein_command(&["publish", "FILE"], server)?;
    let publish = format!("`{publish}` makes a version the latest");
    // Not the whole command: what it was given as an input may be long, or a secret.
    let numbered = draft.and_then(|draft| shell_words(&[&format!("{workflow}@{draft}")]));
    Some(match numbered {
        Some(numbered) => {
            format!("`{numbered}` in place of `{workflow}` runs the newest draft, {publish}")
        }
        None => publish,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_started_by_number_or_published() {
        let server = ["--data", "d"].map(str::to_owned);
        let publish = "`skein publish FILE --data d` makes a version the latest";
        let numbered = format!("`w@2` in place of `w` runs the newest draft, {publish}");
        assert_eq!(of_drafts("w", Some(2), &server), Some(numbered));
        assert_eq!(of_drafts("w", None, &server).as_deref(), Some(publish));
        assert_eq!(of_drafts("a\nb", Some(1), &server).as_deref(), Some(publish));
    }

    #[test]
    fn an_archived_workflow_is_taken_back() {
        assert_eq!(to_unarchive("w", &[]).as_deref(), Some("skein archive w --undo"));
    }
}
