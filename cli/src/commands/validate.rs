//! `skein validate`: what is wrong with workflows, without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use skein_shared::workflow::compile::{Checked, Refused, check};

use crate::client::Diagnostic;
use crate::failure::EXIT_FAILED;
use crate::input::WorkflowFile;
use crate::output::{print, print_to_stderr};
use crate::render::{Style, Terminal, clean, diagnostics};

/// Arguments of `skein validate`.
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    /// The workflows, in YAML or JSON; - for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn validate(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let mut are_valid = true;
    for path in &args.files {
        are_valid &= validate_file(&WorkflowFile::read(path)?)?;
    }
    Ok(if are_valid { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// Tells of one file, and returns whether it is valid.
fn validate_file(file: &WorkflowFile) -> anyhow::Result<bool> {
    match check(&file.text, Some(file.format)) {
        Ok(Checked { plan, warnings, .. }) => {
            let terminal = Terminal::stdout();
            let name = terminal.paint(&clean(&plan.name), Style::Bold);
            let glyph = terminal.paint("✓", Style::Green);
            print(&format!(
                "{glyph} {name} is valid: {}, {}\n",
                count(plan.nodes.len(), "node"),
                count(plan.edge_count as usize, "edge")
            ))?;
            if !warnings.is_empty() {
                tell(file, "warning", Style::Yellow, warnings);
            }
            Ok(true)
        }
        Err(refused) => {
            let found = match refused {
                Refused::Malformed(diagnostic) => vec![*diagnostic],
                Refused::Invalid(diagnostics) => diagnostics,
            };
            tell(file, "fault", Style::Red, found);
            Ok(false)
        }
    }
}

/// Writes to standard error what is wrong with a file, or may be.
fn tell(
    file: &WorkflowFile,
    what: &str,
    style: Style,
    found: Vec<skein_shared::domain::diagnostic::Diagnostic>,
) {
    let terminal = Terminal::stderr();
    let word = if what == "fault" { "error:" } else { "warning:" };
    let found: Vec<Diagnostic> = found.into_iter().map(Into::into).collect();
    let title = format!(
        "{} {} has {}\n",
        terminal.paint(word, style),
        clean(&file.name),
        count(found.len(), what)
    );
    print_to_stderr(&format!("{title}{}", diagnostics(&found, Some(file), &terminal)));
}

fn count(of: usize, what: &str) -> String {
    if of == 1 { format!("1 {what}") } else { format!("{of} {what}s") }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn one_of_a_thing_is_counted_as_one() {
        assert_eq!((count(1, "node"), count(0, "edge")), ("1 node".into(), "0 edges".into()));
    }

    #[test]
    fn every_example_is_valid_without_a_warning() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let files = ["", "models"].into_iter().flat_map(|folder| {
            let entries = std::fs::read_dir(examples.join(folder)).unwrap();
            entries.map(|entry| entry.unwrap().path())
        });
        // Beside them stands what models answer.
        let is_document = |path: &PathBuf| path.is_file() && !path.ends_with("replies.yaml");
        let files: Vec<_> = files.filter(is_document).collect();
        assert!(files.len() >= 6, "{files:?}");
        for path in files {
            let file = WorkflowFile::read(&path).unwrap();
            let checked = check(&file.text, Some(file.format));
            let checked =
                checked.unwrap_or_else(|refused| panic!("{}: {refused:#?}", path.display()));
            let stem = path.file_stem().unwrap().to_string_lossy();
            assert_eq!(&*checked.plan.name, stem, "an example is called like its file");
            assert_eq!(checked.warnings, [], "{}", path.display());
        }
    }
}
