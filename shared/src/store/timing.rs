//! When the store makes a row due: the same on every database.

use std::time::Duration;

/// What a node may overrun its timeout by before it is taken away from its worker. The worker
/// enforces the timeout itself; this is for one that is stuck.
pub(super) const DEADLINE_GRACE: Duration = Duration::from_secs(15);
/// When a queued row is due for the sweeper, should its message get lost.
pub(super) const FIRST_WAKE: Duration = Duration::from_secs(30);
/// The longest pause between two repeated hints.
pub(super) const WAKE_MAX: Duration = Duration::from_secs(300);

/// A wait from which on it is worth to know whether its run is suspended.
pub(super) const LONG_WAIT: Duration = Duration::from_secs(5);
/// When a run is rechecked of which a row has begun a long wait, or whose wait is over while others may go on. Its
/// other nodes may be about to end.
pub(super) const RECHECK_AFTER: Duration = Duration::from_secs(2);
/// When a run is rechecked of which something waits and something works.
pub(super) const RECHECK_AGAIN: Duration = Duration::from_secs(30);
/// The pause of a row whose wait is over before anybody has rechecked its run, which is due to be rechecked then.
pub(super) const RECHECK_FIRST: Duration = Duration::from_millis(500);

/// How long an ended lease is kept, for people who look into what happened. Nothing else needs it.
pub(super) const LEASE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A duration as the databases count it.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
