//! Drafts that nobody has started, and nobody has stored again for long: they go.

use std::time::Duration;

use tokio::time::Instant;

use super::Sweeper;

/// For how long a draft without a run is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The pause between two looks for such drafts, in each process. Nothing waits for them to be gone.
pub(super) const PAUSE: Duration = Duration::from_secs(600);
/// Within what time of its start a process looks for the first time: not all at once where a fleet starts.
const FIRST_WITHIN: Duration = Duration::from_secs(60);
/// Drafts that are deleted at a time, each with its document.
pub(super) const PAGE: u32 = 100;

/// When drafts are looked for next.
#[derive(Debug)]
pub(super) struct DraftPruning {
    due_at: Instant,
}

impl DraftPruning {
    pub(super) fn new() -> Self {
        Self { due_at: Instant::now() + FIRST_WITHIN.mul_f64(fastrand::f64()) }
    }
}

impl Sweeper {
    /// Deletes a page of drafts, if it is time for that. With more of them, the next sweep goes on.
    pub(super) async fn prune_drafts(&self, pruning: &mut DraftPruning) {
        if Instant::now() < pruning.due_at {
            return;
        }
        let pruned = self.store.prune_drafts(KEPT, PAGE).await;
        if let Err(error) = &pruned {
            tracing::warn!(%error, "drafts of workflows that are not used could not be deleted");
        }
        if !matches!(pruned, Ok(PAGE..)) {
            pruning.due_at = Instant::now() + PAUSE;
        }
    }
}
