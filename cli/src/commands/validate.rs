//! `skein validate`: what is wrong with a workflow, without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use skein_shared::document;
use skein_shared::domain::diagnostic::Diagnostic;
use skein_shared::workflow::compile::compile;
use skein_shared::workflow::plan::Plan;

use crate::failure::EXIT_FAILED;
use crate::input::WorkflowFile;
use crate::output::{print, print_to_stderr};
use crate::render::{Style, Terminal, clean, diagnostics};

/// Arguments of `skein validate`.
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    /// The workflow, in YAML or JSON; - for standard input.
    file: PathBuf,
}

pub(super) fn validate(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let file = WorkflowFile::read(&args.file)?;
    match check(&file) {
        Ok(plan) => {
            let terminal = Terminal::stdout();
            let name = terminal.paint(&clean(&plan.name), Style::Bold);
            let glyph = terminal.paint("✓", Style::Green);
            print(&format!(
                "{glyph} {name} is valid: {}, {}\n",
                count(plan.nodes.len(), "node"),
                count(plan.edge_count as usize, "edge")
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(found) => {
            let terminal = Terminal::stderr();
            let error = terminal.paint("error:", Style::Red);
            print_to_stderr(&format!(
                "{error} {} has {}\n",
                args.file.display(),
                count(found.len(), "fault")
            ));
            let found: Vec<_> = found.into_iter().map(Into::into).collect();
            print_to_stderr(&diagnostics(&found, &terminal));
            Ok(ExitCode::from(EXIT_FAILED))
        }
    }
}

fn check(file: &WorkflowFile) -> Result<Plan, Vec<Diagnostic>> {
    let document =
        document::parse(&file.text, Some(file.format)).map_err(|diagnostic| vec![diagnostic])?;
    compile(&document)
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
    fn every_example_is_valid() {
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
            let checked = check(&WorkflowFile::read(&path).unwrap());
            let plan = checked
                .unwrap_or_else(|diagnostics| panic!("{}: {diagnostics:#?}", path.display()));
            let stem = path.file_stem().unwrap().to_string_lossy();
            assert_eq!(&*plan.name, stem, "an example is called like its file");
        }
    }
}
