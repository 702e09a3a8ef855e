//! One life of this worker: its fencing token, its heartbeat, what it holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use skein_shared::abandoned::export_abandoned;
use skein_shared::domain::ids::{ActivationKey, LeaseId, RunId};
use skein_shared::host;
use skein_shared::store::engine::{EngineStore, NewLease};
use skein_shared::telemetry::ClockQuestion;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How much older than the heartbeat before it a claim must be to be taken for a stray. It need not be, by one clock; a
/// database that fails over has two.
const STRAY_AGE: Duration = Duration::from_secs(10);
/// How often strays are looked for with no reason to think that there are any.
const STRAYS_PAUSE: Duration = Duration::from_secs(60);

/// How a lease keeps time. All processes may differ: each lease's row says its own TTL.
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
    /// Activations that the worker runs at a time.
    slots: u32,
    seen: Mutex<Instant>,
    held: Mutex<HashMap<u64, (ActivationKey, CancellationToken)>>,
    /// What was let go of after its effect had begun and before its end was committed.
    begun: Mutex<HashSet<ActivationKey>>,
    holds: AtomicU64,
    strays: Mutex<Strays>,
    lost: CancellationToken,
    abandoned: AtomicBool,
}

/// When to look for strays: rows that are running under the lease without this worker knowing.
#[derive(Debug)]
struct Strays {
    /// Until when there may be new ones, for all that is known here.
    expected_until: Instant,
    /// When they were looked for last.
    checked: Instant,
}

impl Lease {
    fn new(id: LeaseId, timing: LeaseTiming, slots: u32, seen: Instant) -> Self {
        Self {
            id,
            timing,
            slots,
            seen: Mutex::new(seen),
            held: Mutex::default(),
            begun: Mutex::default(),
            holds: AtomicU64::new(0),
            strays: Mutex::new(Strays { expected_until: seen, checked: seen }),
            lost: CancellationToken::new(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Opens a lease for a worker with so many slots, however long the store takes to answer; `None` if `shutdown` comes
    /// first.
    pub(crate) async fn open(
        store: &dyn EngineStore,
        timing: LeaseTiming,
        slots: usize,
        shutdown: &CancellationToken,
    ) -> Option<Arc<Self>> {
        let (id, slots) = (LeaseId::generate(), u32::try_from(slots).unwrap_or(u32::MAX));
        let new = NewLease {
            id,
            host: host::name().unwrap_or_else(|| "unknown".to_owned()),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            slots,
            ttl: timing.ttl,
        };
        let mut pause = Duration::from_millis(100);
        loop {
            let asked = Instant::now();
            match store.open_lease(&new).await {
                Ok(()) => {
                    tracing::info!(lease = %id, "lease opened");
                    return Some(Arc::new(Self::new(id, timing, slots, asked)));
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

    /// Notes that a row may be running under this lease of which nobody here knows: the reply to a call is lost, or
    /// what was in hand was let go of without its end. It may come to be later than this: the call may be on its way.
    pub(crate) fn expect_strays(&self) {
        lock(&self.strays).expected_until = Instant::now() + self.timing.ttl;
    }

    fn is_to_look_for_strays(&self) -> bool {
        let strays = lock(&self.strays);
        Instant::now() < strays.expected_until || strays.checked.elapsed() >= STRAYS_PAUSE
    }

    /// Makes everything that is held stop without writing anything: the lease's end gives it back.
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

    /// What a heartbeat says is held.
    pub(crate) fn held(&self) -> HashSet<ActivationKey> {
        lock(&self.held).values().map(|(key, _)| key.clone()).collect()
    }

    /// How many activations are held.
    pub(crate) fn held_count(&self) -> usize {
        lock(&self.held).len()
    }

    /// Slots that are in use, for people. What waits here for a slot is held as well.
    fn busy(&self) -> u32 {
        u32::try_from(self.held_count()).unwrap_or(u32::MAX).min(self.slots)
    }

    /// Beats until `stop`, or until the lease is lost.
    pub(crate) async fn keep(
        self: Arc<Self>,
        store: Arc<dyn EngineStore>,
        stop: CancellationToken,
    ) {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
            let until = *lock(&self.seen) + self.timing.fence();
            let (asked, clock) = (Instant::now(), ClockQuestion::ask());
            let heard = tokio::time::timeout_at(until, store.heartbeat(self.id, self.busy())).await;
            match heard {
                Ok(Ok(Some(heard))) => {
                    clock.answered(heard);
                    *lock(&self.seen) = asked;
                    // Whatever stands in the way of that, the lease lives, and the next heartbeat is not late.
                    next = Instant::now() + self.timing.heartbeat();
                    let checking = self.check_held(&*store, heard);
                    if tokio::time::timeout_at(next, checking).await.is_err() {
                        tracing::warn!("no time to look after what is held");
                    }
                }
                Ok(Err(error)) if !self.is_fenced() => {
                    tracing::warn!(%error, "the heartbeat failed");
                    next = Instant::now() + self.timing.repeat();
                }
                Ok(_) | Err(_) => {
                    tracing::error!(lease = %self.id, "lease lost: stopping all work under it");
                    self.lost.cancel();
                    return;
                }
            }
        }
    }

    /// Stops the work of runs that are to end, and gives back what the lease holds without anybody here knowing.
    /// `heard` is when the last heartbeat was, by the store's clock.
    async fn check_held(&self, store: &dyn EngineStore, heard: DateTime<Utc>) {
        let runs: HashSet<_> = self.held().into_iter().map(|key| key.run).collect();
        if !runs.is_empty() {
            let runs: Vec<_> = runs.into_iter().collect();
            match store.runs_over(&runs).await {
                Ok(over) => self.cancel_runs(&over),
                Err(error) => tracing::warn!(%error, "could not ask which runs are to end"),
            }
        }
        if self.is_to_look_for_strays() {
            let held: Vec<_> = self.held().into_iter().collect();
            match store.release_strays(self.id, &held, heard - STRAY_AGE).await {
                Ok(released) => {
                    lock(&self.strays).checked = Instant::now();
                    if !released.is_empty() {
                        let rows = released.len();
                        tracing::warn!(rows, "released rows whose claim was never confirmed");
                    }
                    released.iter().for_each(export_abandoned);
                }
                Err(error) => tracing::warn!(%error, "could not look for strays"),
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

#[cfg(test)]
mod tests;
