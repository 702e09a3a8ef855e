//! Claiming rows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, LeaseId};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::Store;
use skein_shared::store::engine::{Claim, ClaimRequest, Commit};
use skein_shared::store::recovery::ReapScope;
use skein_shared::store::runs::NewRun;
use tokio::sync::Barrier;

use super::world::{World, deliver, ended, span, succeed, token, words};

/// Eight workers ask for the same 200 rows at the same moment.
pub async fn many_workers_win_each_row_once(store: Arc<dyn Store>) {
    const WORKERS: usize = 8;
    let world = World::new(store).await;
    let runs = world.accept_many(200, &["a"]).await;
    let barrier = Arc::new(Barrier::new(WORKERS));
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let (world, barrier, mut runs) = (world.clone(), Arc::clone(&barrier), runs.clone());
        // Half of them ask in the other order, so that a statement that locks in the order of the
        // request deadlocks.
        if worker % 2 == 1 {
            runs.reverse();
        }
        workers.spawn(async move {
            let lease = world.lease().await;
            let request =
                |run: &_| ClaimRequest { key: ActivationKey::root(*run, "a"), span: span() };
            let batch: Vec<_> = runs.iter().map(request).collect();
            barrier.wait().await;
            let claims = world.store.claim(lease, false, &batch).await.unwrap();
            let won = runs.into_iter().zip(claims);
            won.filter_map(|(run, claim)| match claim {
                Claim::Won(claimed) => Some((run, claimed.started_run)),
                Claim::Missed => None,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
        });
    }
    let mut wins: HashMap<_, u32> = HashMap::new();
    for (run, started_run) in workers.join_all().await.into_iter().flatten() {
        assert!(started_run);
        *wins.entry(run).or_default() += 1;
    }
    assert!(runs.iter().all(|run| wins.get(run) == Some(&1)), "{wins:?}");
}

/// Everything that an executor needs comes with the claim.
pub async fn a_claim_brings_its_run_along(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = NewRun { input: r#"{"n": 1}"#.to_owned(), ..world.run_of(&["a"]) };
    world.store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
    let claimed = world.won(world.lease().await, run.id, "a").await;
    assert_eq!((claimed.claim, claimed.attempt, claimed.failures, claimed.strikes), (1, 1, 0, 0));
    assert_eq!((claimed.crashed, claimed.suspect, claimed.waited_until), (false, false, None));
    assert_eq!(claimed.publish_span, run.entries[0].publish_span);
    assert!(claimed.queued_at <= claimed.started_at && claimed.started_run);
    let header = claimed.run;
    assert_eq!(
        (header.id, &header.identity, &*header.input),
        (run.id, &world.tenant, r#"{"n": 1}"#)
    );
    assert_eq!(
        (header.version_id, &*header.workflow, header.version),
        (world.version, World::WORKFLOW, 1)
    );
    assert_eq!((header.trace, header.node_count, header.edge_count), (run.trace, 3, 2));
    let detail = world.detail(run.id).await;
    assert_eq!(detail.summary.state, RunState::Running);
    assert_eq!(detail.summary.started_at, Some(claimed.started_at));
    assert_eq!(detail.nodes[0].state, NodeState::Running);
    assert_eq!(detail.nodes[0].started_at, Some(claimed.started_at));
}

/// The run starts with the first claim of it, also when two of its nodes are claimed at once.
pub async fn a_run_starts_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "c"]).await;
    let lease = world.lease().await;
    let request = |node| ClaimRequest { key: ActivationKey::root(run, node), span: span() };
    let claims = world.store.claim(lease, false, &[request("b"), request("a")]).await.unwrap();
    let mut started = 0;
    let mut commits = Vec::new();
    for claim in claims {
        let Claim::Won(claimed) = claim else { panic!("{claim:?}") };
        started += u32::from(claimed.started_run);
        assert!(claimed.clock.now() >= claimed.started_at, "{claimed:?}");
        commits.push(succeed(&claimed));
    }
    assert_eq!(started, 1, "the claims that say that they started the run");
    let last = world.won(lease, run, "c").await;
    assert!(!last.started_run);
    commits.push(succeed(&last));
    world.store.commit(lease, &commits).await.unwrap();
    let log = world.cancel_and_log(run).await;
    let expected = ["run.accepted", "run.started", "node.started", "node.started", "node.started"];
    assert_eq!(words(&log)[..5], expected);
    assert_eq!(words(&log).iter().filter(|word| **word == "run.started").count(), 1);
}

/// What is not `queued` cannot be claimed, and asking does not change it.
pub async fn only_queued_rows_are_won(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "retried", "waits", "done", "other"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, deliver(&a, token("join", 2, true))).await;
    let error = Failure::new("timeout", "too slow");
    let hour = Duration::from_secs(3600);
    let retry = AttemptOutcome::Retry { input: None, error, delay: hour };
    let retried = world.won(lease, run, "retried").await;
    world.flip(lease, ended(&retried, retry, None)).await;
    let waits = world.won(lease, run, "waits").await;
    world
        .flip(
            lease,
            ended(
                &waits,
                AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(hour) },
                None,
            ),
        )
        .await;
    world.pass(lease, run, "done", Vec::new()).await;
    world.won(lease, run, "other").await;
    for (node, state) in [
        ("join", NodeState::Blocked),
        ("retried", NodeState::Retry),
        ("waits", NodeState::Waiting),
        ("done", NodeState::Succeeded),
        ("other", NodeState::Running),
    ] {
        for asking in [lease, world.lease().await] {
            let claim = world.claim(asking, &ActivationKey::root(run, node)).await;
            assert!(matches!(claim, Claim::Missed), "{node}: {claim:?}");
            assert_eq!(world.state(run, node).await, Some(state));
        }
    }
    let nowhere = world.claim(lease, &ActivationKey::root(run, "nowhere")).await;
    assert!(matches!(nowhere, Claim::Missed));
}

/// A claim whose reply got lost is repeated, with the same spans.
pub async fn a_repeated_claim_wins_again_without_growing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let runs = world.accept_many(3, &["a"]).await;
    let lease = world.lease().await;
    let request = |run: &_| ClaimRequest { key: ActivationKey::root(*run, "a"), span: span() };
    let batch: Vec<_> = runs.iter().map(request).collect();
    world.store.claim(lease, false, &batch).await.unwrap();
    for claim in world.store.claim(lease, false, &batch).await.unwrap() {
        let Claim::Won(claimed) = claim else { panic!("{claim:?}") };
        assert_eq!((claimed.claim, claimed.attempt), (1, 1));
        world.flip(lease, succeed(&claimed)).await;
    }
    let other = world.store.claim(world.lease().await, false, &batch).await.unwrap();
    assert!(other.iter().all(|claim| matches!(claim, Claim::Missed)));
    let log = world.cancel_and_log(runs[0]).await;
    assert_eq!(words(&log).iter().filter(|word| **word == "node.started").count(), 1);
}

/// The same worker asks twice, as a doubled message makes it: the span differs, and the row is taken.
pub async fn a_doubled_message_wins_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    world.won(lease, run, "a").await;
    let again = world.claim(lease, &ActivationKey::root(run, "a")).await;
    assert!(matches!(again, Claim::Missed), "{again:?}");
}

/// A cancelled run takes no new work.
pub async fn a_claim_in_a_cancelled_run_cancels_the_row(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    let lease = world.lease().await;
    let b = world.won(lease, run, "b").await;
    world.store.request_cancel(&world.tenant, run).await.unwrap();
    let claim = world.claim(lease, &ActivationKey::root(run, "a")).await;
    assert!(matches!(claim, Claim::Cancelled), "{claim:?}");
    let a = world.node(run, "a").await;
    assert_eq!((a.state, a.attempts), (NodeState::Cancelled, 0));
    assert!(a.ended_at.is_some());
    let claim = world.claim(lease, &ActivationKey::root(run, "a")).await;
    assert!(matches!(claim, Claim::Missed), "{claim:?}");
    assert_eq!(world.state(run, "b").await, Some(NodeState::Running), "owned work is its owner's");
    world.flip(lease, ended(&b, AttemptOutcome::Cancelled, Some("node.cancelled"))).await;
    let log = world.cancel_and_log(run).await;
    assert_eq!(words(&log).iter().filter(|word| **word == "node.cancelled").count(), 2);
    assert_eq!(words(&log).last(), Some(&"run.cancelled"));
}

/// Every claim of a row has a greater number than the one before, whoever makes it.
pub async fn claim_numbers_only_grow(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    for expected in 1..=5 {
        let lease = world.lease().await;
        let claimed = world.won(lease, run, "a").await;
        assert_eq!(claimed.claim, expected);
        world
            .flip(lease, ended(&claimed, AttemptOutcome::Deferred { delay: Duration::ZERO }, None))
            .await;
    }
}

/// A claim that arrives after its worker was declared dead, or had stopped, wins nothing and changes nothing.
pub async fn a_claim_under_a_lease_that_does_not_live_misses(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, Commit { tokens: vec![token("join", 1, false)], ..succeed(&a) }).await;
    let dead = world.lease_for(Duration::from_millis(1)).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    world.store.reap(100, ReapScope::ALL).await.unwrap();
    let stopped = world.lease().await;
    world.store.close_lease(stopped, &[]).await.unwrap();
    for late in [dead, stopped, LeaseId::generate()] {
        for node in ["b", "join"] {
            let claim = world.claim(late, &ActivationKey::root(run, node)).await;
            assert!(matches!(claim, Claim::Missed), "{claim:?}");
        }
    }
    assert_eq!(world.state(run, "b").await, Some(NodeState::Queued));
    assert_eq!(world.won(lease, run, "b").await.claim, 1);
}

/// A dead path is not claimed: it is only shown to whoever asks, and stays for the commit that passes it on.
pub async fn a_skipping_row_is_shown_and_not_taken(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, Commit { tokens: vec![token("join", 1, false)], ..succeed(&a) }).await;
    for asking in [lease, world.lease().await] {
        let claim = world.claim(asking, &ActivationKey::root(run, "join")).await;
        let Claim::Skip(skipping) = claim else { panic!("{claim:?}") };
        assert_eq!((skipping.run.id, &skipping.run.identity), (run, &world.tenant));
        assert_eq!(world.state(run, "join").await, Some(NodeState::Skipping));
    }
    world.store.request_cancel(&world.tenant, run).await.unwrap();
    let claim = world.claim(lease, &ActivationKey::root(run, "join")).await;
    assert!(matches!(claim, Claim::Cancelled), "{claim:?}");
    assert_eq!(world.state(run, "join").await, Some(NodeState::Cancelled));
}
