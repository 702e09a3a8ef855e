//! What a commit writes: fences, successors, log rows, repetitions.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, CallId, END_NODE};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::Store;
use skein_shared::store::engine::{
    Activated, Claimed, Commit, Committed, JoinTokens, NewRow, RunChange,
};
use skein_shared::store::recovery::ReapScope;

use super::world::{
    World, deliver, ended, event, fail, finish, kept, queued, skip, span, spec, succeed, token,
    words,
};

const HOUR: Duration = Duration::from_secs(3600);

fn found(outcome: &Committed) -> Vec<(String, NodeState, u32)> {
    let facts = |row: &Activated| (row.node.to_string(), row.state, row.claim);
    let mut rows: Vec<_> = outcome.activated.iter().map(facts).collect();
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    rows
}

/// A wrong lease or claim number: nothing at all is written, while the rest of the batch is.
pub async fn a_fenced_commit_writes_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "c"]).await;
    let (lease, other) = (world.lease().await, world.lease().await);
    let a = world.won(lease, run, "a").await;
    let b = world.won(lease, run, "b").await;
    let full = |claimed: &Claimed| Commit {
        rows: vec![queued("x"), kept("y")],
        tokens: vec![token("join", 2, true), token("whole", 1, true)],
        ..fail(claimed)
    };
    let wrong_claim = full(&Claimed { claim: a.claim + 1, ..a.clone() });
    let unclaimed = full(&Claimed { key: ActivationKey::root(run, "c"), ..a.clone() });
    let absent = full(&Claimed { key: ActivationKey::root(run, "d"), ..a.clone() });
    let skipped = Commit { rows: vec![queued("z")], ..skip(&a.key) };
    let right = Commit { rows: vec![queued("next")], ..succeed(&b) };
    let batch = [wrong_claim, unclaimed, right, absent, skipped];
    let outcomes = world.store.commit(lease, &batch).await.unwrap();
    let flipped: Vec<_> = outcomes.iter().map(|outcome| outcome.flipped).collect();
    assert_eq!(flipped, [false, false, true, false, false]);
    assert!(!world.commit(other, full(&a)).await.flipped);
    for node in ["x", "y", "z", "join", "whole", "d"] {
        assert_eq!(world.state(run, node).await, None, "{node}");
    }
    assert_eq!(world.state(run, "a").await, Some(NodeState::Running));
    assert_eq!(world.state(run, "c").await, Some(NodeState::Queued));
    assert_eq!(world.state(run, "next").await, Some(NodeState::Queued));
    assert!(!world.detail(run).await.summary.cancelling, "the refused failures failed the run");
    world.flip(lease, succeed(&a)).await;
    let log = world.cancel_and_log(run).await;
    let strange = ["node.failed", "node.skipped"];
    assert!(log.iter().all(|row| !strange.contains(&&*row.event)), "{:?}", words(&log));
}

/// A worker that lost its lease comes back late: its row belongs to somebody else by now.
pub async fn a_late_commit_is_fenced_after_a_reap(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let dead = world.lease_for(Duration::from_millis(1)).await;
    let late = world.won(dead, run, "a").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.store.reap(100, ReapScope::ALL).await.unwrap().len(), 1);
    assert!(!world.commit(dead, deliver(&late, token("join", 2, true))).await.flipped);
    let lease = world.lease().await;
    let claimed = world.won(lease, run, "a").await;
    assert_eq!(claimed.claim, late.claim + 1);
    for late in [succeed(&late), succeed(&claimed), fail(&late)] {
        assert!(!world.commit(dead, late).await.flipped);
    }
    assert_eq!(world.state(run, "join").await, None);
    world.flip(lease, deliver(&claimed, token("join", 2, true))).await;
    assert!(!world.commit(dead, deliver(&late, token("join", 2, true))).await.flipped);
    assert_eq!(world.state(run, "join").await, Some(NodeState::Blocked));
}

/// Every kind of new row is what it says, with what it says.
pub async fn successors_are_written_as_the_commit_says(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let text = |text: &str| Some(text.to_owned());
    let row = |node: &str, state| NewRow { state, ..kept(node) };
    let error = Failure::new("expression", "no such name");
    let rows = vec![
        queued("later"),
        kept("mine"),
        row(
            "done",
            AttemptOutcome::Succeeded { input: text("[1]"), output: "[2]".to_owned() }.into(),
        ),
        row(
            "bad",
            AttemptOutcome::Failed { input: None, output: text("{}"), error: error.clone() }.into(),
        ),
        row(
            "waits",
            AttemptOutcome::Waiting { input: text("[3]"), waiting_for: WaitFor::Time(HOUR) }.into(),
        ),
        row("dead", AttemptOutcome::Skipped.into()),
    ];
    let spans: Vec<_> = rows.iter().map(|row| row.span).collect();
    let publish: Vec<_> = rows.iter().map(|row| row.spec.publish_span).collect();
    let becomes = AttemptOutcome::Succeeded { input: text("[0]"), output: "[9]".to_owned() };
    let outcome = world.flip(lease, Commit { rows, ..ended(&a, becomes, None) }).await;
    assert_eq!(
        found(&outcome),
        [("later".to_owned(), NodeState::Queued, 0), ("mine".to_owned(), NodeState::Running, 1)]
    );
    for activated in &outcome.activated {
        assert!(publish[..2].contains(&activated.publish_span));
    }
    let nodes = world.detail(run).await.nodes;
    let rows: Vec<_> = nodes
        .iter()
        .map(|row| {
            (&*row.node, row.state, row.attempts, row.input.as_deref(), row.output.as_deref())
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("a", NodeState::Succeeded, 1, Some("[0]"), Some("[9]")),
            ("later", NodeState::Queued, 0, None, None),
            ("mine", NodeState::Running, 1, None, None),
            ("done", NodeState::Succeeded, 1, Some("[1]"), Some("[2]")),
            ("bad", NodeState::Failed, 1, None, Some("{}")),
            ("waits", NodeState::Waiting, 0, Some("[3]"), None),
            ("dead", NodeState::Skipped, 0, None, None),
        ]
    );
    for (index, node) in nodes.iter().enumerate().skip(1) {
        assert_eq!(node.span, spans[index - 1].filter(|_| node.attempts > 0), "{}", node.node);
        assert_eq!(node.ended_at.is_some(), node.state.is_terminal(), "{}", node.node);
    }
    assert_eq!(nodes[4].error, Some(error));
    assert!(nodes[5].wake_at.is_some());
    let done = world.upstream(run, "done").await.unwrap();
    assert_eq!((done.output.as_deref(), done.span), (Some("[2]"), spans[2]));
    // The kept row is under the same fence as a claimed one.
    let mine = Claimed { key: ActivationKey::root(run, "mine"), claim: 1, ..a };
    assert!(!world.commit(world.lease().await, succeed(&mine)).await.flipped);
    world.flip(lease, succeed(&mine)).await;
}

/// Log rows are in the commit of what they report, in order, under the run's trace.
pub async fn the_log_of_a_run_tells_its_story_in_order(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.run_of(&["a"]);
    world.store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
    let (run, trace) = (run.id, run.trace);
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    let mine = kept("b");
    let b_span = mine.span.unwrap();
    let line = event("a", "node.log");
    let events = vec![line, event("a", "node.succeeded")];
    world.flip(lease, Commit { rows: vec![mine], events, ..succeed(&a) }).await;
    let b = Claimed { key: ActivationKey::root(run, "b"), claim: 1, ..a };
    let keep = JoinTokens { keep: Some(span()), ..token(END_NODE, 1, true) };
    let mut last = deliver(&b, keep);
    last.events[0].span = Some(b_span);
    world.flip(lease, last).await;
    let end = Claimed { key: ActivationKey::root(run, END_NODE), claim: 1, ..b };
    let ended = world.flip(lease, finish(&end, "[1]")).await.ended.unwrap();
    assert_eq!((ended.state, ended.header.id), (RunState::Succeeded, run));
    assert_eq!((&ended.header.trace, &ended.header.identity), (&trace, &world.tenant));
    let detail = world.detail(run).await;
    assert_eq!(detail.summary.ended_at, Some(ended.ended_at));
    assert_eq!(detail.summary.started_at, ended.started_at);
    assert_eq!(
        (detail.summary.state, detail.output.as_deref()),
        (RunState::Succeeded, Some("[1]"))
    );
    let log = world.log_now(run).await;
    let expected = [
        "run.accepted",
        "run.started",
        "node.started",
        "node.log",
        "node.succeeded",
        "node.started",
        "node.succeeded",
        "run.succeeded",
    ];
    assert_eq!(words(&log), expected);
    assert!(log.iter().all(|row| row.trace == trace.trace));
    assert_eq!((log[1].span, log[7].span), (trace.root, trace.root));
    assert_eq!((log[5].span, log[6].span), (b_span, b_span));
    let nodes: Vec<_> = log.iter().map(|row| row.node.as_deref()).collect();
    let (a, b) = (Some("a"), Some("b"));
    assert_eq!(nodes, [None, None, a, a, a, b, b, None]);
    assert!(log.windows(2).all(|pair| pair[0].at <= pair[1].at));
}

/// A commit whose reply got lost is repeated: it says what the first one did, and does nothing.
pub async fn a_repeated_commit_reports_what_the_first_did(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let entries = ["a", "b", "retry", "waits", "back", "fails"];
    let run = world.accept(&entries).await;
    let lease = world.lease().await;
    let mut claimed = Vec::new();
    for node in entries {
        claimed.push(world.won(lease, run, node).await);
    }
    let error = Failure::new("timeout", "too slow");
    let keep = |join| JoinTokens { keep: Some(span()), ..token(join, 2, true) };
    let retry = AttemptOutcome::Retry { input: None, error: error.clone(), delay: HOUR };
    let wait = AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) };
    // Both parents of `kept` are in the batch: only one of them is to learn that it is running.
    let batch = [
        Commit {
            rows: vec![queued("x"), kept("y")],
            tokens: vec![keep("kept")],
            ..succeed(&claimed[0])
        },
        Commit { tokens: vec![keep("kept"), token("dead", 1, false)], ..succeed(&claimed[1]) },
        ended(&claimed[2], retry, Some("node.retry")),
        ended(&claimed[3], wait, Some("node.waiting")),
        ended(&claimed[4], AttemptOutcome::Deferred { delay: Duration::ZERO }, None),
        Commit { run: RunChange::None, ..fail(&claimed[5]) },
    ];
    let first = world.store.commit(lease, &batch).await.unwrap();
    for repetition in 0..2 {
        let again = world.store.commit(lease, &batch).await.unwrap();
        for (index, (first, again)) in first.iter().zip(&again).enumerate() {
            assert!(first.flipped && again.flipped, "{} repetition {repetition}", batch[index].key);
            assert_eq!(found(first), found(again), "{}", batch[index].key);
            assert_eq!(first.finishing, again.finishing);
        }
    }
    assert!(!world.commit(world.lease().await, batch[0].clone()).await.flipped);
    let dead = ActivationKey::root(run, "dead");
    let pass = Commit { rows: vec![queued("z")], ..skip(&dead) };
    for _ in 0..2 {
        let outcome = world.commit(lease, pass.clone()).await;
        assert!(outcome.flipped);
        assert_eq!(found(&outcome), [("z".to_owned(), NodeState::Queued, 0)]);
    }
    let row = world.node(run, "retry").await;
    assert_eq!((row.attempts, row.earlier.len()), (1, 1));
    for node in ["y", "kept"] {
        let mine = Claimed { key: ActivationKey::root(run, node), claim: 1, ..claimed[0].clone() };
        world.flip(lease, succeed(&mine)).await;
    }
    let log = world.cancel_and_log(run).await;
    let count = |event: &str| words(&log).iter().filter(|word| **word == event).count();
    assert_eq!((count("node.succeeded"), count("node.retry"), count("node.failed")), (4, 1, 1));
}

/// Two messages for one dead path may have one worker decide its skip twice. That is no repetition of a call whose
/// reply was lost: the second did nothing, and must not report the run's end again.
pub async fn a_path_that_one_worker_skips_twice_ends_its_run_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, deliver(&a, token("dead", 1, false))).await;
    let decide = || {
        let output = "7".to_owned();
        let state = AttemptOutcome::Succeeded { input: None, output: output.clone() }.into();
        let end = NewRow { spec: spec(END_NODE), span: Some(span()), state };
        let run_effect = RunChange::Succeed { output, events: Vec::new() };
        Commit { rows: vec![end], run: run_effect, ..skip(&ActivationKey::root(run, "dead")) }
    };
    let (first, second) = (decide(), decide());
    assert!(world.flip(lease, first.clone()).await.ended.is_some());
    let other = world.commit(lease, second).await;
    assert!(!other.flipped && other.ended.is_none() && other.activated.is_empty(), "{other:?}");
    assert!(world.flip(lease, first).await.ended.is_some(), "a lost reply is made good");
    let dead = world.node(run, "dead").await;
    assert_eq!((dead.state, dead.span), (NodeState::Skipped, None));
    assert_eq!(world.upstream(run, "dead").await.unwrap().span, None);
}

/// The reply to the commit that ended the run got lost.
pub async fn a_repeated_end_reports_the_ended_run(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let runs = world.accept_many(2, &["a"]).await;
    let lease = world.lease().await;
    let mut batch = Vec::new();
    for run in &runs {
        let a = world.won(lease, *run, "a").await;
        world.flip(lease, deliver(&a, token(END_NODE, 1, true))).await;
        batch.push(finish(&world.won(lease, *run, END_NODE).await, "7"));
    }
    let first = world.store.commit(lease, &batch).await.unwrap();
    let again = world.store.commit(lease, &batch).await.unwrap();
    for (first, again) in first.into_iter().zip(again) {
        assert_eq!((first.finishing, again.finishing), (false, false));
        let (first, again) = (first.ended.unwrap(), again.ended.unwrap());
        assert_eq!((first.header.id, first.ended_at), (again.header.id, again.ended_at));
        assert_eq!((first.state, again.state), (RunState::Succeeded, RunState::Succeeded));
    }
    let log = world.log_now(runs[0]).await;
    assert_eq!(words(&log).iter().filter(|word| **word == "run.succeeded").count(), 1);
}

/// In a run that is to end, no row of a commit stays open.
pub async fn open_rows_of_a_cancelled_run_start_cancelled(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b", "c", "d"]).await;
    let lease = world.lease().await;
    let mut claimed = Vec::new();
    for node in ["a", "b", "c", "d"] {
        claimed.push(world.won(lease, run, node).await);
    }
    // Of another run, in the same batch.
    let other = world.accept(&["a"]).await;
    claimed.push(world.won(lease, other, "a").await);
    world.store.request_cancel(&world.tenant, run).await.unwrap();
    let row = |node: &str, state| NewRow { state, ..kept(node) };
    let rows = vec![
        queued("later"),
        kept("mine"),
        row(
            "waits",
            AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) }.into(),
        ),
        row("done", AttemptOutcome::Succeeded { input: None, output: "1".to_owned() }.into()),
        row("dead", AttemptOutcome::Skipped.into()),
    ];
    let error = Failure::new("timeout", "too slow");
    let batch = [
        Commit { rows, ..succeed(&claimed[0]) },
        ended(
            &claimed[1],
            AttemptOutcome::Retry { input: None, error, delay: HOUR },
            Some("node.retry"),
        ),
        ended(
            &claimed[2],
            AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) },
            None,
        ),
        ended(&claimed[3], AttemptOutcome::Deferred { delay: Duration::ZERO }, None),
        finish(&claimed[4], "2"),
    ];
    for _ in 0..2 {
        let outcomes = world.store.commit(lease, &batch).await.unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.flipped));
        assert!(outcomes[..4].iter().all(|outcome| outcome.finishing));
        assert_eq!(outcomes[4].ended.as_ref().map(|run| run.state), Some(RunState::Succeeded));
        let cancelled = |node: &str| (node.to_owned(), NodeState::Cancelled, 0);
        let cancelled: Vec<_> = ["later", "mine", "waits"].map(cancelled).into();
        assert_eq!(found(&outcomes[0]), cancelled);
    }
    let nodes = world.detail(run).await.nodes;
    let open: Vec<_> = nodes.iter().filter(|node| !node.state.is_terminal()).collect();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(world.state(run, "done").await, Some(NodeState::Succeeded));
    assert_eq!(world.state(run, "b").await, Some(NodeState::Cancelled));
    assert_eq!(world.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.len(), 1);
    // Six rows are cancelled, and of each the log says so once.
    let log = world.log_now(run).await;
    assert_eq!(words(&log).iter().filter(|word| **word == "node.cancelled").count(), 6);
}
