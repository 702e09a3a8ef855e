//! Waiting between attempts to reach the broker.

use std::time::Duration;

/// The bound of the first wait. A restart of one connection costs no more than a blink.
const FIRST: Duration = Duration::from_millis(200);
/// The bound that waits grow to. A fleet of a thousand then asks a dead broker 67 times a second.
const LAST: Duration = Duration::from_secs(30);
/// The shortest wait, so that an unlucky draw is not a busy loop.
const SHORTEST: Duration = Duration::from_millis(20);

/// Exponential back-off with full jitter, for ever: the wait is drawn from nothing up to a bound that
/// doubles with every attempt. So the processes of a fleet do not come back in step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempt: u32,
}

impl Backoff {
    /// How long to wait now.
    pub(super) fn wait(&mut self) -> Duration {
        let bound = self.bound();
        self.attempt = self.attempt.saturating_add(1);
        bound.mul_f64(fastrand::f64()).max(SHORTEST)
    }

    /// The next failure is the first again.
    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }

    fn bound(&self) -> Duration {
        let doubled = 2_u32.checked_pow(self.attempt).unwrap_or(u32::MAX);
        FIRST.saturating_mul(doubled).min(LAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_last_and_stay_there() {
        let mut backoff = Backoff::default();
        let bounds: Vec<_> = (0..100)
            .map(|_| {
                let bound = backoff.bound();
                let wait = backoff.wait();
                assert!(wait >= SHORTEST && wait <= bound, "{wait:?} of {bound:?}");
                bound
            })
            .collect();
        assert_eq!(bounds[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(bounds[8..], [LAST; 92]);
        backoff.reset();
        assert_eq!(backoff.bound(), FIRST);
    }
}
