//! How far back sweeps look.
//!
//! A sweep begins where all that was due earlier is done, so that what it costs depends on what has come due since the
//! last one and not on what has piled up behind. What came to light late, or was held by somebody when its turn came,
//! is found by a rare look at everything before, from the newest to the oldest and a slice at a time: how long a slice
//! is follows from what the one before it has cost.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::store::recovery::DueRange;

/// The pause between two looks back.
const LOOK_BACK_PAUSE: Duration = Duration::from_secs(60);
/// The first slice of a look back.
const SLICE_FIRST: Duration = Duration::from_secs(60);
/// The shortest slice. What is due within one microsecond is in one slice all the same.
const SLICE_MIN: Duration = Duration::from_millis(1);
/// A slice that would be longer is the last one: it has no beginning.
const SLICE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// A slice that took less was too short, and one that took longer too long.
const CHEAP: Duration = Duration::from_millis(5);
const DEAR: Duration = Duration::from_millis(20);
/// By how much slices grow and shrink, and by how much after one that the store gave up.
const STEP: u32 = 4;
const STEP_BACK: u32 = 64;

/// Where the next sweep of a table begins, and the look at what comes before.
#[derive(Debug, Default)]
pub(super) struct Frontier {
    /// What was due earlier is done. `None` before the first sweep, and after one that was too much.
    done_to: Option<DateTime<Utc>>,
    look_back: Option<LookBack>,
    /// When the next look back starts.
    next_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct LookBack {
    /// What was due at this time or later has been looked at.
    before: DateTime<Utc>,
    /// How long the next slice is.
    slice: Duration,
    /// Whether nobody of this process has looked at what it looks at.
    is_first: bool,
}

impl Frontier {
    /// What a sweep is to look at.
    pub(super) fn range(&self) -> DueRange {
        let from = |from| DueRange { from: Some(from), before: None };
        self.done_to.map_or_else(DueRange::latest, from)
    }

    /// A sweep of [`Self::range`] has succeeded.
    pub(super) fn swept(&mut self, done_to: Option<DateTime<Utc>>) {
        let Some(done_to) = done_to else { return };
        let is_first = self.done_to.replace(done_to).is_none();
        let is_time = self.next_at.is_some_and(|at| at <= Instant::now());
        if is_first || (is_time && self.look_back.is_none()) {
            self.look_back = Some(LookBack { before: done_to, slice: SLICE_FIRST, is_first });
            self.next_at = None;
        }
    }

    /// A sweep of [`Self::range`] was too much for one statement: the next one looks at as little as is safe, and what
    /// comes before is looked at in slices.
    pub(super) fn was_too_much(&mut self) {
        *self = Self::default();
    }

    /// The next slice of the look back, if one is under way.
    pub(super) fn slice(&self) -> Option<DueRange> {
        let look_back = self.look_back?;
        Some(DueRange { from: look_back.begin(), before: Some(look_back.before) })
    }

    /// The slice took so long. With `more` due in it, it is the next one once more.
    pub(super) fn looked(&mut self, took: Duration, more: bool) {
        let Some(look_back) = self.look_back.as_mut().filter(|_| !more) else { return };
        let Some(begin) = look_back.begin() else {
            self.look_back = None;
            self.next_at =
                Some(Instant::now() + LOOK_BACK_PAUSE.mul_f64(0.75 + fastrand::f64() / 2.0));
            return;
        };
        look_back.before = begin;
        if took < CHEAP {
            look_back.slice *= STEP;
        } else if took > DEAR {
            look_back.shrink(STEP);
        }
    }

    /// The slice was too much for one statement: it is tried again, shorter, and passed over if it cannot be.
    pub(super) fn slice_was_too_much(&mut self) {
        let Some(look_back) = &mut self.look_back else { return };
        if look_back.slice > SLICE_MIN {
            look_back.shrink(STEP_BACK);
        } else if let Some(begin) = look_back.begin() {
            look_back.before = begin;
        }
    }

    /// Whether there is something that nobody of this process has looked at yet.
    pub(super) fn is_behind(&self) -> bool {
        self.look_back.is_some_and(|look_back| look_back.is_first)
    }
}

impl LookBack {
    /// Where the next slice begins, unless it is the last one.
    fn begin(&self) -> Option<DateTime<Utc>> {
        (self.slice <= SLICE_MAX).then(|| self.before - self.slice)
    }

    fn shrink(&mut self, by: u32) {
        self.slice = (self.slice.min(SLICE_MAX) / by).max(SLICE_MIN);
    }
}
