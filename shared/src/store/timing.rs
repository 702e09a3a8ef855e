//! When the store makes a row due: the same on every database.

use std::time::Duration;

/// What a node may overrun its timeout by before it is taken away from its worker. The worker
/// enforces the timeout itself; this is for one that is stuck.
pub(super) const DEADLINE_GRACE: Duration = Duration::from_secs(15);
/// When a queued row is due for the sweeper, should its message get lost.
pub(super) const FIRST_WAKE: Duration = Duration::from_secs(30);
/// The longest pause between two repeated hints.
pub(super) const WAKE_MAX: Duration = Duration::from_secs(300);

/// How long an ended lease is kept, for people who look into what happened. Nothing else needs it.
pub(super) const LEASE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A duration as the databases count it.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
