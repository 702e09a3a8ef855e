//! The project's files, as text.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub(crate) struct Source {
    /// Its path from the project's root.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

impl Source {
    /// Lines of code with their numbers, without comments, items that are for tests only, and whatever follows the first
    /// inline module of tests.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut lines = Vec::new();
        let mut rest = self.text.lines().zip(1..).peekable();
        while let Some((line, number)) = rest.next() {
            if line.trim() == TESTS_ONLY {
                if rest.peek().is_some_and(|(next, _)| opens_module(next)) {
                    break;
                }
                skip_item(&mut rest);
            } else if !line.trim_start().starts_with("//") {
                lines.push((number, line));
            }
        }
        lines.into_iter()
    }

    /// Whether the file is made for tests only.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/').map(|part| part.trim_end_matches(".rs"));
        parts.any(|part| part.ends_with("tests") || part.starts_with("test_") || part == "samples")
    }
}

const TESTS_ONLY: &str = "#[cfg(test)]";

fn opens_module(line: &str) -> bool {
    let line = line.trim();
    line.split_whitespace().any(|word| word == "mod") && line.ends_with('{')
}

/// Takes the item away that follows: up to a semicolon, or to the end of its first block.
fn skip_item<'a>(lines: &mut impl Iterator<Item = (&'a str, usize)>) {
    let mut depth = 0;
    for (line, _) in lines {
        depth += line.matches('{').count();
        depth -= line.matches('}').count().min(depth);
        if depth == 0 && line.trim_end().ends_with([';', '}', ',']) {
            break;
        }
    }
}

#[test]
fn code_goes_on_behind_what_is_for_tests_only() {
    let text = "\
#[cfg(test)]
mod named_elsewhere;
let a;
    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
// a comment
let b;
#[cfg(test)]
mod tests {
    let c;
}
";
    let source = Source { path: String::new(), text: text.to_owned() };
    let code: Vec<_> = source.code().collect();
    assert_eq!(code, [(3, "let a;"), (9, "let b;")]);
}

/// The project's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a member").to_owned()
}

/// Every Rust file of the workspace.
pub(crate) fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for member in ["api", "worker", "shared", "cli", "tests"] {
        collect(&root().join(member), &mut sources);
    }
    assert!(sources.len() > 100, "only {} files found", sources.len());
    sources
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            let path = path
                .strip_prefix(root())
                .expect("within the project")
                .to_string_lossy()
                .into_owned();
            sources.push(Source { path, text });
        }
    }
}
