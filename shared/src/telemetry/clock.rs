//! By how much this process's clock differs from the database's, by which runs begin and end.
//!
//! Spans of many processes stand in one trace: a worker whose clock is behind would start a node before its run. So what
//! is exported says the database's time. The difference is learned from answers that say what time it was there, and
//! applied to each span as a whole, so that nothing ends before it starts, however the difference changes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};

/// An answer that was longer on its way says too little about when the clock was read.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(250);

static DATABASE: Offset = Offset::none();

/// A question to the database that is under way.
#[derive(Debug, Clone, Copy)]
pub struct ClockQuestion {
    by_wall: SystemTime,
    asked: Instant,
}

impl ClockQuestion {
    /// It is asked now.
    #[must_use]
    pub fn ask() -> Self {
        Self { by_wall: SystemTime::now(), asked: Instant::now() }
    }

    /// It is answered now: at some moment in between, the database's clock has shown this.
    pub fn answered(self, shown: DateTime<Utc>) {
        DATABASE.learn(self.by_wall, self.asked.elapsed(), shown);
    }
}

/// The difference to the database's clock as it is known now.
pub(super) fn offset() -> i64 {
    DATABASE.nanos.load(Ordering::Relaxed)
}

/// What the database's clock showed, or will show, when this process's shows `time`.
#[must_use]
pub fn database_time(time: SystemTime) -> SystemTime {
    shifted(time, offset())
}

/// A time so many nanoseconds later.
pub(super) fn shifted(time: SystemTime, nanos: i64) -> SystemTime {
    let by = Duration::from_nanos(nanos.unsigned_abs());
    let shifted = if nanos < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    shifted.unwrap_or(time)
}

/// A difference between two clocks, in nanoseconds: what is to be added to the one for the other.
struct Offset {
    nanos: AtomicI64,
}

impl Offset {
    const fn none() -> Self {
        Self { nanos: AtomicI64::new(0) }
    }

    /// Takes in what the other clock has shown at a moment of the round trip that began at `asked`. Which moment is not
    /// known, so any difference that fits one of them may be right: one that does is kept, as it would otherwise change
    /// with each answer for no reason; in place of one that does not, the middle is taken.
    fn learn(&self, asked: SystemTime, round_trip: Duration, shown: DateTime<Utc>) {
        if round_trip > ROUND_TRIP_MAX {
            return;
        }
        let nanos = |time: DateTime<Utc>| time.timestamp_nanos_opt();
        let (Some(asked), Some(shown)) = (nanos(asked.into()), nanos(shown)) else { return };
        let Ok(round_trip) = i64::try_from(round_trip.as_nanos()) else { return };
        let most = shown.saturating_sub(asked);
        let least = most.saturating_sub(round_trip);
        if !(least..=most).contains(&self.nanos.load(Ordering::Relaxed)) {
            self.nanos.store(most - round_trip / 2, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: i64 = 1_000_000;

    /// What is known after answers that each took so many milliseconds, when the other clock was ahead by as many.
    fn learned(answers: &[(u64, i64)]) -> i64 {
        let offset = Offset::none();
        let asked = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        for (round_trip, ahead) in answers {
            let round_trip = Duration::from_millis(*round_trip);
            let shown = shifted(asked + round_trip / 2, ahead * MILLISECOND);
            offset.learn(asked, round_trip, shown.into());
        }
        offset.nanos.load(Ordering::Relaxed)
    }

    #[test]
    fn clocks_that_agree_as_far_as_can_be_told_are_left_alone() {
        assert_eq!(learned(&[(10, 0), (10, 4), (10, -5)]), 0);
    }

    #[test]
    fn a_difference_is_learned_kept_while_it_may_be_right_and_replaced_when_it_cannot() {
        assert_eq!(learned(&[(10, 5_000)]), 5_000 * MILLISECOND);
        assert_eq!(learned(&[(10, 5_000), (10, 5_003)]), 5_000 * MILLISECOND);
        assert_eq!(learned(&[(10, 5_000), (2, 5_003)]), 5_003 * MILLISECOND);
        assert_eq!(learned(&[(10, -5_000), (10, 0)]), 0);
    }

    #[test]
    fn an_answer_that_took_long_teaches_nothing() {
        assert_eq!(learned(&[(251, 5_000)]), 0);
        assert_eq!(learned(&[(2, 5_000), (300, 9_000)]), 5_000 * MILLISECOND);
    }

    #[test]
    fn a_time_is_shifted_either_way_as_far_as_there_is_time() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        for seconds in [-5_i64, 0, 5] {
            let there = shifted(time, seconds * 1_000_000_000);
            assert_eq!(shifted(there, -seconds * 1_000_000_000), time);
        }
        assert_eq!(database_time(time), shifted(time, offset()));
    }
}
