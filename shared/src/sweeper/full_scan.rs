//! The rare scan of every row that is running, by when its time is up.
//!
//! As with sweeps, what has ended since the oldest snapshot is walked past as well, and may be a million rows: one
//! statement could not do it. Most of it lies around the present, so the scan starts there and goes both ways.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::slices::Slices;
use crate::store::recovery::DueRange;

/// The pause between two scans, and after a slice that was too much.
const PAUSE: Duration = Duration::from_secs(30);

/// How far the scan has got.
#[derive(Debug, Default)]
pub(super) struct FullScan {
    under_way: Option<Slices>,
    /// What is still to be scanned after that.
    rest: Option<Slices>,
    /// When the next scan starts, or this one goes on.
    next_at: Option<Instant>,
}

impl FullScan {
    /// The next slice, if it is time for one. A scan starts at `present`, or thereabouts.
    pub(super) fn slice(&mut self, present: DateTime<Utc>) -> Option<DueRange> {
        if self.next_at.is_some_and(|at| at > Instant::now()) {
            return None;
        }
        if self.under_way.is_none() {
            self.under_way = Some(Slices::before(present));
            self.rest = Some(Slices::from(present));
        }
        self.under_way.map(|slices| slices.next())
    }

    /// The slice took so long. With `more` to take back in it, it is the next one once more.
    pub(super) fn scanned(&mut self, took: Duration, more: bool) {
        let Some(slices) = self.under_way.as_mut().filter(|_| !more) else { return };
        if slices.scanned(took) {
            self.under_way = self.rest.take();
            if self.under_way.is_none() {
                self.next_at = Some(Instant::now() + PAUSE);
            }
        }
    }

    /// The slice was too much for one statement. It is not tried again at once: it keeps sweeps waiting.
    pub(super) fn was_too_much(&mut self) {
        if let Some(slices) = &mut self.under_way {
            slices.was_too_much();
        }
        self.next_at = Some(Instant::now() + PAUSE);
    }
}
