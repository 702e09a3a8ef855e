//! The names that the program exports, read off its sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::types::Type;
use crate::stack::workspace;

/// A name in the sources of `semconv`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The types that its documentation says, where it says any.
    pub kind: Option<Type>,
    /// The documentation.
    pub documentation: String,
}

/// All names that stand in `shared/src/telemetry/semconv`, file or folder.
///
/// # Panics
/// When there are no such sources.
#[must_use]
pub fn known() -> BTreeMap<String, Known> {
    let telemetry = workspace().join("shared/src/telemetry");
    let mut names = BTreeMap::new();
    for path in sources(&telemetry) {
        let text = fs::read_to_string(&path).expect("a source can be read");
        let mut documentation = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(said) = line.strip_prefix("///") {
                documentation.push_str(said);
                continue;
            }
            for name in line.split('"').skip(1).step_by(2) {
                let kind = kind(&documentation);
                let known = Known { kind, documentation: documentation.clone() };
                names.entry(name.to_owned()).or_insert(known);
            }
            // A name may stand on a line of its own below its constant.
            if line.ends_with(';') || line.ends_with("),") || line.is_empty() {
                documentation.clear();
            }
        }
    }
    assert!(names.contains_key("workflow.execution_id"), "the names were not found");
    names
}

fn sources(telemetry: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![telemetry.join("semconv")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("it can be read").path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.extend(Some(telemetry.join("semconv.rs")).filter(|path| path.is_file()));
    found
}

/// The type of an attribute, as its sentence says it.
fn kind(documentation: &str) -> Option<Type> {
    let says = |words: &[&str]| {
        let mut said = documentation.split(|char: char| !char.is_alphanumeric());
        said.any(|word| words.contains(&word))
    };
    if says(&["Integer", "Double"]) {
        Some(Type::Number)
    } else if says(&["Boolean"]) {
        Some(Type::Bool)
    } else {
        says(&["String", "Strings"]).then_some(Type::Text)
    }
}
