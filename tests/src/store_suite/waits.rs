//! Waits for something from outside, and deadlines.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use skein_shared::domain::budget::{NewBudget, SpendingLimits};
use skein_shared::domain::ids::{CallId, RunId};
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::Store;
use skein_shared::store::recovery::{DueRange, SWEEP_ROWS_MAX};
use skein_shared::store::runs::NewRun;

use super::world::{SWEEP, World, ended, succeed};

const HOUR: Duration = Duration::from_secs(3600);

fn waiting(waiting_for: WaitFor) -> AttemptOutcome {
    AttemptOutcome::Waiting { input: None, waiting_for }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn decision() -> WaitFor {
    let arguments = r#"{"to":"ada"}"#.into();
    WaitFor::Decision { step: 3, tool: "send".into(), arguments, expires_in: HOUR }
}

/// A wait for something from outside is shown, and whoever takes the node up again learns what it was.
pub async fn a_wait_for_something_from_outside_is_shown_and_brought_along(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let claimed = world.won(lease, run, "a").await;
    assert_eq!(claimed.waited_for, None);
    world.flip(lease, ended(&claimed, waiting(decision()), None)).await;

    let row = world.node(run, "a").await;
    let shown: Value = serde_json::from_str(row.waiting_for.as_deref().unwrap()).unwrap();
    assert_eq!(
        shown,
        json!({"type": "decision", "step": 3, "tool": "send", "arguments": {"to": "ada"}})
    );
    assert!(row.wake_at.unwrap() > Utc::now() + HOUR / 2);
    assert_eq!(row.attempts, 0, "waits do not count");

    world.sweep(run).await;
    let claimed = world.won(lease, run, "a").await;
    assert_eq!(claimed.waited_for.as_deref().map(json_of), Some(shown));
    assert_eq!(world.node(run, "a").await.waiting_for, None, "it waits no more");
    // A wait for a time alone says nothing, and what was waited for before is forgotten.
    world.flip(lease, ended(&claimed, waiting(WaitFor::Time(HOUR)), None)).await;
    assert_eq!(world.node(run, "a").await.waiting_for, None);
    world.sweep(run).await;
    assert_eq!(world.won(lease, run, "a").await.waited_for, None);
}

/// A wait without a time has its run suspended, and no sweep ends it.
pub async fn a_wait_without_a_time_suspends_its_run_and_is_not_swept(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let lease = world.lease().await;
    let claimed = world.won(lease, run, "a").await;
    let budget = WaitFor::Budget { exhausted: None, looks: 0, retry_in: None, turn: None };
    world.flip(lease, ended(&claimed, waiting(budget), None)).await;
    let row = world.node(run, "a").await;
    assert_eq!((row.state, row.wake_at), (NodeState::Waiting, None));

    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    assert_eq!(world.detail(run).await.summary.state, RunState::Suspended);
    world.store.make_due(&[run]).await.unwrap();
    assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake, []);
    assert_eq!(world.state(run, "a").await, Some(NodeState::Waiting));
    let events = world.log(run, 4).await;
    let suspended = events.iter().find(|row| row.event == "run.suspended").unwrap();
    assert_eq!(suspended.message, "run suspended");
    assert_eq!(suspended.data.as_deref().map(json_of), Some(json!({"until": null})));

    // It is cancelled like any other.
    world.store.request_cancel(&world.tenant, run).await.unwrap();
    let finished = world.store.finish_runs(CallId::generate(), &[run]).await.unwrap();
    assert_eq!(finished.ended[0].state, RunState::Cancelled);
}

async fn accept_until(world: &World, seconds: i64) -> RunId {
    let limits = SpendingLimits { max_usd: Some(NanoDollars(5)), ..SpendingLimits::default() };
    let deadline_at = Some(Utc::now() + chrono::Duration::seconds(seconds));
    let budget = NewBudget { limits, deadline_at, ..NewBudget::default() };
    let run = NewRun { budget, ..world.run_of(&["a"]) };
    world.store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
    run.id
}

/// A run past its deadline ends as timed out, whatever it does then; one that has time left goes on.
pub async fn a_run_past_its_deadline_times_out(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (late, early) = (accept_until(&world, -1).await, accept_until(&world, 3600).await);
    let lease = world.lease().await;
    let claimed = world.won(lease, late, "a").await;
    assert_eq!(world.store.expire_runs(SWEEP_ROWS_MAX).await.unwrap(), 1);
    assert_eq!(world.store.expire_runs(SWEEP_ROWS_MAX).await.unwrap(), 0, "it was looked at");
    let due = world.store.due_runs(SWEEP_ROWS_MAX, DueRange::ALL).await.unwrap();
    assert_eq!((due.over, due.waiting), (vec![late], vec![]));
    assert_eq!(world.store.runs_over(&[late, early]).await.unwrap(), [late]);

    // What it was doing is asked to stop, and then it ends.
    world.flip(lease, ended(&claimed, AttemptOutcome::Cancelled, None)).await;
    let finished = world.store.finish_runs(CallId::generate(), &[late]).await.unwrap();
    assert_eq!(finished.ended[0].state, RunState::TimedOut);
    let shown = world.detail(late).await.summary;
    assert_eq!((shown.state, &*shown.error.unwrap().code), (RunState::TimedOut, "deadline"));
    assert!(world.log(late, 4).await.iter().any(|row| row.event == "run.timed_out"));
    assert_eq!(world.detail(early).await.summary.state, RunState::Queued);
}

/// A deadline says nothing about a run that has ended, or is to end for another reason.
pub async fn a_deadline_changes_nothing_about_a_run_that_has_ended_or_is_to_end(
    store: Arc<dyn Store>,
) {
    let world = World::new(store).await;
    let (done, cancelled) = (accept_until(&world, -1).await, accept_until(&world, -1).await);
    let lease = world.lease().await;
    let claimed = world.won(lease, done, "a").await;
    world.flip(lease, succeed(&claimed)).await;
    world.store.request_cancel(&world.tenant, cancelled).await.unwrap();
    world.store.request_cancel(&world.tenant, done).await.unwrap();
    world.store.finish_runs(CallId::generate(), &[done]).await.unwrap();
    assert_eq!(world.store.expire_runs(SWEEP_ROWS_MAX).await.unwrap(), 2);
    world.store.finish_runs(CallId::generate(), &[cancelled]).await.unwrap();
    for run in [done, cancelled] {
        let shown = world.detail(run).await.summary;
        assert_eq!((shown.state, shown.error), (RunState::Cancelled, None));
    }
}
