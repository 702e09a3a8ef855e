//! `skein publish`: makes workflows the latest versions.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::remedy::to_unarchive;
use super::validate::tell_warnings;
use crate::arguments::{EmbeddedArgs, ServerArgs};
use crate::client::{Client, PublishedVersion};
use crate::connection::Connection;
use crate::embedded::Role;
use crate::failure::{self, EXIT_INTERRUPTED};
use crate::format::{OutputArgs, Shape};
use crate::input::{WorkflowFile, is_stdin};
use crate::interrupts::Interrupts;
use crate::output::{print, print_after_interrupt, print_to_stderr};
use crate::render::{Style, Terminal, clean};
use crate::shell::hint;
use crate::usage::UsageError;

const HELP: &str = "\
What has not changed stays the version that it is, and a draft with the same document, as `skein run` makes them, becomes the
latest version with the number that it has. A fault in one file does not keep the others from being published; the exit code
is 1 then, and 2 where a file cannot be read.

Examples:
  skein publish digest.yaml
  skein publish flows/digest.yaml flows/report.yaml
  skein publish - -q                           # from standard input; prints NAME@VERSION, as `skein start` takes it
  skein publish digest.yaml -o json            # with outcome: created, unchanged or promoted; archived; warnings";

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

/// What has come of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is a new version.
    Created,
    /// It was the latest version before.
    Unchanged,
    /// It was a draft before.
    Promoted,
    /// It was there before, as the latest version or as a draft: an older server does not say which.
    Known,
}

impl Outcome {
    /// What the server has made of it; the status alone is left where an older one does not say.
    fn of(version: &PublishedVersion) -> Self {
        match version.outcome.as_deref() {
            Some("unchanged") => Self::Unchanged,
            Some("promoted") => Self::Promoted,
            _ if version.is_new => Self::Created,
            _ => Self::Known,
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
    if files.iter().all(|(_, file)| file.is_err()) {
        // Nobody is asked, and no directory is made, where there is nothing to publish.
        let faults = files.into_iter().filter_map(|(name, file)| Some((name, file.err()?)));
        let codes = faults.map(|(name, error)| failure::report_file(&name, &error.into()));
        return Ok(ExitCode::from(codes.max().unwrap_or_default()));
    }
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
    let (shape, mut code) = (output.shape(), 0);
    for (name, file) in files {
        let publishing = async { one(client, file?, server, shape).await };
        let Some(published) = interrupts.or(Box::pin(publishing)).await else {
            let (name, list) = (clean(&name), hint(&["workflows"], server));
            print_after_interrupt(&format!("the server may have taken {name}: {list} tells\n"));
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        };
        match published {
            Ok(version) => print(&told(&name, &version, shape))?,
            Err(error) => code = code.max(failure::report_file(&name, &error)),
        }
    }
    Ok(ExitCode::from(code))
}

async fn one(
    client: &Client,
    file: WorkflowFile,
    server: &[String],
    shape: Shape,
) -> anyhow::Result<PublishedVersion> {
    let published = client.publish(file.text.clone(), file.format).await;
    let version = published.map_err(|error| error.of_document(file.clone()))?;
    // For programs, it is in the object.
    if !matches!(shape, Shape::Data(_)) {
        tell_warnings(&file, &version.warnings);
        if version.archived == Some(true) {
            print_to_stderr(&of_archived(&version.name, server, &Terminal::stderr()));
        }
    }
    Ok(version)
}

/// What is said of a workflow that was published and that nobody can start.
fn of_archived(name: &str, server: &[String], terminal: &Terminal) -> String {
    let undo = to_unarchive(name, server)
        .map_or_else(String::new, |command| format!("; `{command}` has it take them again"));
    let warning = terminal.paint("warning:", Style::Yellow);
    format!("{warning} {} is archived and takes no new runs{undo}\n", clean(name))
}

fn told(file: &str, published: &PublishedVersion, shape: Shape) -> String {
    let PublishedVersion { name, version, .. } = published;
    let outcome = Outcome::of(published);
    match shape {
        Shape::Data(format) => format.rows(&[json!({
            "file": file, "name": name, "version": version, "outcome": outcome.word(),
            "archived": published.archived, "warnings": published.warnings,
        })]),
        Shape::Ids => format!("{}@{version}\n", clean(name)),
        Shape::Text => format!("{} v{version} {}\n", clean(name), outcome.sentence()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_of_a_document_says_the_server_or_at_least_its_status() {
        let version = |outcome: Option<&str>, is_new| PublishedVersion {
            name: "w".to_owned(),
            version: 3,
            draft: Some(false),
            warnings: Vec::new(),
            outcome: outcome.map(str::to_owned),
            archived: None,
            is_new,
        };
        for (outcome, is_new, expected) in [
            (Some("created"), true, Outcome::Created),
            (Some("promoted"), false, Outcome::Promoted),
            (Some("unchanged"), false, Outcome::Unchanged),
            (None, true, Outcome::Created),
            (None, false, Outcome::Known),
        ] {
            assert_eq!(Outcome::of(&version(outcome, is_new)), expected, "{outcome:?} {is_new}");
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
