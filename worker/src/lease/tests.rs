//! How a lease keeps time, what is held under it, and what its heartbeats say.

use async_trait::async_trait;
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::run::AbandonedAttempt;
use skein_shared::store::StoreError;
use skein_shared::store::engine::{
    Claim, ClaimRequest, Commit, CommitFrom, Committed, ReadRequest, RunChange, Upstream,
};
use skein_shared::telemetry::new_span_id;
use tokio_util::task::TaskTracker;

use super::*;
use crate::batchers::Batchers;
use crate::steps::test_doubles::NoSteps;
use skein_shared::store::StepStore;

fn lease() -> Arc<Lease> {
    Arc::new(Lease::new(LeaseId::generate(), LeaseTiming::default(), 2, Instant::now()))
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

/// A store that hears heartbeats, counts how often strays are looked for, and answers nothing else, or refuses it.
#[derive(Default)]
struct Listener {
    answers_beats_only: bool,
    checked: AtomicU64,
    /// How many slots were in use, by the last heartbeat.
    busy: AtomicU64,
}

#[async_trait]
impl EngineStore for Listener {
    async fn open_lease(&self, _: &NewLease) -> Result<(), StoreError> {
        Ok(())
    }

    async fn heartbeat(&self, _: LeaseId, busy: u32) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.busy.store(busy.into(), Ordering::Relaxed);
        Ok(Some(DateTime::UNIX_EPOCH))
    }

    async fn runs_over(&self, _: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        if self.answers_beats_only {
            std::future::pending::<()>().await;
        }
        Ok(Vec::new())
    }

    async fn release_strays(
        &self,
        _: LeaseId,
        _: &[ActivationKey],
        _: DateTime<Utc>,
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        self.checked.fetch_add(1, Ordering::Relaxed);
        Ok(Vec::new())
    }

    async fn close_lease(
        &self,
        _: LeaseId,
        _: &[ActivationKey],
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        Ok(Vec::new())
    }

    async fn claim(
        &self,
        _: LeaseId,
        _: bool,
        _: &[ClaimRequest],
    ) -> Result<Vec<Claim>, StoreError> {
        Err(StoreError::Corrupt("lost".to_owned()))
    }

    async fn read_upstream(&self, _: &[ReadRequest]) -> Result<Vec<Vec<Upstream>>, StoreError> {
        Err(StoreError::Corrupt("lost".to_owned()))
    }

    async fn commit(&self, _: LeaseId, _: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        Err(StoreError::Corrupt("lost".to_owned()))
    }
}

/// Lets a lease beat for so long, and returns how often strays were looked for meanwhile.
async fn beat(lease: &Arc<Lease>, store: &Arc<Listener>, time: Duration) -> u64 {
    let (before, stop) = (store.checked.load(Ordering::Relaxed), CancellationToken::new());
    let keeping = tokio::spawn(Arc::clone(lease).keep(store.clone(), stop.clone()));
    tokio::time::sleep(time).await;
    stop.cancel();
    keeping.await.unwrap();
    store.checked.load(Ordering::Relaxed) - before
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_was_heard_counts_whatever_comes_of_what_follows() {
    let lease = lease();
    let store = Arc::new(Listener { answers_beats_only: true, ..Listener::default() });
    let _held = lease.hold(&ActivationKey::root(RunId::generate(), "a"));
    beat(&lease, &store, lease.timing.ttl * 3).await;
    assert!(!lease.is_fenced());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_tells_how_many_slots_are_in_use() {
    let (lease, store) = (lease(), Arc::new(Listener::default()));
    let told = async || {
        beat(&lease, &store, lease.timing.heartbeat() * 2).await;
        store.busy.load(Ordering::Relaxed)
    };
    assert_eq!(told().await, 0);
    let hold = |node: &str| lease.hold(&ActivationKey::root(RunId::generate(), node));
    let one = hold("a");
    assert_eq!(told().await, 1);
    // One waits here for a slot.
    let _others = [hold("b"), hold("c")];
    assert_eq!(told().await, 2);
    drop(one);
    assert_eq!(told().await, 2);
}

#[tokio::test(start_paused = true)]
async fn strays_are_looked_for_after_a_call_that_failed_and_rarely_besides() {
    let (lease, store) = (lease(), Arc::new(Listener::default()));
    let ttl = lease.timing.ttl;
    let minutes = beat(&lease, &store, Duration::from_secs(600)).await;
    assert!((8..=10).contains(&minutes), "{minutes}");
    let engine_store: Arc<dyn EngineStore> = store.clone();
    let step_store: Arc<dyn StepStore> = Arc::new(NoSteps);
    let batchers = Batchers::start(&TaskTracker::new(), &engine_store, &step_store, &lease);
    let key = ActivationKey::root(RunId::generate(), "a");
    let claim = ClaimRequest { key: key.clone(), span: new_span_id() };
    assert!(batchers.claims.submit(claim).await.is_err());
    let checked = beat(&lease, &store, ttl).await;
    assert!(checked >= 5, "at each heartbeat, as it may have come late: {checked}");
    assert!(beat(&lease, &store, ttl).await <= 1);
    let from = CommitFrom::Running { claim: 1 };
    let commit = Commit {
        key,
        from,
        outcome: Arc::new(AttemptOutcome::Cancelled),
        rows: Vec::new(),
        tokens: Vec::new(),
        run: RunChange::None,
        events: Vec::new(),
    };
    assert!(batchers.commits.submit(commit).await.is_err());
    assert!(beat(&lease, &store, ttl).await >= 5);
}
