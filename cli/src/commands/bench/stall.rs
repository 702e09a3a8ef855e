//! When nothing ends any more.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing may end before what is open is given up.
pub(super) const STALL_MAX: Duration = Duration::from_secs(120);

/// Watches whether runs still end.
///
/// That the newest open run is another one shows that they do, and is all that is asked of the server as a rule. Old
/// runs may end while the newest stays open, so ends are counted before anything is given up.
#[derive(Debug)]
pub(super) struct StallDetector {
    newest_open: String,
    ended: usize,
    since: Instant,
}

impl StallDetector {
    pub(super) fn new(now: Instant) -> Self {
        Self { newest_open: String::new(), ended: 0, since: now }
    }

    /// Takes down which open run is the newest; returns whether it has been for so long that ends must be counted.
    pub(super) fn is_strained(&mut self, newest_open: &str, now: Instant) -> bool {
        if self.newest_open != newest_open {
            newest_open.clone_into(&mut self.newest_open);
            self.since = now;
        }
        now - self.since > STALL_MAX
    }

    /// Takes down how many runs have ended; returns whether it is no more than at the last count.
    pub(super) fn is_exhausted(&mut self, ended: usize, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.ended, ended);
        self.since = now;
        ended <= before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_up_while_runs_end() {
        let start = Instant::now();
        let late = |times: u32| start + (STALL_MAX + Duration::from_secs(1)) * times;
        let mut stall = StallDetector::new(start);
        assert!(!stall.is_strained("newest", start));
        assert!(!stall.is_strained("newest", start + STALL_MAX));
        assert!(!stall.is_strained("another", late(1)), "the newest has ended");
        assert!(stall.is_strained("another", late(2)));
        assert!(!stall.is_exhausted(7, late(2)), "older ones have ended");
        assert!(!stall.is_strained("another", late(2)));
        assert!(stall.is_strained("another", late(3)));
        assert!(!stall.is_exhausted(8, late(3)));
        assert!(stall.is_strained("another", late(4)));
        assert!(stall.is_exhausted(8, late(4)), "nothing has ended since");
    }
}
