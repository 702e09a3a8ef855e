//! A walk through the due times of a table, a slice at a time: how long a slice is follows from what the one before it
//! has cost.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::store::recovery::DueRange;

/// The first slice.
const SLICE_FIRST: Duration = Duration::from_secs(60);
/// The shortest slice. What is due within one microsecond is in one slice all the same.
const SLICE_MIN: Duration = Duration::from_millis(1);
/// A slice that would be longer is the last one: it has no end.
const SLICE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// A slice that took less was too short, and one that took longer too long.
const CHEAP: Duration = Duration::from_millis(5);
const DEAR: Duration = Duration::from_millis(20);
/// By how much slices grow and shrink, and by how much after one that the store gave up.
const STEP: u32 = 4;
const STEP_BACK: u32 = 64;

/// What is left of a walk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slices {
    /// What lies on this side of it has been scanned.
    at: DateTime<Utc>,
    direction: Direction,
    /// How long the next slice is.
    slice: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToThePast,
    ToTheFuture,
}

impl Slices {
    /// From the newest that is earlier than `at` to the oldest.
    pub(super) fn before(at: DateTime<Utc>) -> Self {
        Self { at, direction: Direction::ToThePast, slice: SLICE_FIRST }
    }

    /// From `at` to the last that is later.
    pub(super) fn from(at: DateTime<Utc>) -> Self {
        Self { at, direction: Direction::ToTheFuture, slice: SLICE_FIRST }
    }

    /// The next slice.
    pub(super) fn next(&self) -> DueRange {
        match self.direction {
            Direction::ToThePast => DueRange { from: self.end(), before: Some(self.at) },
            Direction::ToTheFuture => DueRange { from: Some(self.at), before: self.end() },
        }
    }

    /// The next slice took so long; it is not the next one any more. Says whether it was the last.
    pub(super) fn scanned(&mut self, took: Duration) -> bool {
        let Some(end) = self.end() else { return true };
        self.at = end;
        if took < CHEAP {
            self.slice *= STEP;
        } else if took > DEAR {
            self.shrink(STEP);
        }
        false
    }

    /// The next slice was too much for one statement: it is tried again, shorter, and passed over if it cannot be.
    pub(super) fn was_too_much(&mut self) {
        if self.slice > SLICE_MIN {
            self.shrink(STEP_BACK);
        } else if let Some(end) = self.end() {
            self.at = end;
        }
    }

    /// Where the next slice ends, unless it is the last one.
    fn end(&self) -> Option<DateTime<Utc>> {
        (self.slice <= SLICE_MAX).then(|| match self.direction {
            Direction::ToThePast => self.at - self.slice,
            Direction::ToTheFuture => self.at + self.slice,
        })
    }

    fn shrink(&mut self, by: u32) {
        self.slice = (self.slice.min(SLICE_MAX) / by).max(SLICE_MIN);
    }
}
