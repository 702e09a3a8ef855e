//! What connections to the broker keep count of. Telemetry reads it: the broker knows no exporter.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static CONFIRMS_PENDING: AtomicI64 = AtomicI64::new(0);
static RETURNED: AtomicU64 = AtomicU64::new(0);
static NACKED: AtomicU64 = AtomicU64::new(0);
static BLOCKED: Mutex<BlockedTime> = Mutex::new(BlockedTime::new());

/// Messages of this process that were sent and are not confirmed.
pub(crate) fn confirms_pending() -> i64 {
    CONFIRMS_PENDING.load(Ordering::Relaxed)
}

/// Messages of this process that came back since it has started.
pub(crate) fn returned() -> u64 {
    RETURNED.load(Ordering::Relaxed)
}

/// Messages of this process that were refused since it has started.
pub(crate) fn nacked() -> u64 {
    NACKED.load(Ordering::Relaxed)
}

/// For how long connections of this process were blocked since it has started, all of them together.
pub(crate) fn blocked() -> Duration {
    lock().at(Instant::now())
}

/// A message whose confirm is awaited, until this is dropped.
#[must_use]
pub(super) struct PendingConfirm(());

impl PendingConfirm {
    pub(super) fn new() -> Self {
        CONFIRMS_PENDING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for PendingConfirm {
    fn drop(&mut self) {
        CONFIRMS_PENDING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A message came back.
pub(super) fn count_returned() {
    RETURNED.fetch_add(1, Ordering::Relaxed);
}

/// A message was refused.
pub(super) fn count_nacked() {
    NACKED.fetch_add(1, Ordering::Relaxed);
}

/// A connection that is blocked, until this is dropped.
#[must_use]
pub(super) struct Blocked(());

impl Blocked {
    pub(super) fn new() -> Self {
        lock().change(Instant::now(), 1);
        Self(())
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        lock().change(Instant::now(), -1);
    }
}

/// Adds up while connections are blocked.
#[derive(Debug)]
struct BlockedTime {
    before: Duration,
    connections: i32,
    /// When their number changed last.
    changed: Option<Instant>,
}

impl BlockedTime {
    const fn new() -> Self {
        Self { before: Duration::ZERO, connections: 0, changed: None }
    }

    fn at(&self, now: Instant) -> Duration {
        let since = self.changed.map_or(Duration::ZERO, |changed| now.duration_since(changed));
        self.before + since * self.connections.unsigned_abs()
    }

    fn change(&mut self, now: Instant, connections: i32) {
        self.before = self.at(now);
        self.connections += connections;
        self.changed = Some(now);
    }
}

/// Held for a moment only, and nothing panics meanwhile.
fn lock() -> MutexGuard<'static, BlockedTime> {
    BLOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_adds_up_for_each_connection_that_is_blocked() {
        let (mut time, begun) = (BlockedTime::new(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(time.at(at(5)), Duration::ZERO);
        time.change(at(10), 1);
        assert_eq!(time.at(at(12)), Duration::from_secs(2));
        time.change(at(13), 1);
        time.change(at(15), -1);
        time.change(at(16), -1);
        assert_eq!(time.at(at(100)), Duration::from_secs(3 + 2 * 2 + 1));
    }

    #[test]
    fn a_confirm_is_pending_until_somebody_lets_go_of_it() {
        // Other tests of this process may publish, so only what this one adds is known.
        let pending: Vec<_> = (0..1_000).map(|_| PendingConfirm::new()).collect();
        assert!(confirms_pending() >= 1_000);
        drop(pending);
        assert!(confirms_pending() < 1_000);
    }
}
