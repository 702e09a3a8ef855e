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
    /// Lines of code with their numbers: comments and what follows the first test module are left out.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines =
            self.text.lines().zip(1..).take_while(|(line, _)| line.trim() != "#[cfg(test)]");
        lines
            .filter(|(line, _)| !line.trim_start().starts_with("//"))
            .map(|(line, number)| (number, line))
    }

    /// Whether the file is made for tests only.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/').map(|part| part.trim_end_matches(".rs"));
        parts.any(|part| part.ends_with("tests") || part.starts_with("test_") || part == "samples")
    }
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
