//! The kinds of nodes: a closed set. A new kind does not compile before it has parameters
//! ([`super::params`]) and an executor (in the worker).

use serde::{Deserialize, Serialize};

/// What a node does. The word is part of span names (`node.execute.{kind}`), so it is never user input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Calls a URL.
    Http,
    /// Computes a value from other values.
    Transform,
    /// Chooses a branch.
    Condition,
    /// Waits without holding a worker.
    Delay,
    /// Writes a line into the run's log.
    Log,
}

impl NodeKind {
    /// Every kind, in the order in which the documentation lists them.
    pub const ALL: &'static [Self] =
        &[Self::Http, Self::Transform, Self::Condition, Self::Delay, Self::Log];

    /// The word in documents, rows and spans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Transform => "transform",
            Self::Condition => "condition",
            Self::Delay => "delay",
            Self::Log => "log",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// What running a node twice would do to the world. Decides what a crash in the middle means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing outside: it is computed again, and needs no commit of its own before it starts.
    Pure,
    /// The same as running it once: it is run again.
    Idempotent,
    /// The other side deduplicates by the `Idempotency-Key`: it is run again with the same key.
    Keyed,
    /// Something else: it is run again only if its `on_uncertain` says so.
    Unsafe,
}

/// What to do after a crash inside an [`Effect::Unsafe`] node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUncertain {
    /// Run it again; the effect may happen twice.
    Retry,
    /// Fail the node with the code `uncertain`.
    Fail,
}
