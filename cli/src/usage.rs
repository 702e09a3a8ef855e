//! A command that was not called right.

/// The command was not called right; nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// An error that says what would be right.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}
