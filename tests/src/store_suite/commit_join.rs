//! Tokens and joins.

use std::sync::Arc;

use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::ids::{CallId, END_NODE, LeaseId, RunId};
use skein_shared::domain::state::NodeState;
use skein_shared::store::Store;
use skein_shared::store::engine::{Claim, ClaimRequest, Claimed, Commit, JoinTokens};
use tokio::sync::Barrier;

use super::world::{World, deliver, finish, skip, span, succeed, token, words};

/// Claims `node` of all these runs at once.
async fn claim_all(world: &World, lease: LeaseId, runs: &[RunId], node: &str) -> Vec<Claimed> {
    let request = |run: &_| ClaimRequest { key: ActivationKey::root(*run, node), span: span() };
    let batch: Vec<_> = runs.iter().map(request).collect();
    let claims = world.store.claim(lease, false, &batch).await.unwrap().into_iter();
    claims
        .map(|claim| match claim {
            Claim::Won(claimed) => *claimed,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Two committers deliver the two tokens of a join at the same moment, 500 times over. Neither sees the
/// other's parent ended, so counting unfinished parents would lose most of them.
pub async fn two_parents_that_end_together_fire_their_join_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let runs = world.accept_many(500, &["a", "b"]).await;
    let barrier = Arc::new(Barrier::new(2));
    let mut committers = tokio::task::JoinSet::new();
    for node in ["a", "b"] {
        let (world, barrier, runs) = (world.clone(), Arc::clone(&barrier), runs.clone());
        committers.spawn(async move {
            let lease = world.lease().await;
            let mut fired = 0;
            for claimed in claim_all(&world, lease, &runs, node).await {
                barrier.wait().await;
                let commit = deliver(&claimed, token("join", 2, true));
                fired += world.flip(lease, commit).await.activated.len();
            }
            fired
        });
    }
    let fired: usize = committers.join_all().await.into_iter().sum();
    assert_eq!(fired, runs.len());
    let lease = world.lease().await;
    assert_eq!(claim_all(&world, lease, &runs, "join").await.len(), 500);
}

/// Three committers, every mix of live and dead tokens, all at the same moment and in batches that share all
/// their joins, in different orders: statements that lock in the order of their batch deadlock.
pub async fn three_parents_in_batches_decide_by_their_live_tokens(store: Arc<dyn Store>) {
    const RUNS: usize = 64;
    const ROUNDS: usize = 8;
    let world = World::new(store).await;
    let runs = world.accept_many(RUNS * ROUNDS, &["a", "b", "c"]).await;
    let is_live = |run: usize, parent: usize| run >> parent & 1 == 1;
    let barrier = Arc::new(Barrier::new(3));
    let mut committers = tokio::task::JoinSet::new();
    for (parent, node) in ["a", "b", "c"].into_iter().enumerate() {
        let (world, barrier, runs) = (world.clone(), Arc::clone(&barrier), runs.clone());
        committers.spawn(async move {
            let lease = world.lease().await;
            let claimed = claim_all(&world, lease, &runs, node).await;
            let mut commits: Vec<_> = claimed
                .iter()
                .enumerate()
                .map(|(run, claimed)| deliver(claimed, token("join", 3, is_live(run, parent))))
                .collect();
            let mut fired = 0;
            for batch in commits.chunks_mut(RUNS) {
                batch.rotate_left(parent * 7);
                if parent == 1 {
                    batch.reverse();
                }
                barrier.wait().await;
                let outcomes = world.store.commit(lease, batch).await.unwrap();
                assert!(outcomes.iter().all(|outcome| outcome.flipped));
                fired += outcomes.iter().map(|outcome| outcome.activated.len()).sum::<usize>();
            }
            fired
        });
    }
    assert_eq!(committers.join_all().await.into_iter().sum::<usize>(), RUNS * ROUNDS);
    for (index, run) in runs.iter().enumerate().skip(RUNS * (ROUNDS - 1)) {
        let any = (0..3).any(|parent| is_live(index, parent));
        let expected = if any { NodeState::Queued } else { NodeState::Skipping };
        assert_eq!(world.state(*run, "join").await, Some(expected), "mix {index:03b}");
    }
}

/// Three workers pass on the same dead paths in different orders: each is passed on once.
pub async fn the_same_skips_by_many_workers_count_once(store: Arc<dyn Store>) {
    const RUNS: usize = 64;
    const ROUNDS: usize = 8;
    let world = World::new(store).await;
    let runs = world.accept_many(RUNS * ROUNDS, &["a"]).await;
    let lease = world.lease().await;
    let claimed = claim_all(&world, lease, &runs, "a").await;
    let dead: Vec<_> = claimed.iter().map(|a| deliver(a, token("dead", 1, false))).collect();
    world.store.commit(lease, &dead).await.unwrap();
    let barrier = Arc::new(Barrier::new(3));
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..3 {
        let (world, barrier, runs) = (world.clone(), Arc::clone(&barrier), runs.clone());
        workers.spawn(async move {
            let lease = world.lease().await;
            let mut flipped = 0;
            for runs in runs.chunks(RUNS) {
                let pass = |run: &_| Commit {
                    tokens: vec![token("next", 2, false)],
                    ..skip(&ActivationKey::root(*run, "dead"))
                };
                let mut batch: Vec<_> = runs.iter().map(pass).collect();
                batch.rotate_left(worker * 7);
                if worker == 1 {
                    batch.reverse();
                }
                barrier.wait().await;
                let outcomes = world.store.commit(lease, &batch).await.unwrap();
                flipped += outcomes.iter().filter(|outcome| outcome.flipped).count();
            }
            flipped
        });
    }
    assert_eq!(workers.join_all().await.into_iter().sum::<usize>(), RUNS * ROUNDS);
    for run in &runs[..RUNS] {
        assert_eq!(world.state(*run, "next").await, Some(NodeState::Blocked));
    }
}

/// A join stays blocked until its last token, in whatever order tokens come, and counts each once.
pub async fn a_join_waits_for_its_last_token(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "c"]).await;
    let lease = world.lease().await;
    for (node, live, expected) in [
        ("b", false, NodeState::Blocked),
        ("c", true, NodeState::Blocked),
        ("a", false, NodeState::Queued),
    ] {
        let claimed = world.won(lease, run, node).await;
        let outcome = world.flip(lease, deliver(&claimed, token("join", 3, live))).await;
        assert_eq!(world.state(run, "join").await, Some(expected));
        let activated: Vec<_> =
            outcome.activated.iter().map(|row| (&*row.node, row.state)).collect();
        let last = [("join", expected)];
        assert_eq!(activated, if expected == NodeState::Blocked { &last[..0] } else { &last });
        // A repetition is recognised, and delivers nothing twice.
        let again = world.commit(lease, deliver(&claimed, token("join", 3, live))).await;
        assert!(again.flipped);
        assert_eq!(world.state(run, "join").await, Some(expected));
    }
}

/// Commits of one batch deliver to the same join; one of them learns that it fired.
pub async fn tokens_of_one_batch_add_up(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "c", "d"]).await;
    let lease = world.lease().await;
    let mut commits = Vec::new();
    for node in ["a", "b", "c"] {
        let claimed = world.won(lease, run, node).await;
        let tokens = vec![token("all", 3, node == "b"), token("four", 4, false)];
        commits.push(Commit { tokens, ..succeed(&claimed) });
    }
    let outcomes = world.store.commit(lease, &commits).await.unwrap();
    let activated: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.activated).collect();
    assert_eq!(activated.len(), 1, "{activated:?}");
    assert_eq!((&*activated[0].node, activated[0].state), ("all", NodeState::Queued));
    assert_eq!(world.state(run, "four").await, Some(NodeState::Blocked));
    let claimed = world.won(lease, run, "d").await;
    let outcome = world.flip(lease, deliver(&claimed, token("four", 4, false))).await;
    assert_eq!(outcome.activated[0].state, NodeState::Skipping);
}

/// Parallel edges: one commit delivers several tokens to a join.
pub async fn one_commit_may_deliver_several_tokens(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let two = JoinTokens { arrived: 2, live: 1, ..token("join", 3, true) };
    assert_eq!(world.flip(lease, deliver(&a, two)).await.activated, []);
    let b = world.won(lease, run, "b").await;
    let outcome = world.flip(lease, deliver(&b, token("join", 3, false))).await;
    assert_eq!(outcome.activated[0].state, NodeState::Queued);
}

/// The committer of the last token goes on with the join itself, on an existing and on a fresh row.
pub async fn a_kept_join_is_running_at_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    let lease = world.lease().await;
    let keep = |join: &str, fan_in| JoinTokens { keep: Some(span()), ..token(join, fan_in, true) };
    let a = world.won(lease, run, "a").await;
    let first = Commit { tokens: vec![keep("late", 2), keep("fresh", 1)], ..succeed(&a) };
    let outcome = world.flip(lease, first).await;
    assert_eq!(outcome.activated.len(), 1);
    assert_eq!((&*outcome.activated[0].node, outcome.activated[0].claim), ("fresh", 1));
    assert_eq!(world.state(run, "late").await, Some(NodeState::Blocked));
    let b = world.won(lease, run, "b").await;
    let last = keep("late", 2);
    let kept_span = last.keep;
    let outcome = world.flip(lease, deliver(&b, last)).await;
    let [late] = &outcome.activated[..] else { panic!("{outcome:?}") };
    assert_eq!((late.state, late.claim), (NodeState::Running, 1));
    let row = world.node(run, "late").await;
    assert_eq!((row.attempts, row.span, late.span), (1, kept_span, kept_span));
    // The caller's to end, and nobody's to claim.
    let key = ActivationKey::root(run, "late");
    assert!(matches!(world.claim(world.lease().await, &key).await, Claim::Missed));
    for node in ["late", "fresh"] {
        let claimed = Claimed { key: ActivationKey::root(run, node), claim: 1, ..a.clone() };
        world.flip(lease, succeed(&claimed)).await;
    }
    let log = world.cancel_and_log(run).await;
    let started = log.iter().filter(|row| row.event == "node.started");
    let late = started.clone().find(|row| row.node.as_deref() == Some("late")).unwrap();
    assert_eq!(Some(late.span), kept_span);
    assert_eq!(started.count(), 4);
    assert_eq!(words(&log).last(), Some(&"run.cancelled"));
}

/// A dead join is nobody's to keep: it is `skipping`, until somebody passes it on, once.
pub async fn a_dead_join_is_passed_on_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let dead = JoinTokens { keep: Some(span()), ..token("join", 1, false) };
    let outcome = world.flip(lease, deliver(&a, dead)).await;
    assert_eq!(outcome.activated[0].state, NodeState::Skipping);
    let key = ActivationKey::root(run, "join");
    let pass = Commit { tokens: vec![token("next", 2, false)], ..skip(&key) };
    let other = world.lease().await;
    // Two workers got the same message; one batch even holds the skip twice.
    let twice = [pass.clone(), pass.clone()];
    let (mine, theirs) = tokio::join!(
        world.store.commit(lease, &twice),
        world.store.commit(other, std::slice::from_ref(&pass))
    );
    mine.unwrap();
    theirs.unwrap();
    assert_eq!(world.state(run, "join").await, Some(NodeState::Skipped));
    assert_eq!(world.state(run, "next").await, Some(NodeState::Blocked), "one token, not three");
    let log = world.cancel_and_log(run).await;
    assert_eq!(words(&log).iter().filter(|word| **word == "node.skipped").count(), 1);
}

/// `__end__` runs even when every path died, and ends the run.
pub async fn the_end_runs_with_dead_tokens_only(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, deliver(&a, token(END_NODE, 2, false))).await;
    let b = world.won(lease, run, "b").await;
    let outcome = world.flip(lease, deliver(&b, token(END_NODE, 2, false))).await;
    assert_eq!(outcome.activated[0].state, NodeState::Queued);
    let end = world.won(lease, run, END_NODE).await;
    let outcome = world.flip(lease, finish(&end, "null")).await;
    assert!(outcome.ended.is_some());
    let detail = world.detail(run).await;
    assert_eq!(detail.output.as_deref(), Some("null"));
    assert!(detail.nodes.iter().all(|node| node.node != END_NODE), "nobody drew that node");
    let log = world.log_now(run).await;
    assert!(log.iter().all(|row| row.node.as_deref() != Some(END_NODE)), "{log:?}");
}

/// In a run that is to end, a join that fires is `cancelled`.
pub async fn a_join_of_a_cancelled_run_is_cancelled(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let b = world.won(lease, run, "b").await;
    world.flip(lease, deliver(&a, token("late", 2, true))).await;
    world.store.request_cancel(&world.tenant, run).await.unwrap();
    let tokens = vec![token("late", 2, true), token("fresh", 1, true)];
    let outcome = world.flip(lease, Commit { tokens, ..succeed(&b) }).await;
    assert!(outcome.finishing);
    for join in ["late", "fresh"] {
        assert_eq!(world.state(run, join).await, Some(NodeState::Cancelled));
    }
    assert!(outcome.activated.iter().all(|row| row.state == NodeState::Cancelled));
    assert!(world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.len() == 1);
}
