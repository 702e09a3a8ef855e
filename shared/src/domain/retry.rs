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
    /// The longest wait that a server may ask for; when it asks for more, there is no next attempt.
    pub max_retry_after: Duration,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// Another one, after this wait.
    After(Duration),
    /// None: that was the last.
    Exhausted,
    /// None, although there were attempts left: the server asked for a longer wait than the policy grants.
    TooLate,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            max_retry_after: limits::BACKOFF_MAX,
        }
    }
}

impl RetryPolicy {
    /// What follows when attempt number `attempt` (from 1) failed.
    ///
    /// Full jitter: a wait drawn evenly from zero to the ceiling, so that clients that failed
    /// together do not come back together (Brooker, "Exponential Backoff And Jitter", AWS 2015).
    /// A server's own `retry_after` is honoured as a floor, up to `max_retry_after`; coming back sooner than it asks would
    /// only add to its load, and waiting for longer is not what the author wants.
    ///
    /// `unit` is a random number in `[0, 1)`.
    #[must_use]
    pub fn next(&self, attempt: u32, retry_after: Option<Duration>, unit: f64) -> NextAttempt {
        if attempt >= self.max_attempts {
            return NextAttempt::Exhausted;
        }
        let asked = retry_after.unwrap_or_default();
        if asked > self.max_retry_after {
            return NextAttempt::TooLate;
        }
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1).min(31));
        let ceiling = self.backoff.saturating_mul(doubled).min(self.max_backoff);
        let jittered = ceiling.mul_f64(unit.clamp(0.0, 1.0));
        NextAttempt::After(jittered.max(asked).min(limits::BACKOFF_MAX))
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
            max_retry_after: Duration::from_secs(30),
        }
    }

    fn wait(next: NextAttempt) -> Duration {
        let NextAttempt::After(wait) = next else { panic!("{next:?}") };
        wait
    }

    #[test]
    fn the_ceiling_doubles_up_to_its_cap() {
        let ceilings: Vec<_> =
            (1..=4).map(|n| wait(policy().next(n, None, 1.0)).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 6]);
        assert_eq!(policy().next(5, None, 1.0), NextAttempt::Exhausted);
    }

    #[test]
    fn retry_after_is_a_floor_that_the_author_puts_a_ceiling_on() {
        let floor = Duration::from_secs(30);
        assert_eq!(policy().next(1, Some(floor), 0.5), NextAttempt::After(floor));
        let more = Some(floor + Duration::from_millis(1));
        assert_eq!(policy().next(1, more, 0.5), NextAttempt::TooLate);
        assert_eq!(policy().next(5, more, 0.5), NextAttempt::Exhausted);
        let default = RetryPolicy { max_attempts: 2, ..RetryPolicy::default() };
        let day = limits::BACKOFF_MAX;
        assert_eq!(default.next(1, Some(day), 0.5), NextAttempt::After(day));
        assert_eq!(default.next(1, Some(Duration::MAX), 0.5), NextAttempt::TooLate);
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_its_ceiling(attempt in 1_u32..200, unit in 0.0_f64..1.0, backoff_ms in 0_u64..1_000_000) {
            let policy = RetryPolicy {
                max_attempts: u32::MAX,
                backoff: Duration::from_millis(backoff_ms),
                ..RetryPolicy::default()
            };
            prop_assert!(wait(policy.next(attempt, None, unit)) <= Duration::from_secs(60));
        }
    }
}
