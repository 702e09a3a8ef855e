//! When to try again.

use std::time::Duration;

use super::limits;

/// A node's retry policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; 1 means no retry.
    pub max_attempts: u32,
    /// The ceiling of the first wait; it doubles with every attempt.
    pub backoff: Duration,
    /// The ceiling that doubling stops at.
    pub max_backoff: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// How long to wait after attempt number `attempt` (from 1) failed, or `None` when that was the last.
    ///
    /// Full jitter: a wait drawn evenly from zero to the ceiling, so that clients that failed
    /// together do not come back together (Brooker, "Exponential Backoff And Jitter", AWS 2015).
    /// A server's own `retry_after` is honoured as a floor, up to [`limits::BACKOFF_MAX`].
    ///
    /// `unit` is a random number in `[0, 1)`.
    #[must_use]
    pub fn delay(
        &self,
        attempt: u32,
        retry_after: Option<Duration>,
        unit: f64,
    ) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1).min(31));
        let ceiling = self.backoff.saturating_mul(doubled).min(self.max_backoff);
        let jittered = ceiling.mul_f64(unit.clamp(0.0, 1.0));
        Some(jittered.max(retry_after.unwrap_or_default()).min(limits::BACKOFF_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(6),
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_its_cap() {
        let ceilings: Vec<_> =
            (1..=4).map(|n| policy().delay(n, None, 1.0).unwrap().as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 6]);
        assert_eq!(policy().delay(5, None, 1.0), None);
    }

    #[test]
    fn retry_after_is_a_floor() {
        let floor = Some(Duration::from_secs(30));
        assert_eq!(policy().delay(1, floor, 0.5), floor);
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_its_ceiling(attempt in 1_u32..200, unit in 0.0_f64..1.0, backoff_ms in 0_u64..1_000_000) {
            let policy = RetryPolicy {
                max_attempts: u32::MAX,
                backoff: Duration::from_millis(backoff_ms),
                max_backoff: Duration::from_secs(60),
            };
            prop_assert!(policy.delay(attempt, None, unit).unwrap() <= Duration::from_secs(60));
        }
    }
}
