//! A commit on its way through its batch.

use std::sync::Arc;

use super::rows::Run;
use crate::domain::ids::ActivationKey;
use crate::domain::state::NodeState;
use crate::domain::trace::SpanId;
use crate::store::engine::{Activated, Commit, END_KIND};
use crate::store::log_entry::Entry;

/// A commit whose row has flipped.
pub(super) struct Flipped<'a> {
    /// Its index in the batch.
    pub(super) place: usize,
    pub(super) commit: &'a Commit,
    /// Its run, as it was before this batch.
    pub(super) run: Arc<Run>,
    /// What its row has become.
    pub(super) state: NodeState,
    /// What it has activated, for the caller.
    pub(super) activated: Vec<Activated>,
    /// What is to be logged of that.
    pub(super) entries: Vec<Entry>,
}

impl Flipped<'_> {
    /// Whether nothing goes on where its row has ended.
    pub(super) fn ends_a_branch(&self) -> bool {
        let works =
            |state| matches!(state, NodeState::Queued | NodeState::Running | NodeState::Skipping);
        self.state.is_terminal() && !self.activated.iter().any(|row| works(row.state))
    }

    /// Notes a row that this commit made runnable, or that its run's end made `cancelled`.
    pub(super) fn note(&mut self, kind: &str, span: Option<SpanId>, activated: Activated) {
        let key = ActivationKey {
            run: self.commit.key.run,
            node: Arc::clone(&activated.node),
            scope: Arc::clone(&activated.scope),
        };
        if kind != END_KIND {
            match activated.state {
                NodeState::Running => {
                    self.entries.push(Entry::node_started(kind, &key, 1, span));
                }
                NodeState::Cancelled => self.entries.push(Entry::node_cancelled(kind, &key, span)),
                _ => {}
            }
        }
        self.activated.push(activated);
    }
}
