//! When the next sweep is due.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Timers of its own that a process keeps in mind, the nearest ones: 16 bytes each. The store knows the others.
const OWN_MAX: usize = 4_096;
/// How long after a timer of the store a sweep is due: at least, and the jitter on top. Its own process
/// comes first, to the millisecond; of the others, one is enough should that one be gone.
const OTHERS_LATER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(200));

/// Reports to the sweeper a timer that this process has just set, so that it is kept to the millisecond.
#[derive(Debug, Clone, Default)]
pub struct Timers {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// What this process has set.
    own: BTreeSet<Instant>,
    /// What the store returned: the next timer, whoever set it.
    others: Option<Instant>,
}

impl Known {
    fn next(&self) -> Option<Instant> {
        self.own.first().copied().into_iter().chain(self.others).min()
    }
}

impl Timers {
    /// Something is due after `delay`.
    pub fn due_in(&self, delay: Duration) {
        // Further than a clock can count is as good as never.
        let Some(at) = Instant::now().checked_add(delay) else { return };
        let mut known = self.lock();
        let is_next = known.next().is_none_or(|next| at < next);
        known.own.insert(at);
        if known.own.len() > OWN_MAX {
            known.own.pop_last();
        }
        drop(known);
        if is_next {
            self.shared.changed.notify_one();
        }
    }

    /// A sweep starts, and finds what is due.
    pub(super) fn sweep_starts(&self) {
        let now = Instant::now();
        let mut known = self.lock();
        known.own.retain(|at| *at > now);
        known.others = None;
    }

    /// The store says that something is due after `delay`.
    pub(super) fn next_in_store(&self, delay: Option<Duration>) {
        let (least, jitter) = OTHERS_LATER;
        let later = least + jitter.mul_f64(fastrand::f64());
        self.lock().others = delay.and_then(|delay| Instant::now().checked_add(delay + later));
    }

    /// Waits for the next timer, but not beyond `latest`, nor less long than until `earliest`.
    pub(super) async fn wait(&self, earliest: Instant, latest: Instant) {
        loop {
            let next = self.lock().next().map_or(latest, |next| next.min(latest));
            tokio::select! {
                () = tokio::time::sleep_until(next.max(earliest)) => return,
                () = self.shared.changed.notified() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
