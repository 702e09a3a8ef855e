//! `skein validate`: what is wrong with workflows, without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use skein_shared::workflow::compile::{Checked, Refused, check};

use crate::client::Diagnostic;
use crate::failure::{self, EXIT_FAILED};
use crate::format::{OutputArgs, Shape};
use crate::input::WorkflowFile;
use crate::output::{print, print_error, print_to_stderr};
use crate::render::{Style, Terminal, clean, diagnostics};

const HELP: &str = "\
A fault in one file does not hide those of the others; the exit code is 1 then, and 2 where a file cannot be read. As JSON, it
is an object for each file.

Examples:
  skein validate digest.yaml
  skein validate flows/digest.yaml flows/report.yaml
  skein validate - -q                      # from standard input; the exit code says it
  skein validate digest.yaml -o json       # file, valid, name, nodes, edges, warnings, or diagnostics";

/// Arguments of `skein validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct ValidateArgs {
    /// The workflows, in YAML or JSON; - for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn validate(args: &ValidateArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let mut code = 0;
    for path in &args.files {
        code = code.max(match WorkflowFile::read(path) {
            Ok(file) if validate_file(&file, output.shape())? => 0,
            Ok(_) => EXIT_FAILED,
            Err(error) => failure::report_file(&path.display().to_string(), &error.into()),
        });
    }
    Ok(ExitCode::from(code))
}

/// Tells of one file, and returns whether it is valid.
fn validate_file(file: &WorkflowFile, shape: Shape) -> anyhow::Result<bool> {
    let checked = check(&file.text, Some(file.format));
    let is_valid = checked.is_ok();
    match (shape, checked) {
        (Shape::Data(format), checked) => print(&format.rows(&[as_data(file, checked)]))?,
        (shape, Ok(Checked { plan, warnings, .. })) => {
            if shape == Shape::Text {
                let terminal = Terminal::stdout();
                let name = terminal.paint(&clean(&plan.name), Style::Bold);
                let glyph = terminal.paint("✓", Style::Green);
                print(&format!(
                    "{glyph} {name} is valid: {}, {}\n",
                    count(plan.nodes.len(), "node"),
                    count(plan.edge_count as usize, "edge")
                ))?;
            }
            tell_warnings(file, &own(warnings));
        }
        (_, Err(refused)) => print_error(&told(file, "fault", &faults(refused))),
    }
    Ok(is_valid)
}

fn as_data(file: &WorkflowFile, checked: Result<Checked, Refused>) -> Value {
    match checked {
        Ok(Checked { plan, warnings, .. }) => json!({
            "file": file.name, "valid": true, "name": plan.name, "nodes": plan.nodes.len(), "edges": plan.edge_count,
            "warnings": own(warnings),
        }),
        Err(refused) => {
            json!({ "file": file.name, "valid": false, "diagnostics": faults(refused) })
        }
    }
}

fn faults(refused: Refused) -> Vec<Diagnostic> {
    own(match refused {
        Refused::Malformed(diagnostic) => vec![*diagnostic],
        Refused::Invalid(diagnostics) => diagnostics,
    })
}

fn own(found: Vec<skein_shared::domain::diagnostic::Diagnostic>) -> Vec<Diagnostic> {
    found.into_iter().map(Into::into).collect()
}

/// Writes to standard error what of a file may not do what is meant, if anything.
pub(super) fn tell_warnings(file: &WorkflowFile, found: &[Diagnostic]) {
    if !found.is_empty() {
        print_to_stderr(&told(file, "warning", found));
    }
}

/// What is wrong with a file, or may be.
fn told(file: &WorkflowFile, what: &str, found: &[Diagnostic]) -> String {
    let terminal = Terminal::stderr();
    let (word, style) =
        if what == "fault" { ("error:", Style::Red) } else { ("warning:", Style::Yellow) };
    let title = format!(
        "{} {} has {}\n",
        terminal.paint(word, style),
        clean(&file.name),
        count(found.len(), what)
    );
    format!("{title}{}", diagnostics(found, Some(file), &terminal))
}

fn count(of: usize, what: &str) -> String {
    if of == 1 { format!("1 {what}") } else { format!("{of} {what}s") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
