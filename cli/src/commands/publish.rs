//! `skein publish`: makes workflows the latest versions.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use skein_shared::document;

use super::remedy::to_unarchive;
use super::validate::tell_warnings;
use super::workflow_name::WorkflowName;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, ClientError, PublishedVersion};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::{self, EXIT_FAILED, EXIT_INTERRUPTED};
use crate::format::{DataFormat, OutputArgs, Shape};
use crate::input::{WorkflowFile, is_stdin};
use crate::interrupts::Interrupts;
use crate::output::{print, print_to_stderr};
use crate::render::{Style, Terminal, clean};
use crate::usage::UsageError;

const HELP: &str = "\
What has not changed stays the version that it is, and a draft with the same document, as `skein run` makes them, becomes the
latest version with the number that it has. A fault in one file does not keep the others from being published; the exit code
is 1 then.

Examples:
  skein publish digest.yaml
  skein publish flows/digest.yaml flows/report.yaml
  skein publish - -q                           # from standard input; prints NAME@VERSION, as `skein start` takes it
  skein publish digest.yaml -o json            # name, version, outcome: created, unchanged or promoted";

/// Arguments of `skein publish`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct PublishArgs {
    /// The workflows, in YAML or JSON; - for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What a workflow was before it is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Before {
    /// The latest version; none where there are drafts alone, or nothing.
    latest: Option<u32>,
    /// Whether it takes no new runs, as far as that is known.
    is_archived: bool,
}

/// What has come of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is a new version.
    Created,
    /// It was the latest version before.
    Unchanged,
    /// It was a draft before.
    Promoted,
    /// It was there before, as the latest version or as a draft: the key may not read which.
    Known,
}

impl Outcome {
    /// Of a version, where the latest one was another or the same before; `None` if that is not known.
    fn of(version: &PublishedVersion, before: Option<Before>) -> Self {
        match before {
            _ if version.is_new => Self::Created,
            Some(before) if before.latest == Some(version.version) => Self::Unchanged,
            Some(_) => Self::Promoted,
            None => Self::Known,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Unchanged => "unchanged",
            Self::Promoted => "promoted",
            Self::Known => "known",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Unchanged => "unchanged: it is the latest version already",
            Self::Promoted => "draft promoted: it is the latest version now",
            Self::Known => "is the latest version; it was stored before",
        }
    }
}

pub(super) async fn publish(args: PublishArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    if args.files.iter().filter(|file| is_stdin(file)).count() > 1 {
        return Err(UsageError::new("standard input is one workflow: `-` is there twice").into());
    }
    // Before interrupts are waited for: nothing ends a read of standard input.
    let read = |path: &PathBuf| (path.display().to_string(), WorkflowFile::read(path));
    let files: Vec<_> = args.files.iter().map(read).collect();
    let connection =
        Connection::open(&args.server, &EmbeddedArgs::from_env()?, Role::Keeps).await?;
    let done = all(&connection.client, files, &args.server.flags(), output).await;
    connection.close().await?;
    done
}

/// Publishes one after the other, and tells of each at once: what is done stays done.
async fn all(
    client: &Client,
    files: Vec<(String, Result<WorkflowFile, UsageError>)>,
    server: &[String],
    output: OutputArgs,
) -> anyhow::Result<ExitCode> {
    let mut interrupts = Interrupts::new()?;
    let mut has_failed = false;
    for (name, file) in files {
        let publishing = async { one(client, file?, server).await };
        let Some(published) = interrupts.or(Box::pin(publishing)).await else {
            let name = clean(&name);
            print_to_stderr(&format!(
                "the server may have taken {name}: `skein workflows` tells\n"
            ));
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        };
        match published {
            Ok((version, outcome)) => print(&told(&name, &version, outcome, output.shape()))?,
            Err(error) => {
                failure::report_file(&name, &error);
                has_failed = true;
            }
        }
    }
    Ok(if has_failed { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

async fn one(
    client: &Client,
    file: WorkflowFile,
    server: &[String],
) -> anyhow::Result<(PublishedVersion, Outcome)> {
    let before = before(client, &file).await;
    let published = client.publish(file.text.clone(), file.format).await;
    let version = published.map_err(|error| error.of_document(file.clone()))?;
    tell_warnings(&file, &version.warnings);
    if before.is_some_and(|before| before.is_archived) {
        print_to_stderr(&of_archived(&version.name, server, &Terminal::stderr()));
    }
    let outcome = Outcome::of(&version, before);
    Ok((version, outcome))
}

/// What the workflow is before it is published; `None` if it cannot be learned. A document that cannot be read, or has
/// no name that may be: the server says what is wrong with it.
async fn before(client: &Client, file: &WorkflowFile) -> Option<Before> {
    let document = document::parse(&file.text, Some(file.format)).ok()?;
    let name: WorkflowName = document.get("name").and_then(Value::as_str)?.parse().ok()?;
    match client.workflow(name.as_str(), None).await {
        Ok(found) => {
            let version = found["version"].as_u64().and_then(|it| u32::try_from(it).ok());
            Some(Before {
                latest: version.filter(|_| found["draft"] != true),
                is_archived: found["archived_at"].is_string(),
            })
        }
        // There is none, or there are drafts alone.
        Err(ClientError::Refused(problem)) if matches!(problem.status, 404 | 409) => {
            Some(Before::default())
        }
        Err(_) => None,
    }
}

/// What is said of a workflow that was published and that nobody can start.
fn of_archived(name: &str, server: &[String], terminal: &Terminal) -> String {
    let undo = to_unarchive(name, server)
        .map_or_else(String::new, |command| format!("; `{command}` has it take them again"));
    let warning = terminal.paint("warning:", Style::Yellow);
    format!("{warning} {} is archived and takes no new runs{undo}\n", clean(name))
}

fn told(file: &str, version: &PublishedVersion, outcome: Outcome, shape: Shape) -> String {
    let PublishedVersion { name, version, .. } = version;
    match shape {
        Shape::Data(format) => told_as(format, file, name, *version, outcome),
        Shape::Ids => format!("{}@{version}\n", clean(name)),
        Shape::Text => format!("{} v{version} {}\n", clean(name), outcome.sentence()),
    }
}

fn told_as(format: DataFormat, file: &str, name: &str, version: u32, outcome: Outcome) -> String {
    let word = outcome.word();
    let row = json!({ "file": file, "name": name, "version": version, "outcome": word });
    format.rows(&[row])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_of_a_document_is_known_by_what_was_the_latest_before() {
        let version = |is_new| PublishedVersion {
            name: "w".to_owned(),
            version: 3,
            draft: Some(false),
            warnings: Vec::new(),
            is_new,
        };
        for (is_new, before, outcome) in [
            (true, Some(Some(2)), Outcome::Created),
            (true, None, Outcome::Created),
            (false, Some(Some(3)), Outcome::Unchanged),
            (false, Some(Some(2)), Outcome::Promoted),
            (false, Some(None), Outcome::Promoted),
            (false, None, Outcome::Known),
        ] {
            let before = before.map(|latest| Before { latest, is_archived: false });
            assert_eq!(Outcome::of(&version(is_new), before), outcome, "{is_new} {before:?}");
        }
    }

    #[test]
    fn an_archived_workflow_is_warned_of_with_the_command_that_helps() {
        let server = ["--url", "http://x:1"].map(str::to_owned);
        let expected = "warning: w is archived and takes no new runs; `skein archive w --undo --url http://x:1` has it take \
                        them again\n";
        assert_eq!(of_archived("w", &server, &Terminal::plain()), expected);
    }
}
