//! The kinds of nodes: a closed set.
//!
//! CONTRIBUTING.md says how to add one, file by file.

use super::words::words;

words!(
    /// What a node does, in the order in which README lists them. The word is part of span names
    /// (`node.execute.{kind}`), so it is never user input.
    "kind of node" NodeKind {
        /// Calls a URL.
        Http = "http",
        /// Computes a value from other values.
        Transform = "transform",
        /// Chooses a branch.
        Condition = "condition",
        /// Waits without holding a worker.
        Delay = "delay",
        /// Writes a line into the run's log.
        Log = "log",
        /// Asks a model.
        Llm = "llm",
        /// Has a model reach a goal by tools.
        Agent = "agent",
        /// Fails, and its run with it.
        Fail = "fail",
    }
);

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
