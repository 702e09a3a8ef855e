//! The sweeper: who gets what, and how much.

use std::collections::HashSet;
use std::sync::Arc;

use skein_shared::domain::state::NodeState;
use skein_shared::store::Store;
use skein_shared::store::recovery::{DueRange, SweepOptions};
use tokio::sync::Barrier;

use super::world::{SWEEP, World, deliver, token};

/// Six sweepers share 300 due rows and no row is returned twice.
pub async fn concurrent_sweeps_share_the_rows(store: Arc<dyn Store>) {
    const SWEEPERS: usize = 6;
    let world = World::new(store).await;
    let runs = world.accept_many(300, &["a"]).await;
    assert_eq!(world.store.make_due(&runs).await.unwrap(), 300);
    let barrier = Arc::new(Barrier::new(SWEEPERS));
    let mut sweepers = tokio::task::JoinSet::new();
    for _ in 0..SWEEPERS {
        let (world, barrier) = (world.clone(), Arc::clone(&barrier));
        sweepers.spawn(async move {
            let mut keys = Vec::new();
            barrier.wait().await;
            // A row that somebody else holds is skipped, so one empty sweep is no proof.
            let mut empty = 0;
            while empty < 3 {
                let sweep = world.store.sweep(SweepOptions { limit: 25, ..SWEEP }).await.unwrap();
                empty = if sweep.wake.is_empty() { empty + 1 } else { 0 };
                assert!(sweep.wake.len() <= 25);
                keys.extend(sweep.wake.into_iter().map(|wake| wake.key));
            }
            keys
        });
    }
    let swept: Vec<_> = sweepers.join_all().await.into_iter().flatten().collect();
    let distinct: HashSet<_> = swept.iter().map(|key| key.run).collect();
    assert_eq!((swept.len(), distinct.len()), (300, 300));
}

/// A sweep takes what is due longest, and says whether there is more.
pub async fn a_sweep_keeps_to_its_limit(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let early = world.accept_many(3, &["a"]).await;
    let late = world.accept_many(2, &["a"]).await;
    world.store.make_due(&early).await.unwrap();
    world.store.make_due(&late).await.unwrap();
    let limited = SweepOptions { limit: 3, ..SWEEP };
    let sweep = world.store.sweep(limited).await.unwrap();
    let runs: HashSet<_> = sweep.wake.iter().map(|wake| wake.key.run).collect();
    assert_eq!((runs, sweep.more), (early.into_iter().collect(), true));
    let sweep = world.store.sweep(limited).await.unwrap();
    assert_eq!((sweep.wake.len(), sweep.more), (2, false));
}

/// A dead path that nobody passed on is hinted at like a queued row.
pub async fn a_skipping_row_is_swept(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, deliver(&a, token("join", 1, false))).await;
    let wake = world.sweep(run).await.wake.remove(0);
    assert_eq!(&*wake.key.node, "join");
    assert_eq!(world.state(run, "join").await, Some(NodeState::Skipping));
}

/// What waits in a run that is to end is cancelled by whoever comes upon it.
pub async fn a_sweep_cancels_the_rows_of_a_run_that_is_to_end(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    world.store.request_cancel(&world.tenant, run).await.unwrap();
    let sweep = world.sweep(run).await;
    assert_eq!((sweep.wake.len(), sweep.deferred), (0, 2));
    assert_eq!(sweep.over, [run], "it may end now");
    assert_eq!(world.state(run, "a").await, Some(NodeState::Cancelled));
    let other = world.accept(&["a"]).await;
    assert_eq!(world.sweep(other).await.over, []);
}

/// A run that cannot end yet is rechecked, later.
pub async fn a_run_to_finish_is_deferred(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let runs = world.accept_many(3, &["a"]).await;
    for run in &runs[..2] {
        world.store.request_cancel(&world.tenant, *run).await.unwrap();
    }
    assert_eq!(
        world.store.due_runs(1, DueRange::ALL).await.unwrap().over,
        [runs[0]],
        "the oldest wish first"
    );
    assert_eq!(world.store.due_runs(10, DueRange::ALL).await.unwrap().over, [runs[1]]);
    assert_eq!(world.store.due_runs(10, DueRange::ALL).await.unwrap().over, []);
}

/// A blocked join waits for tokens, not for time.
pub async fn a_blocked_join_is_not_swept(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, deliver(&a, token("join", 2, true))).await;
    assert_eq!(world.store.make_due(&[run]).await.unwrap(), 0);
    assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake, []);
    assert_eq!(world.state(run, "join").await, Some(NodeState::Blocked));
}

/// Only the rows of the runs that were named are made due.
pub async fn making_due_touches_the_named_runs_only(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let runs = world.accept_many(3, &["a", "b"]).await;
    assert_eq!(world.store.make_due(&runs[..1]).await.unwrap(), 2);
    assert_eq!(world.store.make_due(&[]).await.unwrap(), 0);
    let sweep = world.store.sweep(SWEEP).await.unwrap();
    assert_eq!(sweep.wake.len(), 2);
    assert!(sweep.wake.iter().all(|wake| wake.key.run == runs[0]));
}
