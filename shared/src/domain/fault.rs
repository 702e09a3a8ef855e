//! What is wrong with something that somebody sent.

use serde::Serialize;

/// One fault: where it is, what it is, what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// A JSON Pointer (RFC 6901) to the faulty value, `""` for the whole.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Fault {
    /// A fault at `pointer`.
    pub fn new(
        pointer: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { pointer: pointer.into(), message: message.into(), hint: hint.into() }
    }
}

/// A JSON Pointer one step further: `token` is escaped as RFC 6901 section 3 asks.
#[must_use]
pub fn join_pointer(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}
