//! Retries, waits, releases, and the sweeper that ends them.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, CallId};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::NodeState;
use skein_shared::store::Store;
use skein_shared::store::engine::{Claim, Commit, NewRow};
use skein_shared::store::recovery::{DueRange, SweepOptions};

use super::world::{PATIENCE, SWEEP, World, ended, kept, succeed};

const HOUR: Duration = Duration::from_secs(3600);

fn retry(delay: Duration) -> AttemptOutcome {
    AttemptOutcome::Retry {
        input: Some("[1]".to_owned()),
        error: Failure::new("timeout", "slow"),
        delay,
    }
}

fn wait(delay: Duration) -> AttemptOutcome {
    AttemptOutcome::Waiting { input: Some("[2]".to_owned()), waiting_for: WaitFor::Time(delay) }
}

/// A retry is queued when it is due and not before, and counts as a failed attempt.
pub async fn a_retry_is_queued_when_due(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    for round in 1..=3 {
        let claimed = world.won(lease, run, "a").await;
        assert_eq!((claimed.claim, claimed.attempt, claimed.failures), (round, round, round - 1));
        world.flip(lease, ended(&claimed, retry(HOUR), None)).await;
        let row = world.node(run, "a").await;
        assert_eq!((row.state, row.attempts), (NodeState::Retry, round));
        assert!(row.wake_at.unwrap() > row.started_at.unwrap() + HOUR / 2);
        assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake, []);
        let wakes = world.sweep(run).await.wake;
        assert_eq!(wakes.len(), 1);
        assert_eq!(wakes[0].key, ActivationKey::root(run, "a"));
        assert_eq!(world.state(run, "a").await, Some(NodeState::Queued));
        assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake, [], "it was deferred already");
    }
    let row = world.node(run, "a").await;
    let earlier: Vec<_> = row.earlier.iter().map(|a| (a.attempt, &*a.outcome)).collect();
    assert_eq!(earlier, [(1, "retry"), (2, "retry"), (3, "retry")]);
    for attempt in &row.earlier {
        assert_eq!(attempt.error, Some(Failure::new("timeout", "slow")));
        assert!(attempt.span.is_some() && attempt.started_at <= attempt.ended_at);
    }
    assert_eq!(row.input.as_deref(), Some("[1]"));
}

/// A retry becomes due by itself.
pub async fn time_alone_makes_a_retry_due(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let claimed = world.won(lease, run, "a").await;
    let delay = Duration::from_millis(400);
    let start = tokio::time::Instant::now();
    world.flip(lease, ended(&claimed, retry(delay), None)).await;
    let next = world.store.sweep(SWEEP).await.unwrap().next_due.unwrap();
    assert!(next <= delay, "{next:?}");
    loop {
        let sweep = world.store.sweep(SWEEP).await.unwrap();
        if sweep.wake.len() == 1 {
            break;
        }
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(sweep.next_due.unwrap_or_default()).await;
    }
    assert!(start.elapsed() >= delay);
}

/// A wait is no attempt, and says when it elapsed.
pub async fn a_wait_does_not_count_as_an_attempt(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let claimed = world.won(lease, run, "a").await;
    world.flip(lease, ended(&claimed, wait(HOUR), None)).await;
    let row = world.node(run, "a").await;
    assert_eq!((row.state, row.attempts), (NodeState::Waiting, 0));
    let until = row.wake_at.unwrap();
    assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake, []);
    assert_eq!(world.sweep(run).await.wake.len(), 1);
    let claimed = world.won(lease, run, "a").await;
    assert_eq!((claimed.claim, claimed.attempt, claimed.failures), (2, 1, 0));
    assert_eq!(claimed.waited_until, Some(until));
    // A crash or a shutdown after the wait does not make it wait again.
    world
        .flip(lease, ended(&claimed, AttemptOutcome::Deferred { delay: Duration::ZERO }, None))
        .await;
    let claimed = world.won(lease, run, "a").await;
    assert_eq!(claimed.waited_until, Some(until));
    world.flip(lease, succeed(&claimed)).await;
    let row = world.node(run, "a").await;
    let earlier: Vec<_> = row.earlier.iter().map(|a| &*a.outcome).collect();
    assert_eq!((row.attempts, earlier), (1, vec!["waiting", "released"]));
}

/// A pure node was inlined and asked for a wait: it is claimed for the first time when that is over.
pub async fn a_wait_of_an_inlined_node_elapses(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let state = AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) }.into();
    world.pass(lease, run, "a", vec![NewRow { state, ..kept("b") }]).await;
    let until = world.node(run, "b").await.wake_at.unwrap();
    assert_eq!(world.sweep(run).await.wake.len(), 1);
    let claimed = world.won(lease, run, "b").await;
    assert_eq!((claimed.claim, claimed.attempt, claimed.waited_until), (1, 1, Some(until)));
    // The claim's times replace those of the wait, which stay on record.
    let earlier = world.node(run, "b").await.earlier;
    assert_eq!((earlier.len(), &*earlier[0].outcome), (1, "waiting"));
    assert!(earlier[0].started_at < claimed.started_at);
}

/// What is given back untouched is due at once and counts as nothing.
pub async fn a_released_row_is_due_at_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let claimed = world.won(lease, run, "a").await;
    world
        .flip(lease, ended(&claimed, AttemptOutcome::Deferred { delay: Duration::ZERO }, None))
        .await;
    assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake.len(), 1);
    let claimed = world.won(lease, run, "a").await;
    assert_eq!((claimed.claim, claimed.attempt, claimed.failures), (2, 1, 0));
    assert_eq!((claimed.crashed, claimed.suspect, claimed.strikes), (false, false, 0));
    assert_eq!(world.node(run, "a").await.earlier[0].outcome, "released");
}

/// With the broker down, nothing that needs a message is touched; what was missed comes later.
pub async fn without_a_broker_rows_are_left_alone(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "c"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, ended(&a, retry(Duration::ZERO), None)).await;
    let b = world.won(lease, run, "b").await;
    world.flip(lease, ended(&b, wait(Duration::ZERO), None)).await;
    world.store.make_due(&[run]).await.unwrap();
    let down = SweepOptions { broker_up: false, ..SWEEP };
    for _ in 0..2 {
        let sweep = world.store.sweep(down).await.unwrap();
        assert_eq!((sweep.wake.len(), sweep.deferred), (0, 0));
    }
    assert_eq!(world.state(run, "a").await, Some(NodeState::Retry));
    assert_eq!(world.state(run, "b").await, Some(NodeState::Waiting));
    assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake.len(), 3);
    // Ending a run needs no broker: its rows are found from it.
    world.store.make_due(&[run]).await.unwrap();
    world.store.request_cancel(&world.tenant, run).await.unwrap();
    let sweep = world.store.sweep(down).await.unwrap();
    assert_eq!((sweep.wake.len(), sweep.deferred), (0, 0));
    assert_eq!(world.store.due_runs(500, DueRange::ALL).await.unwrap().over, [run]);
    assert_eq!(world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.len(), 1);
    assert_eq!(world.state(run, "a").await, Some(NodeState::Cancelled));
}

/// With a deep queue, rows that wait in it are not sent again; what became due is.
pub async fn a_deep_queue_puts_queued_rows_off(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let closing = world.lease().await;
    let run = world.accept(&["queued", "retry", "given_back"]).await;
    world.won(closing, run, "given_back").await;
    world.store.close_lease(closing, &[]).await.unwrap();
    let claimed = world.won(lease, run, "retry").await;
    world.flip(lease, ended(&claimed, retry(HOUR), None)).await;
    world.store.make_due(&[run]).await.unwrap();
    let deep = SweepOptions { queue_deep: true, ..SWEEP };
    let sweep = world.store.sweep(deep).await.unwrap();
    let mut nodes: Vec<_> = sweep.wake.iter().map(|wake| &*wake.key.node).collect();
    nodes.sort_unstable();
    // The message of a row that was given back has been taken: none is in the queue.
    assert_eq!((nodes, sweep.deferred), (vec!["given_back", "retry"], 1));
    assert!(sweep.wake.iter().all(|wake| !wake.was_published), "{:#?}", sweep.wake);
    world.store.make_due(&[run]).await.unwrap();
    let sweep = world.store.sweep(deep).await.unwrap();
    assert_eq!((sweep.wake.len(), sweep.deferred), (0, 3), "now all have one");
    let sweep = world.store.sweep(SWEEP).await.unwrap();
    assert_eq!((sweep.wake.len(), sweep.deferred), (0, 0), "both were deferred");
    world.store.make_due(&[run]).await.unwrap();
    let wake = world.store.sweep(SWEEP).await.unwrap().wake;
    assert_eq!(wake.len(), 3);
    assert!(wake.iter().all(|wake| wake.was_published), "nobody came for theirs: {wake:#?}");
}

/// That a message was handed over does not say that it has arrived. So beside a deep queue as well a row is published
/// that nobody takes, and ever more rarely: a backlog that is there for long is not copied with every sweep.
pub async fn a_deep_queue_does_not_hide_a_lost_message(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a"]).await;
    let deep = SweepOptions { queue_deep: true, ..SWEEP };
    let sweep_once = async || {
        world.store.make_due(&[run]).await.unwrap();
        world.store.sweep(deep).await.unwrap().wake.len()
    };
    for expected in [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0] {
        assert_eq!(sweep_once().await, expected);
    }
    assert_eq!(world.sweep(run).await.wake.len(), 1, "the queue is not deep any more");
    // What is given back has no message, however often it was swept before.
    let claimed = world.won(lease, run, "a").await;
    world.flip(lease, ended(&claimed, AttemptOutcome::Deferred { delay: HOUR }, None)).await;
    for expected in [1, 0, 0, 1] {
        assert_eq!(sweep_once().await, expected);
    }
}

/// A row that nobody takes is hinted at ever more rarely; a claim starts that over.
pub async fn a_claim_does_not_wait_for_the_sweeper(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    for _ in 0..20 {
        assert_eq!(world.sweep(run).await.wake.len(), 1);
    }
    let claimed = world.won(lease, run, "a").await;
    let again = world.claim(lease, &claimed.key).await;
    assert!(matches!(again, Claim::Missed));
    assert_eq!(world.sweep(run).await.wake, [], "running rows are their owner's");
    world.flip(lease, Commit { rows: Vec::new(), ..succeed(&claimed) }).await;
    assert_eq!(world.store.make_due(&[run]).await.unwrap(), 0, "nothing waits any more");
}
