//! One life of this worker: its fencing token, its heartbeat, what it holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use skein_shared::domain::ids::{ActivationKey, LeaseId, RunId};
use skein_shared::store::engine::{EngineStore, NewLease};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How a lease keeps time. All processes may differ: each lease's row tells its own TTL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTiming {
    /// Without a heartbeat for this long, others take the work back.
    pub ttl: Duration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(30) }
    }
}

impl LeaseTiming {
    /// The pause between heartbeats: six chances before the lease is dead.
    #[must_use]
    pub fn heartbeat(self) -> Duration {
        self.ttl / 6
    }

    /// The pause before a heartbeat that failed is repeated. Where every connection to the store has gone at
    /// once, each try finds out about one of them.
    #[must_use]
    pub fn repeat(self) -> Duration {
        self.ttl / 30
    }

    /// When the worker fences itself, on its own monotonic clock: a third of the TTL before anybody
    /// else may take its work, so that a slow statement is over by then.
    #[must_use]
    pub fn fence(self) -> Duration {
        self.ttl * 2 / 3
    }
}

/// A lease and what is held under it.
#[derive(Debug)]
pub(crate) struct Lease {
    id: LeaseId,
    timing: LeaseTiming,
    seen: Mutex<Instant>,
    held: Mutex<HashMap<u64, (ActivationKey, CancellationToken)>>,
    /// What was let go of after its effect had begun and before its end was committed.
    begun: Mutex<HashSet<ActivationKey>>,
    holds: AtomicU64,
    lost: CancellationToken,
    abandoned: AtomicBool,
}

impl Lease {
    /// Opens a lease, however long the store takes to answer; `None` if `shutdown` comes first.
    pub(crate) async fn open(
        store: &dyn EngineStore,
        timing: LeaseTiming,
        shutdown: &CancellationToken,
    ) -> Option<Arc<Self>> {
        let id = LeaseId::generate();
        let new = NewLease {
            id,
            host: host_name(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            ttl: timing.ttl,
        };
        let mut pause = Duration::from_millis(100);
        loop {
            let asked = Instant::now();
            match store.open_lease(&new).await {
                Ok(()) => {
                    tracing::info!(lease = %id, "lease opened");
                    return Some(Arc::new(Self {
                        id,
                        timing,
                        seen: Mutex::new(asked),
                        held: Mutex::default(),
                        begun: Mutex::default(),
                        holds: AtomicU64::new(0),
                        lost: CancellationToken::new(),
                        abandoned: AtomicBool::new(false),
                    }));
                }
                Err(error) => tracing::warn!(%error, "no lease yet"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    pub(crate) fn id(&self) -> LeaseId {
        self.id
    }

    /// Cancelled when the lease is lost: everything under it belongs to others.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether it is too late to start a statement under this lease.
    pub(crate) fn is_fenced(&self) -> bool {
        self.lost.is_cancelled() || lock(&self.seen).elapsed() >= self.timing.fence()
    }

    /// Registers an activation that is held or about to be asked for.
    ///
    /// The same one may be registered more than once. A message can arrive between the commit that parked
    /// an activation and the moment at which its task lets go of it, and that message must not be lost:
    /// who may work on it is for the store to say.
    pub(crate) fn hold(self: &Arc<Self>, key: &ActivationKey) -> Held {
        let number = self.holds.fetch_add(1, Ordering::Relaxed);
        let cancelled = self.lost.child_token();
        lock(&self.held).insert(number, (key.clone(), cancelled.clone()));
        Held { lease: Arc::clone(self), number, cancelled, has_begun: false }
    }

    /// Tells everything that is held to stop without writing anything: the lease's end gives it back.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        for (_, cancelled) in lock(&self.held).values() {
            cancelled.cancel();
        }
    }

    /// What it is to be closed with.
    pub(crate) fn begun(&self) -> Vec<ActivationKey> {
        lock(&self.begun).iter().cloned().collect()
    }

    /// Whether results are void: the lease is lost, or its work is being given back.
    pub(crate) fn is_void(&self) -> bool {
        self.lost.is_cancelled() || self.abandoned.load(Ordering::Relaxed)
    }

    /// Whether its work is being given back, by a worker that still owns it.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed) && !self.lost.is_cancelled()
    }

    /// What a heartbeat says is held.
    pub(crate) fn held(&self) -> HashSet<ActivationKey> {
        lock(&self.held).values().map(|(key, _)| key.clone()).collect()
    }

    /// How many activations are held.
    pub(crate) fn held_count(&self) -> usize {
        lock(&self.held).len()
    }

    /// Beats until `stop`, or until the lease is lost.
    pub(crate) async fn keep(
        self: Arc<Self>,
        store: Arc<dyn EngineStore>,
        stop: CancellationToken,
    ) {
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let until = *lock(&self.seen) + self.timing.fence();
            pause = match tokio::time::timeout_at(until, self.beat(&*store)).await {
                Ok(true) if !self.is_fenced() => self.timing.heartbeat(),
                Ok(false) if !self.is_fenced() => self.timing.repeat(),
                _ => {
                    tracing::error!(lease = %self.id, "lease lost: stopping all work under it");
                    self.lost.cancel();
                    return;
                }
            };
        }
    }

    /// Beats once; whether the store has heard it.
    async fn beat(&self, store: &dyn EngineStore) -> bool {
        let keys: Vec<_> = self.held().into_iter().collect();
        let asked = Instant::now();
        match store.heartbeat(self.id, &keys).await {
            Ok(beat) if beat.alive => {
                *lock(&self.seen) = asked;
                if beat.released > 0 {
                    tracing::warn!(
                        rows = beat.released,
                        "released rows whose claim was never confirmed"
                    );
                }
                self.cancel_runs(&beat.cancelled);
                true
            }
            Ok(_) => {
                self.lost.cancel();
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the heartbeat failed");
                false
            }
        }
    }

    fn cancel_runs(&self, runs: &[RunId]) {
        for (key, cancelled) in lock(&self.held).values() {
            if runs.contains(&key.run) {
                cancelled.cancel();
            }
        }
    }
}

/// An activation that is held; let go of when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    lease: Arc<Lease>,
    number: u64,
    cancelled: CancellationToken,
    has_begun: bool,
}

impl Held {
    /// Notes that the effect of the activation begins.
    pub(crate) fn begin(&mut self) {
        self.has_begun = true;
    }

    /// Lets go of an activation whose end is committed.
    pub(crate) fn settled(mut self) {
        self.has_begun = false;
    }

    /// Cancelled when the run is, or the lease is lost.
    pub(crate) fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = lock(&self.lease.held);
        if !self.has_begun {
            held.remove(&self.number);
            return;
        }
        // It stays held: a row that is given back while the lease lives is taken for untouched. The end of the lease
        // says better, and so does the reaper once its deadline has passed.
        if let Some((key, _)) = held.get(&self.number) {
            lock(&self.lease.begun).insert(key.clone());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Arc<Lease> {
        Arc::new(Lease {
            id: LeaseId::generate(),
            timing: LeaseTiming::default(),
            seen: Mutex::new(Instant::now()),
            held: Mutex::default(),
            begun: Mutex::default(),
            holds: AtomicU64::new(0),
            lost: CancellationToken::new(),
            abandoned: AtomicBool::new(false),
        })
    }

    #[test]
    fn a_hold_outlives_an_earlier_one_of_the_same_activation() {
        let lease = lease();
        let key = ActivationKey::root(RunId::generate(), "a");
        let earlier = lease.hold(&key);
        let later = lease.hold(&key);
        drop(earlier);
        assert_eq!(lease.held_count(), 1);
        lease.cancel_runs(&[RunId::generate()]);
        assert!(!later.cancelled().is_cancelled());
        lease.cancel_runs(&[key.run]);
        assert!(later.cancelled().is_cancelled() && !lease.is_void());
        drop(later);
        assert_eq!(lease.held_count(), 0);
    }

    #[test]
    fn a_lost_lease_stops_what_is_held_and_what_is_held_later() {
        let lease = lease();
        let held = lease.hold(&ActivationKey::root(RunId::generate(), "a"));
        assert!(!lease.is_fenced());
        lease.lost().cancel();
        assert!(lease.is_fenced() && lease.is_void() && held.cancelled().is_cancelled());
        let later = lease.hold(&ActivationKey::root(RunId::generate(), "b"));
        assert!(later.cancelled().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_fences_itself_well_before_its_lease_dies() {
        let lease = lease();
        let timing = LeaseTiming::default();
        tokio::time::advance(timing.fence() - Duration::from_millis(1)).await;
        assert!(!lease.is_fenced());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(lease.is_fenced() && timing.fence() < timing.ttl);
    }
}
