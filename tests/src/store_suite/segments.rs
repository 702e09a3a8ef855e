//! Runs that wait: when they are suspended, how they go on, and in which trace.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, CallId, LeaseId, RunId};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::run::ClosedSegment;
use skein_shared::domain::state::RunState;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::TraceContext;
use skein_shared::store::engine::{Claimed, Commit, NewRow};
use skein_shared::store::recovery::{DueRange, Sweep, SweepOptions};
use skein_shared::store::runs::RunFilter;
use skein_shared::store::{PageRequest, Store};

use super::world::{
    PATIENCE, SWEEP, World, deliver, ended, finish, kept, queued, span, spec, succeed, token, words,
};

const HOUR: Duration = Duration::from_secs(3600);
/// Every wait is a long one.
const IN_A_NEW_TRACE: SweepOptions = SweepOptions { trace_wait_max: Duration::ZERO, ..SWEEP };

/// Has a claimable node wait for an hour.
async fn park(world: &World, lease: LeaseId, run: RunId, node: &str) {
    let claimed = world.won(lease, run, node).await;
    let waiting = AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) };
    world.flip(lease, ended(&claimed, waiting, Some("node.waiting"))).await;
}

/// A run of two nodes, `a` and `b`, that both wait for an hour.
async fn both_parked(world: &World, lease: LeaseId) -> RunId {
    let run = world.accept(&["a", "b"]).await;
    park(world, lease, run, "a").await;
    park(world, lease, run, "b").await;
    run
}

/// Makes a run due and sweeps it.
async fn sweep(world: &World, run: RunId, options: SweepOptions) -> Sweep {
    assert!(world.store.make_due(&[run]).await.unwrap() > 0);
    world.store.sweep(options).await.unwrap()
}

/// A run of one node that has waited, and goes on in its second trace. Its sweep is `call`.
async fn resumed(world: &World, lease: LeaseId, call: CallId) -> (RunId, Sweep) {
    let run = world.accept(&["a"]).await;
    park(world, lease, run, "a").await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    let sweep = sweep(world, run, SweepOptions { call, ..IN_A_NEW_TRACE }).await;
    (run, sweep)
}

fn root(segment: &ClosedSegment) -> TraceContext {
    segment.header.trace.root_context()
}

/// A run is suspended once nothing of it works, since when the last of its nodes began to wait; and runs when
/// one goes on.
pub async fn a_run_is_suspended_while_everything_waits(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a", "b"]).await;
    park(&world, lease, run, "a").await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 0, "b is queued");
    let b = world.won(lease, run, "b").await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 0, "b runs");
    let retry = AttemptOutcome::Retry {
        input: None,
        error: Failure::new("http_status", "503"),
        delay: HOUR,
    };
    world.flip(lease, ended(&b, retry, Some("node.retrying"))).await;
    assert_eq!(world.run_state(run).await, RunState::Running);
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 0, "it is already");
    assert_eq!(world.run_state(run).await, RunState::Suspended);
    let until = world.node(run, "a").await.wake_at.unwrap();
    let filter = RunFilter { states: vec![RunState::Suspended], ..RunFilter::default() };
    let page = PageRequest { limit: 10, cursor: None };
    let listed = world.store.list_runs(&world.tenant, &filter, &page).await.unwrap();
    assert_eq!(listed.items.iter().map(|run| run.id).collect::<Vec<_>>(), [run]);

    let before = world.detail(run).await.summary.trace;
    let swept = sweep(&world, run, SWEEP).await;
    assert_eq!((swept.wake.len(), swept.has_closed), (2, false));
    assert_eq!(world.run_state(run).await, RunState::Running);
    assert_eq!(world.detail(run).await.summary.trace, before, "it was no long wait");
    assert!(world.store.list_runs(&world.tenant, &filter, &page).await.unwrap().items.is_empty());
    let log = world.cancel_and_log(run).await;
    let rows: Vec<_> = log.iter().filter(|row| row.event.starts_with("run.")).collect();
    let events: Vec<_> = rows.iter().map(|row| &*row.event).collect();
    let expected = ["run.accepted", "run.started", "run.suspended", "run.resumed"];
    assert_eq!(events[..4], expected);
    let data: serde_json::Value = serde_json::from_str(rows[2].data.as_ref().unwrap()).unwrap();
    let said = data["until"].as_str().unwrap();
    assert!(until.to_rfc3339().starts_with(&said[..19]), "{said} is not {until}");
    assert!(rows[2].message.ends_with(said), "{}", rows[2].message);
}

/// Waits that somebody may want to know of make their runs due for a recheck, by whoever comes first.
pub async fn a_long_wait_has_its_run_rechecked(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let other = world.accept(&["a"]).await;
    let brief = world.won(lease, other, "a").await;
    let waiting =
        AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(Duration::from_secs(4)) };
    world.flip(lease, ended(&brief, waiting, None)).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(
        world.store.due_runs(10, DueRange::ALL).await.unwrap().waiting.is_empty(),
        "four seconds are not long"
    );
    world.cancel(other).await.unwrap();
    // Of one that is inlined it is the same.
    let run = world.accept(&["b", "c"]).await;
    let state = AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) }.into();
    let inlined = NewRow { spec: spec("d"), span: Some(span()), state };
    world.pass(lease, run, "b", vec![inlined]).await;
    until_due(&world, run).await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 0, "c is queued");
    let again = world.store.sweep(SWEEP).await.unwrap().next_due.expect("it is rechecked");
    assert!(again > Duration::from_secs(15), "{again:?}");
    park(&world, lease, run, "c").await;
    until_due(&world, run).await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    assert_eq!(world.store.sweep(SWEEP).await.unwrap().next_due, None, "there is no more to see");
}

async fn until_due(world: &World, run: RunId) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let due = world.store.due_runs(10, DueRange::ALL).await.unwrap();
        assert!(due.over.is_empty());
        if due.waiting == [run] {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "nobody rechecks the run");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A run is shown as suspended as soon as nothing of it works any more, not when it is looked at the next time.
pub async fn the_last_node_that_ends_has_its_run_rechecked_at_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a", "b", "c"]).await;
    let due = async || world.store.due_runs(10, DueRange::ALL).await.unwrap().waiting;
    park(&world, lease, run, "a").await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 0, "b and c are queued");
    world.pass(lease, run, "b", vec![queued("d")]).await;
    assert_eq!(due().await, [], "it leads to d");
    let (c, d) = (world.won(lease, run, "c").await, world.won(lease, run, "d").await);
    // Both lead to a join that waits for a as well.
    world.flip(lease, deliver(&c, token("join", 3, true))).await;
    assert_eq!(due().await, [], "d runs");
    world.flip(lease, deliver(&d, token("join", 3, true))).await;
    assert_eq!(due().await, [run]);
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    // Where nothing waits, nobody need look.
    let other = world.accept(&["a"]).await;
    let a = world.won(lease, other, "a").await;
    world.flip(lease, deliver(&a, token("join", 2, true))).await;
    assert_eq!(due().await, []);
}

/// The recheck comes first also when nobody was there for the whole wait: a run that was suspended for long does not go
/// on in its old trace because nobody has noticed.
pub async fn a_wait_whose_run_nobody_rechecked_is_rechecked_first(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a"]).await;
    park(&world, lease, run, "a").await;
    let swept = sweep(&world, run, IN_A_NEW_TRACE).await;
    assert_eq!((swept.wake.len(), swept.deferred), (0, 1));
    assert_eq!(
        world.store.due_runs(10, DueRange::ALL).await.unwrap().waiting,
        [run],
        "it is rechecked now"
    );
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    let swept = sweep(&world, run, IN_A_NEW_TRACE).await;
    assert_eq!((swept.wake.len(), swept.has_closed), (1, true));
    // Not for ever: whoever was to recheck may have died.
    let run = world.accept(&["a"]).await;
    park(&world, lease, run, "a").await;
    assert_eq!(sweep(&world, run, IN_A_NEW_TRACE).await.wake.len(), 0);
    assert_eq!(sweep(&world, run, IN_A_NEW_TRACE).await.wake.len(), 1);
    assert_eq!(world.detail(run).await.summary.segment, 1);
}

/// After a long wait everything that happens is in the new trace, and what happened before stays in the old one.
pub async fn a_run_goes_on_in_a_new_trace(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a"]).await;
    let before = world.detail(run).await.summary.trace;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, Commit { rows: vec![kept("b")], ..succeed(&a) }).await;
    let b = Claimed { key: ActivationKey::root(run, "b"), claim: 1, ..a.clone() };
    let waiting = AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) };
    world.flip(lease, ended(&b, waiting, None)).await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    let call = CallId::generate();
    let mut swept = sweep(&world, run, SweepOptions { call, ..IN_A_NEW_TRACE }).await;
    assert!(swept.has_closed);

    let detail = world.detail(run).await;
    let after = detail.summary.trace;
    assert_ne!((before.trace, before.root), (after.trace, after.root));
    assert_eq!((before.publish, before.flags), (after.publish, after.flags));
    assert_eq!((before.state.is_some(), &after.state), (true, &None), "no caller knows it");
    assert_eq!((detail.summary.segment, detail.summary.state), (2, RunState::Running));
    let [earlier] = &detail.earlier[..] else { panic!("{:?}", detail.earlier) };
    assert_eq!((earlier.number, earlier.trace, earlier.root), (1, before.trace, before.root));
    assert_eq!(earlier.started_at, detail.summary.started_at.unwrap());
    let waits_since = detail.nodes[1].earlier[0].ended_at;
    assert_eq!(earlier.suspended_at, waits_since);
    let due = swept.wake.remove(0);
    assert_eq!((due.publisher.trace, due.parent, due.root), (after.trace, None, after.root));
    assert_eq!(due.state, None);

    let b = world.won(lease, run, "b").await;
    assert_eq!(b.run.trace, after);
    let parent = world.upstream(run, "a").await.unwrap();
    assert_eq!((parent.span, parent.trace), (Some(a.span), Some(before.trace)));
    world.flip(lease, Commit { rows: vec![kept("__end__")], ..succeed(&b) }).await;
    let child = world.upstream(run, "b").await.unwrap();
    assert_eq!((child.span, child.trace), (Some(b.span), None), "it is in the present one");
    let end = Claimed { key: ActivationKey::root(run, "__end__"), claim: 1, ..b.clone() };
    let ended = world.flip(lease, finish(&end, "1")).await.ended.unwrap();
    assert_eq!(ended.header.trace, after);
    let resumed = ended.resumed.unwrap();
    assert_eq!((resumed.segment, resumed.from), (2, before.root_context()));

    let detail = world.detail(run).await;
    let [a, b] = &detail.nodes[..] else { panic!("{:?}", detail.nodes) };
    assert_eq!((a.trace, b.trace, b.earlier[0].trace), (before.trace, after.trace, before.trace));
    let key = ActivationKey::root(run, "b");
    let alone = world.store.find_node(&world.tenant, &key).await.unwrap().unwrap();
    assert_eq!((alone.trace, &alone.earlier), (b.trace, &b.earlier));
    let log = world.log_now(run).await;
    let turn = words(&log).iter().position(|word| *word == "run.resumed").unwrap();
    assert!(log[..turn].iter().all(|row| row.trace == before.trace), "{log:#?}");
    assert!(log[turn..].iter().all(|row| row.trace == after.trace), "{log:#?}");
    let data: serde_json::Value = serde_json::from_str(log[turn].data.as_ref().unwrap()).unwrap();
    let expected =
        serde_json::json!({ "segment": 2, "earlier_trace_id": before.trace.to_string() });
    assert_eq!((data, log[turn].span), (expected, after.root));
}

/// Whoever swept is returned what it has closed, as often as it asks: the reply may get lost.
pub async fn a_closed_segment_is_returned_to_its_sweep(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let (first, second) = (CallId::generate(), CallId::generate());
    let (run, _) = resumed(&world, lease, first).await;
    assert!(world.store.closed_segments(second).await.unwrap().is_empty());
    park(&world, lease, run, "a").await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    sweep(&world, run, SweepOptions { call: second, ..IN_A_NEW_TRACE }).await;
    let detail = world.detail(run).await;
    for _ in 0..2 {
        let one = world.store.closed_segments(first).await.unwrap().remove(0);
        let two = world.store.closed_segments(second).await.unwrap().remove(0);
        assert_eq!((one.header.id, &one.header.identity), (run, &world.tenant));
        assert_eq!((one.resumed, one.next), (None, root(&two)));
        assert_eq!((one.header.trace.state.is_some(), &two.header.trace.state), (true, &None));
        let resumed = two.resumed.unwrap();
        assert_eq!((resumed.segment, resumed.from), (2, root(&one)));
        assert_eq!(two.next, detail.summary.trace.root_context());
        assert_eq!(one.started_at, two.started_at, "the run's");
        assert!(one.suspended_at <= resumed.at && resumed.at <= two.suspended_at);
    }
    let numbers: Vec<_> = detail.earlier.iter().map(|segment| segment.number).collect();
    assert_eq!((numbers, detail.summary.segment), (vec![1, 2], 3));
    assert_eq!(detail.nodes[0].earlier.len(), 2);
    let stranger = Identity::new("other", "main", "bob");
    assert!(world.store.find_run(&stranger, run, 0).await.unwrap().is_none());
}

/// Of two waits that end together, in two sweeps, one opens the new trace and both go on in it.
pub async fn two_waits_that_end_together_open_one_trace(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    for _ in 0..20 {
        let run = both_parked(&world, lease).await;
        assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
        world.store.make_due(&[run]).await.unwrap();
        let one = || async {
            let options = SweepOptions { limit: 1, call: CallId::generate(), ..IN_A_NEW_TRACE };
            (world.store.sweep(options).await.unwrap(), options.call)
        };
        let (left, right) = tokio::join!(one(), one());
        let mut wakes = [left.0.wake, right.0.wake].concat();
        while wakes.len() < 2 {
            // One may have skipped the row that the other had locked.
            wakes.extend(one().await.0.wake);
        }
        let detail = world.detail(run).await;
        assert_eq!((detail.summary.segment, detail.earlier.len()), (2, 1));
        let trace = detail.summary.trace;
        assert!(wakes.iter().all(|wake| wake.publisher.trace == trace.trace), "{wakes:?}");
        assert!(
            wakes.iter().all(|wake| (wake.parent, wake.root) == (None, trace.root)),
            "{wakes:?}"
        );
        for node in ["a", "b"] {
            assert_eq!(world.won(lease, run, node).await.run.trace, trace);
        }
    }
}

/// While one node goes on, another may be found waiting, and the run is not suspended by that.
pub async fn a_recheck_and_a_sweep_agree(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    for _ in 0..20 {
        let run = both_parked(&world, lease).await;
        world.store.make_due(&[run]).await.unwrap();
        let one = SweepOptions { limit: 1, ..SWEEP };
        let runs = [run];
        let (swept, suspended) = tokio::join!(world.store.sweep(one), world.store.suspend(&runs));
        let (swept, suspended) = (swept.unwrap(), suspended.unwrap());
        let mut wakes = swept.wake;
        while wakes.is_empty() {
            wakes.extend(world.store.sweep(one).await.unwrap().wake);
        }
        assert_eq!(world.run_state(run).await, RunState::Running, "{wakes:?} after {suspended}");
        // So that no later sweep finds what this one has left.
        world.cancel(run).await.unwrap();
    }
}

/// A suspended run ends like any other when it is cancelled, in the trace that it has.
pub async fn a_suspended_run_is_cancelled(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let (run, _) = resumed(&world, lease, CallId::generate()).await;
    park(&world, lease, run, "a").await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    let ended = world.cancel(run).await.unwrap();
    assert_eq!(ended.state, RunState::Cancelled);
    let resumed = ended.resumed.unwrap();
    assert_eq!(resumed.segment, 2);
    assert_eq!(world.detail(run).await.summary.segment, 2);
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 0);
    assert_eq!(world.run_state(run).await, RunState::Cancelled);
}
