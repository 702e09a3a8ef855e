//! When calls may start at a provider that takes so many in a time: a generic cell rate algorithm, by which each call is
//! given a time of its own and nothing is ever handed back.

/// Microseconds of a minute.
const MINUTE: u128 = 60_000_000;
/// How much earlier than evenly spaced calls may start, in microseconds: what a provider takes in a second may come at
/// once.
const BURST: i64 = 1_000_000;
/// How far ahead a call may be given its time, in microseconds: an hour. What would have to wait for longer is given none.
pub const AHEAD_MAX: i64 = 3_600_000_000;

/// When the next calls may start if they come evenly spaced, in microseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateBucket {
    /// By the number of calls.
    pub requests_at: i64,
    /// By their tokens.
    pub tokens_at: i64,
}

/// What a call takes of a provider's time, in microseconds. Absent where the provider has no such limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateShare {
    /// Of that between two calls.
    pub requests: Option<i64>,
    /// Of that for its tokens.
    pub tokens: Option<i64>,
}

impl RateShare {
    /// The share of a call with so many tokens. None is larger than [`AHEAD_MAX`]: one call may be larger than what is
    /// taken in an hour, and starts all the same if it is alone.
    #[must_use]
    pub fn of(
        requests_per_minute: Option<u32>,
        tokens_per_minute: Option<u64>,
        tokens: u64,
    ) -> Self {
        let share = |part: u64, of: u64| {
            let share = (MINUTE * u128::from(part)).div_ceil(u128::from(of.max(1)));
            i64::try_from(share).unwrap_or(AHEAD_MAX).min(AHEAD_MAX)
        };
        Self {
            requests: requests_per_minute.map(|limit| share(1, limit.into())),
            tokens: tokens_per_minute.map(|limit| share(tokens, limit)),
        }
    }

    /// How much earlier than evenly spaced it may start for the number of calls.
    #[must_use]
    pub fn requests_burst(&self) -> i64 {
        (BURST - self.requests.unwrap_or_default()).max(0)
    }

    /// How much earlier than evenly spaced it may start for its tokens.
    #[must_use]
    pub fn tokens_burst(&self) -> i64 {
        BURST
    }
}

impl RateBucket {
    /// Gives a call its time, and returns in how many microseconds that is. `None` if it would be more than
    /// [`AHEAD_MAX`] from now: then nothing is taken.
    ///
    /// Calls start in the order in which they ask: one that has to wait for its tokens is not passed by smaller ones.
    pub fn take(&mut self, now: i64, share: RateShare) -> Option<i64> {
        let mut start = now;
        if share.requests.is_some() {
            start = start.max(self.requests_at - share.requests_burst());
        }
        if share.tokens.is_some() {
            start = start.max(self.tokens_at - share.tokens_burst());
        }
        if start - now > AHEAD_MAX {
            return None;
        }
        if let Some(taken) = share.requests {
            self.requests_at = self.requests_at.max(start) + taken;
        }
        if let Some(taken) = share.tokens {
            self.tokens_at = self.tokens_at.max(start) + taken;
        }
        Some(start - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000;
    const SECOND: i64 = 1_000_000;

    fn starts(bucket: &mut RateBucket, share: RateShare, count: usize) -> Vec<i64> {
        (0..count).map(|_| bucket.take(NOW, share).unwrap()).collect()
    }

    #[test]
    fn calls_are_spaced_evenly_behind_what_a_second_takes() {
        let once_a_second = RateShare::of(Some(60), None, 0);
        let mut bucket = RateBucket::default();
        assert_eq!(starts(&mut bucket, once_a_second, 3), [0, SECOND, 2 * SECOND]);
        let thrice_a_second = RateShare::of(Some(180), None, 0);
        let spaced = starts(&mut RateBucket::default(), thrice_a_second, 5);
        assert_eq!(spaced[..3], [0, 0, 2], "rounded up twice");
        assert!(spaced[3] > SECOND / 4 && spaced[4] > SECOND / 2, "{spaced:?}");
        let once_a_minute = RateShare::of(Some(1), None, 0);
        assert_eq!(starts(&mut RateBucket::default(), once_a_minute, 2), [0, 60 * SECOND]);
    }

    #[test]
    fn a_large_call_makes_those_behind_it_wait() {
        let mut bucket = RateBucket::default();
        let large = RateShare::of(Some(600), Some(1_000), 2_000);
        assert_eq!(starts(&mut bucket, large, 1), [0]);
        let small = RateShare::of(Some(600), Some(1_000), 1);
        let starts = starts(&mut bucket, small, 600);
        assert_eq!(starts[0], 119 * SECOND);
        // 600 a minute, whichever minute is looked at, and those of a second on top.
        for window in starts.windows(600) {
            assert!(window[599] - window[0] > 58 * SECOND, "{window:?}");
        }
    }

    #[test]
    fn what_would_start_in_more_than_an_hour_takes_nothing() {
        let mut bucket = RateBucket::default();
        let share = RateShare::of(None, Some(1), 1_000_000);
        assert_eq!(bucket.take(NOW, share), Some(0), "alone it starts however large it is");
        let before = bucket;
        let later = bucket.take(NOW, RateShare::of(None, Some(1), 10));
        assert!(later.is_some_and(|start| start > 3_598 * SECOND));
        let full = bucket;
        assert_ne!(before, full);
        assert_eq!(bucket.take(NOW, RateShare::of(None, Some(1), 1)), None);
        assert_eq!(bucket, full);
    }

    #[test]
    fn what_has_no_limit_starts_at_once() {
        let mut bucket = RateBucket { requests_at: NOW + 10 * SECOND, tokens_at: NOW + SECOND };
        assert_eq!(bucket.take(NOW, RateShare::of(None, None, 1_000)), Some(0));
    }
}
