//! Telling the logs of runs that wait while no worker lives.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::RecoveryStore;
use crate::store::recovery::{OpenRun, SWEEP_ROWS_MAX};

/// For how long no worker must have lived, and an open run have been there, until the run's log says so: longer than it
/// takes to start one again.
pub(super) const WAITED: Duration = Duration::from_secs(10);
/// The pause between two looks whether a worker lives, and behind the last run that was told that none does.
pub(super) const PAUSE: Duration = Duration::from_secs(10);
/// The pause between two pages of runs: a million of them that wait are told within the hour, and the store has other
/// things to do in between.
pub(super) const PAGE_PAUSE: Duration = Duration::from_secs(1);

/// How far a process is with telling runs. All processes tell, and the store has each run told once.
#[derive(Debug)]
pub(super) struct NoWorkerWatch {
    next_at: Instant,
    after: Option<OpenRun>,
}

impl NoWorkerWatch {
    /// Begins after a while: where everything starts at once, workers may come a moment later.
    pub(super) fn new() -> Self {
        Self { next_at: Instant::now() + PAUSE, after: None }
    }

    /// Tells a page of runs, if it is time to and no worker lives. What goes wrong is tried again later.
    pub(super) async fn tell(&mut self, store: &dyn RecoveryStore) {
        if Instant::now() < self.next_at {
            return;
        }
        let after = self.after.take();
        match store.tell_of_no_worker(WAITED, after.as_ref(), SWEEP_ROWS_MAX).await {
            Ok(round) => {
                if round.told > 0 {
                    tracing::warn!(runs = round.told, "no worker lives, and runs wait for one");
                }
                self.after = round.next;
            }
            Err(error) => tracing::warn!(%error, "could not look for runs that nobody works at"),
        }
        let pause = if self.after.is_some() { PAGE_PAUSE } else { PAUSE };
        self.next_at = Instant::now() + pause;
    }
}
