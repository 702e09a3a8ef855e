//! Why a node or a run did not succeed: data that is stored, shown and traced.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::limits;

/// The code of what failed because it was stopped.
pub const CANCELLED: &str = "cancelled";

/// An error as users see it. Carries no secrets: a node kind writes the message itself and never
/// copies a request or a header into it. What a workflow fails with on purpose is its author's.
///
/// The message goes where errors are reported: log rows, spans, the log of the process. What a model or the other side of a
/// call has said may hold prompts and answers: it stands in the details, which stay with the record of the step and of
/// the node, for those who may read the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable, low-cardinality word: `http_status`, `timeout`, `expression`, `poison` ...
    pub code: Arc<str>,
    /// What went wrong, and where possible what would be right.
    pub message: String,
    /// What the other side has said, or a model has answered. MUST NOT be logged or exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// The node that it comes from; absent on the node's own error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
}

impl Failure {
    /// A failure; the message is cut at [`limits::ERROR_BYTES_MAX`], and NUL, which PostgreSQL
    /// cannot store as text, is replaced.
    pub fn new(code: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: bounded(message.into()), details: None, node: None }
    }

    /// The same failure with what the other side has said, cut and replaced like a message.
    #[must_use]
    pub fn with_details(self, details: Option<impl Into<String>>) -> Self {
        Self { details: details.map(|details| bounded(details.into())), ..self }
    }

    /// The same failure, as that of the run that `node` brought down. The details stay with the node.
    #[must_use]
    pub fn of_node(self, node: &Arc<str>) -> Self {
        Self { node: Some(Arc::clone(node)), details: None, ..self }
    }
}

/// Whether a workflow may fail with this code: a word like those of Skein's own errors, which it may pass on. Not
/// [`CANCELLED`], by which it is told that nobody has failed.
#[must_use]
pub fn is_own_code(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= limits::ERROR_CODE_CHARS_MAX
        && text.chars().all(is_part)
        && text != CANCELLED
}

fn bounded(mut text: String) -> String {
    if text.len() > limits::ERROR_BYTES_MAX {
        let cut = text.floor_char_boundary(limits::ERROR_BYTES_MAX);
        text.truncate(cut);
        text.push('…');
    }
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    text
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{}: {} (node {node})", self.code, self.message),
            None => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_fails_with_words_like_skeins_own() {
        let longest = "a".repeat(limits::ERROR_CODE_CHARS_MAX);
        for code in ["http_status", "a", "e404", "timeout", &longest] {
            assert!(is_own_code(code), "{code}");
        }
        let longer = format!("{longest}a");
        for code in ["", "A", "4xx", "_a", "a-b", "a b", "ä", "a\0", "a.b", CANCELLED, &longer] {
            assert!(!is_own_code(code), "{code:?}");
        }
    }
}
