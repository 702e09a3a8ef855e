//! Failing, cancelling and ending runs.

use std::sync::Arc;

use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, CallId, END_NODE, RunId};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::run::EndedRun;
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::Store;
use skein_shared::store::engine::{Claim, Commit};
use skein_shared::store::recovery::{CANCEL_ROWS_MAX, DueRange};
use skein_shared::store::runs::Cancellation;
use tokio::sync::Barrier;

use super::world::{World, deliver, ended, fail, finish, queued, succeed, token, words};

/// A failure and the wish to end the run are one commit, so that no crash comes between them.
pub async fn a_failure_asks_for_the_end_of_the_run(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "c"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let b = world.won(lease, run, "b").await;
    let outcome = world.flip(lease, fail(&a)).await;
    assert!(outcome.finishing && outcome.ended.is_none());
    assert!(world.detail(run).await.summary.cancelling);
    // The worker that failed dies now; the sweeper finds the run by itself.
    let deadline = tokio::time::Instant::now() + super::world::PATIENCE;
    while !world.store.due_runs(500, DueRange::ALL).await.unwrap().over.contains(&run) {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(
        world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.len(),
        0,
        "b is still running"
    );
    assert_eq!(world.state(run, "c").await, Some(NodeState::Cancelled));
    assert_eq!(world.run_state(run).await, RunState::Running);
    let outcome = world.flip(lease, succeed(&b)).await;
    assert!(outcome.finishing);
    let ended = world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.remove(0);
    let error = Failure::new("http_status", "the server answered 500").of_node(&"a".into());
    assert_eq!((ended.header.id, ended.state), (run, RunState::Failed));
    assert_eq!(ended.error.as_ref(), Some(&error));
    assert_eq!(
        world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.len(),
        0,
        "it was ended before"
    );
    let detail = world.detail(run).await;
    assert_eq!((detail.summary.state, detail.summary.error), (RunState::Failed, Some(error)));
    assert_eq!((detail.output, detail.summary.ended_at), (None, Some(ended.ended_at)));
    assert_eq!(world.state(run, "b").await, Some(NodeState::Succeeded), "what was done counts");
    let log = world.log_now(run).await;
    assert_eq!(words(&log).last(), Some(&"run.failed"));
    assert_eq!(world.store.ended_runs(&[run, RunId::generate()]).await.unwrap(), [run]);
}

/// Of two failures of a run, both committers learn of the end, and one is the run's error.
pub async fn the_first_failure_is_the_error_of_the_run(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "c"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let b = world.won(lease, run, "b").await;
    let c = world.won(lease, run, "c").await;
    let outcomes = world.store.commit(lease, &[fail(&a), fail(&b)]).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.finishing), "{outcomes:?}");
    assert!(world.flip(lease, fail(&c)).await.finishing);
    let ended = world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.remove(0);
    assert_eq!(ended.error.unwrap().node.as_deref(), Some("a"));
}

/// A failed run does not succeed any more, although `__end__` was on its way.
pub async fn a_run_that_is_to_end_does_not_succeed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, deliver(&a, token(END_NODE, 1, true))).await;
    let end = world.won(lease, run, END_NODE).await;
    world.store.request_cancel(&world.tenant, run).await.unwrap();
    let outcome = world.flip(lease, finish(&end, "1")).await;
    assert!(outcome.ended.is_none() && outcome.finishing);
    assert_eq!(world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.len(), 1);
    let detail = world.detail(run).await;
    assert_eq!((detail.summary.state, detail.output), (RunState::Cancelled, None));
    assert!(words(&world.log_now(run).await).iter().all(|word| *word != "run.succeeded"));
}

/// Cancelling is idempotent, knows its tenant, and comes too late for what has ended.
pub async fn cancelling_says_what_it_found(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let ask = |id| world.store.request_cancel(&world.tenant, id);
    assert_eq!(ask(RunId::generate()).await.unwrap(), None);
    let stranger = Identity::new("other", "main", "bob");
    assert_eq!(world.store.request_cancel(&stranger, run).await.unwrap(), None);
    assert!(!world.detail(run).await.summary.cancelling);
    for _ in 0..2 {
        assert_eq!(ask(run).await.unwrap(), Some(Cancellation::Requested));
    }
    assert!(world.detail(run).await.summary.cancelling);
    assert_eq!(
        world.store.due_runs(500, DueRange::ALL).await.unwrap().over,
        [run],
        "due for the finisher at once"
    );
    assert_eq!(
        world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended[0].state,
        RunState::Cancelled
    );
    let over = Cancellation::AlreadyEnded(RunState::Cancelled);
    assert_eq!(ask(run).await.unwrap(), Some(over));
    let expected = ["run.accepted", "run.cancel_requested", "node.cancelled", "run.cancelled"];
    assert_eq!(words(&world.log_now(run).await), expected);
    let detail = world.detail(run).await;
    assert!(!detail.summary.cancelling && detail.summary.started_at.is_none());
    assert_eq!(world.store.due_runs(500, DueRange::ALL).await.unwrap().over, []);
}

/// A run that nobody wants to end is not ended, whoever asks; unknown ones are passed over.
pub async fn only_runs_that_are_to_end_are_finished(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    world.pass(lease, run, "a", Vec::new()).await;
    assert_eq!(
        world
            .store
            .finish_runs(CallId::generate(), &[run, RunId::generate()])
            .await
            .unwrap()
            .ended
            .len(),
        0
    );
    assert_eq!(world.store.finish_runs(CallId::generate(), &[]).await.unwrap().ended.len(), 0);
    assert_eq!(world.run_state(run).await, RunState::Running);
}

/// All open states of a run end with it.
pub async fn finishing_cancels_everything_that_waits(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "retry", "waits", "queued"]).await;
    let lease = world.lease().await;
    let hour = std::time::Duration::from_secs(3600);
    let a = world.won(lease, run, "a").await;
    let tokens = vec![token("blocked", 2, true), token("dead", 1, false)];
    world.flip(lease, Commit { tokens, ..succeed(&a) }).await;
    let retry = world.won(lease, run, "retry").await;
    let error = Failure::new("timeout", "slow");
    world
        .flip(lease, ended(&retry, AttemptOutcome::Retry { input: None, error, delay: hour }, None))
        .await;
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
    assert_eq!(world.cancel(run).await.unwrap().state, RunState::Cancelled);
    for node in ["blocked", "dead", "retry", "waits", "queued"] {
        assert_eq!(world.state(run, node).await, Some(NodeState::Cancelled), "{node}");
        let claim = world.claim(lease, &ActivationKey::root(run, node)).await;
        assert!(matches!(claim, Claim::Missed));
    }
    assert_eq!(world.state(run, "a").await, Some(NodeState::Succeeded));
    assert_eq!(world.store.make_due(&[run]).await.unwrap(), 0);
}

/// A call takes its share of each run, so that one which is large neither outgrows a statement nor keeps others waiting.
pub async fn a_large_run_is_finished_in_pages(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let nodes: Vec<_> = (0..CANCEL_ROWS_MAX + 1).map(|node| format!("n{node}")).collect();
    let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
    let large = world.accept(&nodes).await;
    let small = world.accept_many(3, &["a"]).await;
    let runs = [&[large][..], &small].concat();
    for run in &runs {
        world.store.request_cancel(&world.tenant, *run).await.unwrap();
    }
    let mut finished = world.store.finish_runs(CallId::generate(), &runs).await.unwrap();
    let mut ended: Vec<_> = finished.ended.iter().map(|run| run.header.id).collect();
    ended.sort_unstable();
    assert_eq!((ended, &finished.more, &finished.held), (small, &vec![large], &Vec::new()));
    let mut calls = 1;
    while finished.more == [large] {
        assert_eq!(world.run_state(large).await, RunState::Queued);
        finished = world.store.finish_runs(CallId::generate(), &[large]).await.unwrap();
        calls += 1;
    }
    let ended = finished.ended.pop().unwrap();
    assert_eq!((ended.header.id, ended.state, calls), (large, RunState::Cancelled, 2));
    let counted = world.detail(large).await.nodes.into_iter();
    assert!(counted.clone().all(|node| node.state == NodeState::Cancelled));
    assert_eq!(counted.len(), nodes.len());
}

/// Somebody cancels at the very moment at which the run completes: it ends one way, 200 times over.
pub async fn cancel_and_complete_agree_on_one_end(store: Arc<dyn Store>) {
    const ROUNDS: usize = 200;
    let world = World::new(store).await;
    let runs = world.accept_many(ROUNDS, &["a"]).await;
    let lease = world.lease().await;
    let mut ends = Vec::new();
    for run in &runs {
        let a = world.won(lease, *run, "a").await;
        world.flip(lease, deliver(&a, token(END_NODE, 1, true))).await;
        ends.push(finish(&world.won(lease, *run, END_NODE).await, "1"));
    }
    let barrier = Arc::new(Barrier::new(2));
    let canceller = {
        let (world, barrier, runs) = (world.clone(), Arc::clone(&barrier), runs.clone());
        tokio::spawn(async move {
            let mut ended = Vec::new();
            for run in runs {
                barrier.wait().await;
                world.store.request_cancel(&world.tenant, run).await.unwrap().unwrap();
                ended.extend(
                    world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended,
                );
            }
            ended
        })
    };
    let mut ended = Vec::new();
    for end in ends {
        barrier.wait().await;
        let run = end.key.run;
        let outcome = world.flip(lease, end).await;
        assert!(outcome.ended.is_some() || outcome.finishing, "nobody would finish {run}");
        ended.extend(outcome.ended);
        if outcome.finishing {
            ended.extend(world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended);
        }
    }
    ended.extend(canceller.await.unwrap());
    assert_eq!(ended.len(), ROUNDS, "each run was ended by exactly one call");
    for ended in ended {
        let run = ended.header.id;
        assert_eq!(world.run_state(run).await, ended.state);
        let log = world.log_now(run).await;
        let terminal = ["run.succeeded", "run.cancelled", "run.failed"];
        let ends: Vec<_> = words(&log).into_iter().filter(|word| terminal.contains(word)).collect();
        assert_eq!(ends, [format!("run.{}", ended.state)]);
    }
}

/// A claim and a cancellation race: whatever was claimed is let end, nothing else starts, and the run ends.
pub async fn cancel_and_claim_leave_nothing_open(store: Arc<dyn Store>) {
    const ROUNDS: usize = 100;
    let world = World::new(store).await;
    let runs = world.accept_many(ROUNDS, &["a"]).await;
    let barrier = Arc::new(Barrier::new(2));
    let canceller = {
        let (world, barrier, runs) = (world.clone(), Arc::clone(&barrier), runs.clone());
        tokio::spawn(async move {
            for run in runs {
                barrier.wait().await;
                world.cancel(run).await;
            }
        })
    };
    let lease = world.lease().await;
    for run in &runs {
        barrier.wait().await;
        match world.claim(lease, &ActivationKey::root(*run, "a")).await {
            Claim::Won(a) => {
                world.flip(lease, Commit { rows: vec![queued("b")], ..succeed(&a) }).await;
            }
            Claim::Cancelled | Claim::Missed => {}
            other => panic!("{other:?}"),
        }
    }
    canceller.await.unwrap();
    world.store.finish_runs(CallId::generate(), &runs).await.unwrap();
    let mut ended = world.store.ended_runs(&runs).await.unwrap();
    ended.sort();
    assert_eq!(ended, runs);
}

/// A call that is repeated under its id, because its reply was lost, reports what it did the first time; nobody
/// else does.
pub async fn a_finishing_whose_reply_was_lost_reports_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    world.store.request_cancel(&world.tenant, run).await.unwrap();
    let call = CallId::generate();
    let first = world.store.finish_runs(call, &[run]).await.unwrap().ended;
    assert_eq!((first.len(), first[0].state), (1, RunState::Cancelled));
    let again = world.store.finish_runs(call, &[run]).await.unwrap().ended;
    let facts = |ended: &[EndedRun]| {
        let facts = ended.iter().map(|run| (run.header.id, run.state, run.ended_at));
        facts.collect::<Vec<_>>()
    };
    assert_eq!(facts(&again), facts(&first));
    let other = world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended;
    assert_eq!(facts(&other), []);
    let log = world.log(run, 4).await;
    let ends = words(&log).iter().filter(|word| **word == "run.cancelled").count();
    assert_eq!(ends, 1, "it ended once");
}
