//! What can be done where a workflow takes no new run.

use crate::client::{ClientError, VersionSummary};
use crate::connection::Connection;
use crate::shell::skein_command;

/// The code of a workflow of which there are drafts alone.
const NO_PUBLISHED_VERSION: &str = "no-published-version";
/// The code of a workflow that is archived.
const ARCHIVED: &str = "workflow-archived";

/// Why a run of the workflow was not accepted, with the command that helps where there is one, in place of the request that the
/// server names. `words` are what the run was to be started with, `server` the flags of the server. What cannot be learned is
/// left out.
pub(super) async fn with_remedy(
    error: ClientError,
    connection: &Connection,
    workflow: &str,
    words: &[String],
    server: &[String],
) -> ClientError {
    let ClientError::Refused(mut problem) = error else { return error };
    let (detail, remedy) = match problem.code() {
        NO_PUBLISHED_VERSION => {
            let draft = newest(connection, workflow).await;
            let remedy = of_drafts(workflow, draft, connection.stays(), words, server);
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

/// What is done with drafts: the command that was called is called again with the number of one, or one is published. A server
/// that does not stay runs what is waited for.
fn of_drafts(
    workflow: &str,
    draft: Option<u32>,
    stays: bool,
    words: &[String],
    server: &[String],
) -> Option<String> {
    let publish = skein_command(&["publish", "FILE"], server)?;
    let publish = format!("`{publish}` makes a version the latest");
    let Some(draft) = draft else { return Some(publish) };
    let version = format!("{workflow}@{draft}");
    let mut start = vec!["start", version.as_str()];
    start.extend(words.iter().map(String::as_str));
    if !stays && !words.iter().any(|word| matches!(&**word, "--wait" | "--follow")) {
        start.push("--wait");
    }
    Some(match skein_command(&start, server) {
        Some(start) => format!("`{start}` runs the newest draft, {publish}"),
        // An input over several lines, say.
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
        for (draft, stays, expected) in [
            (None, true, publish.to_owned()),
            (Some(2), true, format!("`skein start w@2 --data d` runs the newest draft, {publish}")),
            (
                Some(2),
                false,
                format!("`skein start w@2 --wait --data d` runs the newest draft, {publish}"),
            ),
        ] {
            assert_eq!(of_drafts("w", draft, stays, &[], &server), Some(expected));
        }
        let unknown = of_drafts("a\nb", Some(1), true, &[], &server);
        assert_eq!(unknown.as_deref(), Some(publish));
    }

    #[test]
    fn a_draft_is_started_with_what_the_command_was_called_with() {
        let words = ["-i", "amount=1", "-i", "name=it's", "--follow"].map(str::to_owned);
        let said = of_drafts("w", Some(2), false, &words, &[]).unwrap();
        let start =
            r"`skein start w@2 -i amount=1 -i 'name=it'\''s' --follow` runs the newest draft";
        assert!(said.starts_with(start), "{said}");
    }

    #[test]
    fn an_archived_workflow_is_taken_back() {
        assert_eq!(to_unarchive("w", &[]).as_deref(), Some("skein archive w --undo"));
    }
}
