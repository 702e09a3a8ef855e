//! The ends of segments: root spans of traces that suspended runs have left behind.

use std::collections::VecDeque;

use crate::domain::ids::CallId;
use crate::store::RecoveryStore;
use crate::telemetry::emit;
use crate::telemetry::spans::workflow_suspended;

/// Sweeps that are kept to be asked for. More than that fail at once only in a long outage, and then the runs have
/// still gone on; only the root spans of their earlier traces are lost.
const UNTOLD_MAX: usize = 4_096;

/// Sweeps that have closed segments, or may have: their reply was lost.
#[derive(Debug, Default)]
pub(super) struct Segments {
    untold: VecDeque<CallId>,
}

impl Segments {
    /// Remembers a sweep, until it has been told of.
    pub(super) fn closed_by(&mut self, call: CallId) {
        if self.untold.len() < UNTOLD_MAX {
            self.untold.push_back(call);
        }
    }

    /// Exports the root spans of segments that were closed. What the store does not answer for is told of another
    /// time: the runs have gone on all the same.
    pub(super) async fn tell(&mut self, store: &dyn RecoveryStore) {
        while let Some(call) = self.untold.front() {
            match store.closed_segments(*call).await {
                Ok(closed) => closed.iter().map(workflow_suspended).for_each(emit),
                Err(error) if error.is_retryable() => return,
                Err(error) => tracing::warn!(%error, "the end of a trace could not be told"),
            }
            self.untold.pop_front();
        }
    }
}
