//! Why a node or a run did not succeed: data that is stored, shown and traced.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::limits;

/// An error as users see it. Carries no secrets: a node kind writes the message itself and never
/// copies a request or a header into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable, low-cardinality word: `http_status`, `timeout`, `expression`, `poison` ...
    pub code: Arc<str>,
    /// What went wrong, and where possible what would be right.
    pub message: String,
    /// The node that it comes from; absent on the node's own error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
}

impl Failure {
    /// A failure; the message is cut at [`limits::ERROR_BYTES_MAX`], and NUL, which PostgreSQL
    /// cannot store as text, is replaced.
    pub fn new(code: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if message.len() > limits::ERROR_BYTES_MAX {
            let cut = message.floor_char_boundary(limits::ERROR_BYTES_MAX);
            message.truncate(cut);
            message.push('…');
        }
        if message.contains('\0') {
            message = message.replace('\0', "\u{fffd}");
        }
        Self { code: code.into(), message, node: None }
    }

    /// The same failure, as that of the run that `node` brought down.
    #[must_use]
    pub fn of_node(mut self, node: &Arc<str>) -> Self {
        self.node = Some(Arc::clone(node));
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{}: {} (node {node})", self.code, self.message),
            None => write!(f, "{}: {}", self.code, self.message),
        }
    }
}
