//! The ends of segments: root spans of traces that suspended runs have left behind.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::CallId;
use crate::store::RecoveryStore;
use crate::telemetry::emit;
use crate::telemetry::spans::workflow_suspended;

/// Sweeps that are kept to be asked for. More than that fail at once only in a long outage, and then the runs have
/// still gone on; only the root spans of their earlier traces are lost.
const UNTOLD_MAX: usize = 4_096;

/// How long a statement whose reply is lost may still be at work: longer than the store lets any.
const AT_WORK_MAX: Duration = Duration::from_secs(10);

/// Sweeps that have closed segments, or may have: their reply was lost.
#[derive(Debug, Default)]
pub(super) struct Segments {
    untold: VecDeque<Untold>,
}

#[derive(Debug)]
struct Untold {
    call: CallId,
    /// Until when there may be more to come.
    open_until: Instant,
}

impl Segments {
    /// Remembers a sweep that has closed segments, until it has been told of.
    pub(super) fn closed_by(&mut self, call: CallId) {
        self.remember(call, Duration::ZERO);
    }

    /// Remembers a sweep that may have closed some, or may yet do so.
    pub(super) fn perhaps_closed_by(&mut self, call: CallId) {
        self.remember(call, AT_WORK_MAX);
    }

    fn remember(&mut self, call: CallId, open: Duration) {
        if self.untold.len() < UNTOLD_MAX {
            self.untold.push_back(Untold { call, open_until: Instant::now() + open });
        }
    }

    /// Exports the root spans of segments that were closed. What the store does not answer for is told of another
    /// time: the runs have gone on all the same.
    pub(super) async fn tell(&mut self, store: &dyn RecoveryStore) {
        for _ in 0..self.untold.len() {
            let Some(untold) = self.untold.pop_front() else { return };
            match store.closed_segments(untold.call).await {
                Ok(closed) if closed.is_empty() && Instant::now() < untold.open_until => {
                    self.untold.push_back(untold);
                }
                Ok(closed) => closed.iter().map(workflow_suspended).for_each(emit),
                Err(error) if error.is_retryable() => {
                    self.untold.push_front(untold);
                    return;
                }
                Err(error) => tracing::warn!(%error, "the end of a trace could not be told"),
            }
        }
    }
}
