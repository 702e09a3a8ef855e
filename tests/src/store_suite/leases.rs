//! Leases: heartbeats, shutdown, and what happens to the work of the dead.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::ids::{ActivationKey, CallId, LeaseId, RunId};
use skein_shared::domain::limits;
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::NodeState;
use skein_shared::store::Store;
use skein_shared::store::engine::{Claim, ClaimRequest, Claimed};
use skein_shared::store::recovery::ReapScope;

use super::world::{SWEEP, World, ended, kept, span, succeed, version, words};

/// So short that a lease is dead by the next statement but one.
const MOMENT: Duration = Duration::from_millis(1);

/// Lets a worker take `nodes`, one after another, and die over them. What it has won first.
async fn crash_with(world: &World, run: RunId, nodes: &[&str]) -> Claimed {
    // It dies when it has all of them, however long that takes.
    let lease = world.lease_for(MOMENT).await;
    let mut won = Vec::new();
    for node in nodes {
        won.push(world.won(lease, run, node).await);
    }
    tokio::time::sleep(MOMENT * 5).await;
    let crashed = world.store.reap(100, ReapScope::ALL).await.unwrap();
    assert_eq!(crashed.len(), nodes.len());
    won.remove(0)
}

/// Lets a worker take nothing but `node` and die over it.
async fn crash(world: &World, run: RunId, node: &str) -> Claimed {
    crash_with(world, run, &[node]).await
}

/// Whoever exports a crashed attempt knows which nodes its own is linked to, and that it is tried again.
pub async fn a_crashed_attempt_names_what_had_led_to_it(store: Arc<dyn Store>) {
    let mut world = World::new(store).await;
    let document =
        r#"{"edges":[{"from":"a","to":"b"},{"from":"never","to":"b"},{"from":"b","to":"c"}]}"#;
    let newer = version(World::WORKFLOW, document);
    world.version = world.store.publish_workflow(&world.tenant, &newer).await.unwrap().id;
    let run = world.accept(&["a", "b"]).await;
    let (living, dying) = (world.lease().await, world.lease_for(MOMENT).await);
    let a = world.won(living, run, "a").await;
    world.flip(living, succeed(&a)).await;
    world.won(dying, run, "b").await;
    tokio::time::sleep(MOMENT * 5).await;
    let crashed = world.store.reap(100, ReapScope::ALL).await.unwrap().remove(0);
    assert!(crashed.is_crash && crashed.is_retried);
    assert_eq!(crashed.upstream, [("a".into(), a.run.trace.context_of(a.span))]);
}

/// A heartbeat keeps a lease alive; one that nobody opened or that was declared dead stays dead.
pub async fn a_heartbeat_says_whether_the_lease_lives(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lives = async |lease| world.store.heartbeat(lease, 0).await.unwrap().is_some();
    let live = world.lease().await;
    assert!(lives(live).await);
    let stranger = LeaseId::generate();
    assert!(!lives(stranger).await);
    let short = world.lease_for(MOMENT).await;
    tokio::time::sleep(MOMENT * 5).await;
    // Late, but nobody has noticed.
    assert!(lives(short).await);
    tokio::time::sleep(MOMENT * 5).await;
    world.store.reap(100, ReapScope::ALL).await.unwrap();
    assert!(!lives(short).await);
    assert!(lives(live).await);
    world.store.close_lease(live, &[]).await.unwrap();
    assert!(!lives(live).await);
}

/// A worker learns which of its runs are to stop.
pub async fn runs_that_are_to_end_are_returned(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let runs = world.accept_many(3, &["a"]).await;
    let lease = world.lease().await;
    for run in &runs {
        world.won(lease, *run, "a").await;
    }
    world.store.request_cancel(&world.tenant, runs[1]).await.unwrap();
    assert_eq!(world.store.runs_over(&runs).await.unwrap(), [runs[1]]);
    assert_eq!(world.store.runs_over(&[]).await.unwrap(), []);
}

/// A row that the lease holds and its worker does not know of is released, unless it was claimed later than what the
/// worker said then.
pub async fn stray_rows_are_released(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["known", "stray", "young"]).await;
    let (lease, other) = (world.lease().await, world.lease().await);
    let known = world.won(lease, run, "known").await;
    let stray = world.won(lease, run, "stray").await;
    let heard = world.store.heartbeat(lease, 0).await.unwrap().unwrap();
    world.won(lease, run, "young").await;
    let held = std::slice::from_ref(&known.key);
    let others = world.store.release_strays(other, &[], heard).await.unwrap();
    assert!(others.is_empty(), "not its own: {others:?}");
    let released = world.store.release_strays(lease, held, heard).await.unwrap();
    // What was logged of it names its span, which somebody must be able to export.
    let [attempt] = released.as_slice() else { panic!("{released:?}") };
    assert_eq!((&attempt.key, attempt.span, attempt.attempt), (&stray.key, stray.span, 1));
    assert!(!attempt.is_crash && attempt.started_at <= attempt.ended_at);
    for (node, state) in
        [("known", NodeState::Running), ("stray", NodeState::Queued), ("young", NodeState::Running)]
    {
        assert_eq!(world.state(run, node).await, Some(state), "{node}");
    }
    assert!(!world.commit(lease, succeed(&stray)).await.flipped);
    assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake.len(), 1, "due at once");
    // A call that comes late takes nothing that was claimed since.
    let again = world.won(lease, run, "stray").await;
    assert_eq!((again.claim, again.attempt), (2, 1));
    assert_eq!((again.crashed, again.suspect), (false, false));
    assert!(world.store.release_strays(lease, held, heard).await.unwrap().is_empty());
    world.flip(lease, succeed(&again)).await;
    world.flip(lease, succeed(&known)).await;
}

/// A worker that shuts down gives its rows back, and nobody is suspected.
pub async fn closing_a_lease_releases_its_rows(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "c"]).await;
    let (lease, other) = (world.lease().await, world.lease().await);
    let late = world.won(lease, run, "a").await;
    world.won(lease, run, "b").await;
    world.won(other, run, "c").await;
    let released = world.store.close_lease(lease, &[]).await.unwrap();
    assert_eq!(world.state(run, "c").await, Some(NodeState::Running));
    assert_eq!(world.store.reap(100, ReapScope::ALL).await.unwrap().len(), 0);
    assert!(!world.commit(lease, succeed(&late)).await.flipped);
    assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake.len(), 2, "due at once");
    let a = world.won(other, run, "a").await;
    assert_eq!((a.claim, a.attempt, a.failures, a.strikes), (2, 1, 0, 0));
    assert_eq!((a.crashed, a.suspect), (false, false));
    let row = world.node(run, "a").await;
    assert_eq!(row.earlier[0].outcome, "released");
    let log = world.log(run, 8).await;
    let logged: Vec<_> = log.iter().filter(|row| row.event == "node.released").collect();
    assert_eq!((logged.len(), released.len()), (2, 2), "{log:#?}");
    for row in logged {
        // Each names a span that whoever closes the lease can export.
        assert!(
            released.iter().any(|attempt| !attempt.is_crash && attempt.span == row.span),
            "{log:#?}"
        );
    }
    assert!(released.iter().any(|attempt| Some(attempt.span) == row.earlier[0].span), "{log:#?}");
}

/// What had begun its effect when its worker stopped is distinguished from what had not.
pub async fn closing_a_lease_marks_what_had_begun(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    let (lease, other) = (world.lease().await, world.lease().await);
    let begun = world.won(lease, run, "a").await;
    world.won(lease, run, "b").await;
    world.store.close_lease(lease, std::slice::from_ref(&begun.key)).await.unwrap();
    world.store.close_lease(lease, &[begun.key]).await.unwrap();
    let a = world.won(other, run, "a").await;
    assert_eq!((a.attempt, a.crashed, a.suspect, a.strikes), (2, true, false, 0));
    let b = world.won(other, run, "b").await;
    assert_eq!((b.attempt, b.crashed, b.suspect, b.strikes), (1, false, false, 0));
}

/// What a dead worker held is taken back, recorded and returned.
pub async fn the_rows_of_a_dead_lease_are_taken_back(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    let (dead, live) = (world.lease_for(MOMENT).await, world.lease().await);
    let a = world.won(dead, run, "a").await;
    world.won(live, run, "b").await;
    tokio::time::sleep(MOMENT * 5).await;
    let crashed = world.store.reap(100, ReapScope::ALL).await.unwrap();
    let [lost] = &crashed[..] else { panic!("{crashed:?}") };
    let row = world.node(run, "a").await;
    assert_eq!((&lost.key, &*lost.kind, lost.attempt), (&a.key, "transform", 1));
    assert_eq!((lost.header.id, &lost.header.identity), (run, &world.tenant));
    assert_eq!((Some(lost.span), lost.started_at), (row.span, a.started_at));
    assert_eq!((row.state, row.attempts), (NodeState::Queued, 1));
    let earlier = &row.earlier[0];
    assert_eq!((&*earlier.outcome, earlier.attempt, earlier.span), ("crashed", 1, row.span));
    assert_eq!(earlier.error.as_ref().unwrap().code.as_ref(), "crashed");
    assert_eq!(world.store.reap(100, ReapScope::ALL).await.unwrap().len(), 0);
    assert_eq!(world.state(run, "b").await, Some(NodeState::Running));
    let wakes = world.sweep(run).await.wake;
    assert_eq!(wakes.len(), 1);
    let a = world.won(live, run, "a").await;
    assert_eq!((a.claim, a.attempt, a.failures, a.strikes), (2, 2, 0, 0));
    assert!(a.crashed && !a.suspect, "it may have been anybody's fault");
    world.flip(live, succeed(&a)).await;
    let log = world.log(run, 7).await;
    assert_eq!(words(&log).iter().filter(|word| **word == "node.crashed").count(), 1);
}

/// Rows that were claimed in a commit, not by a claim, are under the lease all the same.
pub async fn kept_rows_of_a_dead_lease_are_taken_back(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let dead = world.lease_for(MOMENT).await;
    world.pass(dead, run, "a", vec![kept("b")]).await;
    tokio::time::sleep(MOMENT * 5).await;
    assert_eq!(world.store.reap(100, ReapScope::ALL).await.unwrap().len(), 1);
    let b = world.won(world.lease().await, run, "b").await;
    assert_eq!((b.claim, b.attempt, b.crashed), (2, 2, true));
}

/// What was in one crash, however much that was, starts again at once, and all of it beside each other.
pub async fn one_crash_makes_nobody_a_suspect(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let nodes: Vec<_> = (0..20).map(|at| format!("n{at}")).collect();
    let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
    let run = world.accept(&nodes).await;
    crash_with(&world, run, &nodes).await;
    let request = |node: &&str| ClaimRequest { key: ActivationKey::root(run, *node), span: span() };
    let batch: Vec<_> = nodes.iter().map(request).collect();
    for claim in world.store.claim(world.lease().await, false, &batch).await.unwrap() {
        let Claim::Won(claimed) = claim else { panic!("{claim:?}") };
        assert_eq!((claimed.attempt, claimed.crashed, claimed.suspect), (2, true, false));
        assert_eq!((claimed.crashes, claimed.strikes), (1, 0));
    }
}

/// A commit of its own between two crashes clears a row: each of them may have been somebody else's fault.
pub async fn a_commit_between_two_crashes_clears_a_row(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    crash(&world, run, "a").await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let waiting =
        AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(Duration::ZERO) };
    world.flip(lease, ended(&a, waiting, None)).await;
    world.sweep(run).await;
    crash(&world, run, "a").await;
    // Giving it back untouched is no commit of its own.
    let a = world.won(lease, run, "a").await;
    assert_eq!((a.crashes, a.suspect), (1, false));
    world.flip(lease, ended(&a, AttemptOutcome::Deferred { delay: Duration::ZERO }, None)).await;
    crash(&world, run, "a").await;
    let a = world.won(lease, run, "a").await;
    assert_eq!((a.crashes, a.suspect, a.strikes), (2, true, 0));
}

/// Lost machines convict nobody: what ran beside others when its worker died gets no strike, whoever comes to take back
/// which part of it.
pub async fn a_crash_in_company_is_no_strike(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let beside: Vec<_> = (0..5).map(|at| format!("n{at}")).collect();
    let entries: Vec<_> = std::iter::once("a").chain(beside.iter().map(String::as_str)).collect();
    let run = world.accept(&entries).await;
    for (machine, other) in beside.iter().enumerate() {
        let lease = world.lease_for(MOMENT).await;
        let a = world.won(lease, run, "a").await;
        assert_eq!((a.suspect, a.strikes), (machine >= 2, 0));
        world.won(lease, run, other).await;
        tokio::time::sleep(MOMENT * 5).await;
        for _ in 0..2 {
            assert_eq!(world.store.reap(1, ReapScope::ALL).await.unwrap().len(), 1);
        }
    }
    let a = world.won(world.lease().await, run, "a").await;
    assert_eq!((a.strikes, a.crashes, a.suspect), (0, 5, true));
}

/// What was in so many crashes that it is to run apart waits for a worker that holds nothing else.
pub async fn what_was_in_many_crashes_is_claimed_with_nothing_beside_it(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "c"]).await;
    for crashes in 0..limits::CRASHES_IN_COMPANY_MAX {
        // So far it may be beside others.
        let lease = world.lease().await;
        world.won(lease, run, "b").await;
        let a = world.won(lease, run, "a").await;
        assert_eq!(a.crashes, crashes);
        world.store.close_lease(lease, &[]).await.unwrap();
        crash(&world, run, "a").await;
    }
    let lease = world.lease().await;
    let request = |node: &str| ClaimRequest { key: ActivationKey::root(run, node), span: span() };
    let [a, b, c] = ["a", "b", "c"].map(request);
    // Also where no suspect is taken: it does not stand in line behind those that may be beside others.
    let claims = world.store.claim(lease, false, &[a.clone(), b]).await.unwrap();
    assert!(matches!(claims[..], [Claim::Apart, Claim::Won(_)]), "{claims:?}");
    let woken = world.store.sweep(SWEEP).await.unwrap().wake;
    assert!(woken.iter().all(|wake| wake.key != a.key), "it is deferred");
    let alone = std::slice::from_ref(&a);
    let claims = world.store.claim(lease, true, alone).await.unwrap();
    assert!(matches!(claims[..], [Claim::Apart]), "{claims:?}");
    let row = world.node(run, "a").await;
    assert_eq!((row.state, row.attempts), (NodeState::Queued, limits::CRASHES_IN_COMPANY_MAX));
    let other = world.lease().await;
    for _ in 0..2 {
        // The second time, because the reply got lost.
        let claims = world.store.claim(other, true, alone).await.unwrap();
        assert!(matches!(&claims[..], [Claim::Won(a)] if a.suspect), "{claims:?}");
    }
    let claims = world.store.claim(other, true, &[a, c]).await.unwrap();
    assert!(matches!(claims[..], [Claim::Won(_), Claim::Won(_)]), "{claims:?}");
}

/// A suspect gets a strike when its worker dies and ran nothing else.
pub async fn a_suspect_that_crashes_alone_gets_a_strike(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    for (crashes, strikes) in [0, 0, 0, 1, 2].into_iter().enumerate() {
        let claimed = crash(&world, run, "a").await;
        assert_eq!((claimed.crashes as usize, claimed.strikes), (crashes, strikes));
        assert_eq!(claimed.suspect, crashes >= 2);
    }
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    assert_eq!((a.strikes, a.attempt, a.failures), (3, 6, 0));
    // Ending an attempt in good order clears the suspicion, and keeps the strikes.
    let retry = AttemptOutcome::Retry {
        input: None,
        error: skein_shared::domain::failure::Failure::new("timeout", "slow"),
        delay: Duration::ZERO,
    };
    world.flip(lease, ended(&a, retry, None)).await;
    world.sweep(run).await;
    let a = world.won(lease, run, "a").await;
    assert_eq!((a.suspect, a.strikes, a.failures, a.crashed), (false, 3, 1, true));
    assert_eq!(a.crashes, 0);
}

/// A worker runs at most one suspect, and others are deferred; innocent rows are not held up.
pub async fn one_suspect_at_a_time_is_claimed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["s1", "s2", "s3", "fine"]).await;
    for node in ["s1", "s2", "s3", "s1", "s2", "s3"] {
        crash(&world, run, node).await;
    }
    let lease = world.lease().await;
    let nodes = ["s2", "fine", "s1", "s3"];
    let request = |node: &str| ClaimRequest { key: ActivationKey::root(run, node), span: span() };
    let batch = nodes.map(request);
    let claims = world.store.claim(lease, false, &batch[2..]).await.unwrap();
    assert!(claims.iter().all(|claim| matches!(claim, Claim::Deferred)), "{claims:?}");
    let claims = world.store.claim(lease, true, &batch).await.unwrap();
    let Claim::Won(suspect) = &claims[0] else { panic!("{claims:?}") };
    assert!(suspect.suspect);
    assert!(matches!(&claims[1], Claim::Won(fine) if !fine.suspect), "{claims:?}");
    assert!(matches!(claims[2..], [Claim::Deferred, Claim::Deferred]), "{claims:?}");
    for node in ["s1", "s3"] {
        let row = world.node(run, node).await;
        assert_eq!((row.state, row.attempts), (NodeState::Queued, 2));
    }
    // The reply got lost: the same two rows are won again, and no second suspect.
    let claims = world.store.claim(lease, true, &batch).await.unwrap();
    assert!(matches!(claims[..2], [Claim::Won(_), Claim::Won(_)]), "{claims:?}");
    assert!(matches!(claims[2..], [Claim::Deferred, Claim::Deferred]), "{claims:?}");
    assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake, [], "they are deferred");
}

/// The work of a dead worker in a run that is to end does not start again.
pub async fn a_crash_in_a_cancelled_run_ends_the_row(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let dead = world.lease_for(MOMENT).await;
    world.won(dead, run, "a").await;
    assert!(world.cancel(run).await.is_none(), "its owner has not let go");
    tokio::time::sleep(MOMENT * 5).await;
    assert_eq!(world.store.reap(100, ReapScope::ALL).await.unwrap().len(), 1);
    assert_eq!(world.state(run, "a").await, Some(NodeState::Cancelled));
    assert_eq!(world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.len(), 1);
    let log = world.log_now(run).await;
    assert_eq!(words(&log)[4..], ["node.crashed", "node.cancelled", "run.cancelled"]);
}

/// Opening a lease again, because the reply got lost, changes nothing.
pub async fn opening_a_lease_twice_is_opening_it_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let again = skein_shared::store::engine::NewLease {
        id: lease,
        host: "test".to_owned(),
        pid: 1,
        version: "0.0.0",
        slots: 4,
        ttl: Duration::from_secs(3600),
    };
    world.store.open_lease(&again).await.unwrap();
    assert!(world.store.heartbeat(lease, 0).await.unwrap().is_some());
    world.flip(lease, succeed(&a)).await;
}
