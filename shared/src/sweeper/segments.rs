//! The ends of segments: root spans of traces that suspended runs have left behind.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::CallId;
use crate::store::RecoveryStore;
use crate::telemetry::emit;
use crate::telemetry::spans::workflow_suspended;

/// How long a statement whose reply is lost may still be at work: longer than the store lets any.
const AT_WORK_MAX: Duration = Duration::from_secs(10);

/// What sweeps have closed, or may have closed, and nobody has exported. Sweeps share a call until the store has
/// answered what it closed, so that an outage leaves one question behind and not many.
#[derive(Debug)]
pub(super) struct Segments {
    call: CallId,
    /// When the question can be asked, if there is one: not before the last of its sweeps has ended.
    ask_at: Option<Instant>,
}

impl Segments {
    /// Nothing is closed yet.
    pub(super) fn new() -> Self {
        Self { call: CallId::generate(), ask_at: None }
    }

    /// Under which the next sweep is to close what it closes.
    pub(super) fn call(&self) -> CallId {
        self.call
    }

    /// A sweep has closed segments.
    pub(super) fn closed(&mut self) {
        self.ask_at.get_or_insert_with(Instant::now);
    }

    /// A sweep may have closed some, or may yet do so: its reply was lost.
    pub(super) fn perhaps_closed(&mut self) {
        self.ask_at = Some(Instant::now() + AT_WORK_MAX);
    }

    /// Exports the root spans of segments that were closed. What the store does not answer for is exported another
    /// time: the runs have gone on all the same.
    pub(super) async fn export_closed(&mut self, store: &dyn RecoveryStore) {
        if self.ask_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        match store.closed_segments(self.call).await {
            Ok(closed) => closed.iter().map(workflow_suspended).for_each(emit),
            Err(error) if error.is_retryable() => return,
            Err(error) => tracing::warn!(%error, "the end of a trace could not be exported"),
        }
        *self = Self::new();
    }
}
