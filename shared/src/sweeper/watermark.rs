//! How far back sweeps read: a low watermark for each table.
//!
//! A sweep begins where all that was due earlier is done, so that what it costs depends on what has come due since the
//! last one and not on what has piled up behind. What came to light late, or was held by somebody when its turn came,
//! is found by a rare scan of everything before, from the newest to the oldest and a slice at a time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::slices::Slices;
use crate::store::recovery::DueRange;

/// The pause between two scans of what comes before.
const RESCAN_PAUSE: Duration = Duration::from_secs(60);

/// Where the next sweep of a table begins, and the scan of what comes before.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    /// What was due earlier is done. `None` before the first sweep, and after one that was too much.
    done_to: Option<DateTime<Utc>>,
    rescan: Option<Slices>,
    /// Whether nobody of this process has read yet what it scans.
    is_first: bool,
    /// When the next scan starts.
    next_at: Option<Instant>,
}

impl Watermark {
    /// What a sweep is to read.
    pub(super) fn range(&self) -> DueRange {
        let from = |from| DueRange { from: Some(from), before: None };
        self.done_to.map_or_else(DueRange::latest, from)
    }

    /// Until when all is done: a moment ago, by the clock of the store, unless much is due.
    pub(super) fn done_to(&self) -> Option<DateTime<Utc>> {
        self.done_to
    }

    /// A sweep of [`Self::range`] has succeeded.
    pub(super) fn swept(&mut self, done_to: Option<DateTime<Utc>>) {
        let Some(done_to) = done_to else { return };
        let is_first = self.done_to.replace(done_to).is_none();
        let is_time = self.next_at.is_some_and(|at| at <= Instant::now());
        if is_first || (is_time && self.rescan.is_none()) {
            self.rescan = Some(Slices::before(done_to));
            self.is_first = is_first;
            self.next_at = None;
        }
    }

    /// A sweep of [`Self::range`] was too much for one statement: the next one reads as little as is safe, and what
    /// comes before is scanned in slices.
    pub(super) fn was_too_much(&mut self) {
        *self = Self::default();
    }

    /// The next slice of the scan, if one is under way.
    pub(super) fn slice(&self) -> Option<DueRange> {
        self.rescan.map(|rescan| rescan.next())
    }

    /// The slice took so long. With `more` due in it, it is the next one once more.
    pub(super) fn scanned(&mut self, took: Duration, more: bool) {
        let Some(rescan) = self.rescan.as_mut().filter(|_| !more) else { return };
        if rescan.scanned(took) {
            self.rescan = None;
            self.next_at =
                Some(Instant::now() + RESCAN_PAUSE.mul_f64(0.75 + fastrand::f64() / 2.0));
        }
    }

    /// The slice was too much for one statement: it is tried again, shorter, and passed over if it cannot be.
    pub(super) fn slice_was_too_much(&mut self) {
        if let Some(rescan) = &mut self.rescan {
            rescan.was_too_much();
        }
    }

    /// Whether there is something that nobody of this process has read yet.
    pub(super) fn is_behind(&self) -> bool {
        self.rescan.is_some() && self.is_first
    }
}
