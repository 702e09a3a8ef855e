//! What is read of runs for those who look back at many of them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use skein_shared::domain::analysis::phases::{AttemptEnd, Awaited};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{CallId, END_NODE, LeaseId, RunId};
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::Store;
use skein_shared::store::analysis::{
    ACTIVATIONS_READ_MAX, Activations, AnalysedActivation, AnalysedRun, ROWS_READ_MAX,
    RUNS_READ_MAX, RunRange,
};
use skein_shared::store::engine::{Claimed, Commit, NewEvent, NewRow, NodeSpec};
use skein_shared::store::recovery::SweepOptions;

use super::steps::{begin, finish, model, result};
use super::world::{
    SWEEP, World, ended, event, fail, finish as end_run, queued, spec, succeed, version,
};

/// All that there is.
fn ever() -> RunRange {
    RunRange::between(DateTime::UNIX_EPOCH, Utc::now() + TimeDelta::days(1))
}

async fn runs_in(world: &World, range: RunRange) -> Vec<AnalysedRun> {
    world.store.runs_in(&world.tenant, None, range).await.unwrap()
}

/// The one run that there is.
async fn only_run(world: &World) -> AnalysedRun {
    let mut all = runs_in(world, ever()).await;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn ids(runs: &[AnalysedRun]) -> Vec<RunId> {
    runs.iter().map(|run| run.id).collect()
}

/// What a run has done.
async fn of_run(world: &World, run: RunId) -> Activations {
    world.store.activations_of(&world.tenant, &[run]).await.unwrap().remove(0)
}

fn find<'a>(found: &'a Activations, node: &str, scope: &str) -> &'a AnalysedActivation {
    let mut all = found.activations.iter();
    all.find(|it| (&*it.node, &*it.scope) == (node, scope)).unwrap()
}

/// Waits for something that somebody brings, as a worker would write it.
fn waits(claimed: &Claimed, waiting_for: WaitFor) -> Commit {
    let data = serde_json::json!({ "waiting_for": waiting_for.to_json() }).to_string();
    let told = NewEvent {
        data: Some(data),
        span: Some(claimed.span),
        ..event(&claimed.key.node, "node.waiting")
    };
    let waiting = AttemptOutcome::Waiting { input: None, waiting_for };
    Commit { events: vec![told], ..ended(claimed, waiting, None) }
}

/// From one run on and before another, of the tenant's own.
pub async fn runs_of_a_time_are_read_in_pages(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let stranger = World::of(Arc::clone(&world.store), Identity::new("acme", "side", "joe")).await;
    stranger.accept(&["a"]).await;
    let all = world.accept_many(RUNS_READ_MAX + 10, &["a"]).await;
    let mut sorted = all.clone();
    sorted.sort_unstable();
    let first = runs_in(&world, ever()).await;
    assert_eq!(ids(&first), sorted[..RUNS_READ_MAX]);
    let rest = runs_in(&world, ever().behind(first.last().unwrap().id)).await;
    assert_eq!(ids(&rest), sorted[RUNS_READ_MAX..]);
    assert!(runs_in(&world, ever().behind(rest.last().unwrap().id)).await.is_empty());
    // Nobody is in a time that is over before or begins behind.
    let hours = |hours| Utc::now() + TimeDelta::hours(hours);
    for (from, to) in [(-9, -1), (1, 9)] {
        assert!(runs_in(&world, RunRange::between(hours(from), hours(to))).await.is_empty());
    }
    // All parts together are all.
    let mut found = Vec::new();
    for part in RunRange::between(hours(-1), hours(1)).split(7) {
        let mut left = part;
        loop {
            let page = runs_in(&world, left).await;
            found.extend(ids(&page));
            let Some(last) = page.last() else { break };
            left = left.behind(last.id);
        }
    }
    assert_eq!(found, sorted);
    for (workflow, expected) in [(World::WORKFLOW, RUNS_READ_MAX), ("other", 0)] {
        let found = world.store.runs_in(&world.tenant, Some(workflow), ever()).await.unwrap();
        assert_eq!(ids(&found), sorted[..expected]);
    }
}

/// Ended and open, with what they cost.
pub async fn a_run_is_read_with_its_end_and_its_cost(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    world.started(lease, begin(&a, model(1, 100))).await;
    world.written(lease, finish(&a, result(1, 40))).await;
    let open = only_run(&world).await;
    let summary = world.detail(a.key.run).await.summary;
    assert_eq!((open.state, open.ended_at), (RunState::Running, None));
    assert_eq!((open.calls, open.unpriced_calls, open.cost), (1, 0, NanoDollars(40_000)));
    assert_eq!(
        (&*open.workflow, open.version, open.version_id),
        (World::WORKFLOW, 1, world.version)
    );
    assert_eq!((open.trace, open.created_at), (summary.trace.trace, summary.created_at));
    world.flip(lease, fail(&a)).await;
    world.store.finish_runs(CallId::generate(), &[a.key.run]).await.unwrap();
    let ended = only_run(&world).await;
    let summary = world.detail(a.key.run).await.summary;
    assert_eq!((ended.state, ended.ended_at), (RunState::Failed, summary.ended_at));
}

/// Retries, waits and what was given back, each with its reason, before the attempt that ended the node; and beside it a
/// node that was skipped, one that is repeated, and one that has not begun.
pub async fn what_a_run_has_done_is_read_attempt_by_attempt(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a", "b"]).await;
    let a = world.won(lease, run, "a").await;
    let retry = AttemptOutcome::Retry {
        input: None,
        error: Failure::new("http_status", "the server answered \"503\""),
        delay: Duration::from_secs(3_600),
    };
    world.flip(lease, ended(&a, retry, None)).await;
    world.sweep(run).await;
    let a = world.won(lease, run, "a").await;
    let decision = WaitFor::Decision {
        step: 1,
        tool: "search".into(),
        arguments: "{}".into(),
        expires_in: Duration::from_secs(3_600),
    };
    world.flip(lease, waits(&a, decision)).await;
    world.sweep(run).await;
    let a = world.won(lease, run, "a").await;
    let time = WaitFor::Time(Duration::from_secs(3_600));
    world.flip(lease, waits(&a, time)).await;
    world.sweep(run).await;
    let other = world.lease().await;
    world.won(other, run, "a").await;
    world.store.close_lease(other, &[]).await.unwrap();
    world.store.make_due(&[run]).await.unwrap();
    let a = world.won(lease, run, "a").await;
    let repeated =
        |scope: &str| NewRow { spec: NodeSpec { scope: scope.into(), ..spec("c") }, ..queued("c") };
    let skipped = NewRow { state: AttemptOutcome::Skipped.into(), ..queued("d") };
    let rows = vec![repeated("0"), repeated("0/1"), skipped];
    world.flip(lease, Commit { rows, ..succeed(&a) }).await;

    let found = of_run(&world, run).await;
    assert!(!found.are_cut);
    let keys: Vec<_> = found.activations.iter().map(|it| (&*it.node, &*it.scope)).collect();
    assert_eq!(keys, [("a", ""), ("b", ""), ("c", "0"), ("c", "0/1"), ("d", "")]);
    let a = find(&found, "a", "");
    let of: Vec<_> =
        a.earlier.iter().map(|it| (it.outcome, it.awaited, it.code.as_deref())).collect();
    let expected = [
        (AttemptEnd::Retry, None, Some("http_status")),
        (AttemptEnd::Waiting, Some(Awaited::Decision), None),
        (AttemptEnd::Waiting, Some(Awaited::Time), None),
        (AttemptEnd::Released, None, None),
    ];
    assert_eq!(of, expected);
    let shown = world.node(run, "a").await;
    for (found, shown) in a.earlier.iter().zip(&shown.earlier) {
        assert_eq!((found.started_at, found.ended_at), (shown.started_at, shown.ended_at));
    }
    assert_eq!((a.state, &*a.kind, a.code.as_deref()), (NodeState::Succeeded, "transform", None));
    let times = (a.queued_at, a.started_at, a.ended_at);
    assert_eq!(times, (shown.queued_at, shown.started_at, shown.ended_at));
    let skipped = find(&found, "d", "");
    assert_eq!((skipped.state, skipped.started_at), (NodeState::Skipped, None));
    assert!(skipped.ended_at.is_some() && skipped.earlier.is_empty());
    let open = find(&found, "b", "");
    assert_eq!((open.state, open.started_at, open.ended_at), (NodeState::Queued, None, None));

    let b = world.won(lease, run, "b").await;
    world.flip(lease, fail(&b)).await;
    let found = of_run(&world, run).await;
    let b = find(&found, "b", "");
    assert_eq!((b.state, b.code.as_deref()), (NodeState::Failed, Some("http_status")));
    for stranger in [Identity::new("umbrella", "main", "eve"), Identity::new("acme", "side", "joe")]
    {
        let found = world.store.activations_of(&stranger, &[run]).await.unwrap();
        assert_eq!(found, [Activations::default()]);
    }
}

/// A run that has gone on in a new trace is one run, with the wait between, and `__end__` is no node of it.
pub async fn a_run_of_several_segments_is_read_as_one(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a"]).await;
    let a = world.won(lease, run, "a").await;
    let hour = Duration::from_secs(3_600);
    let waiting = AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(hour) };
    world.flip(lease, ended(&a, waiting, Some("node.waiting"))).await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    let suspended = only_run(&world).await;
    assert_eq!((suspended.state, suspended.ended_at), (RunState::Suspended, None));
    world.store.make_due(&[run]).await.unwrap();
    let in_a_new_trace =
        SweepOptions { trace_wait_max: Duration::ZERO, call: CallId::generate(), ..SWEEP };
    world.store.sweep(in_a_new_trace).await.unwrap();
    let a = world.won(lease, run, "a").await;
    world.flip(lease, Commit { rows: vec![queued(END_NODE)], ..succeed(&a) }).await;
    let end = world.won(lease, run, END_NODE).await;
    world.flip(lease, end_run(&end, "1")).await;
    let ended = only_run(&world).await;
    assert_eq!((ended.state, ended.id), (RunState::Succeeded, run));
    assert_ne!(ended.trace, suspended.trace);
    let found = of_run(&world, run).await;
    let keys: Vec<_> = found.activations.iter().map(|it| (&*it.node, it.earlier.len())).collect();
    assert_eq!(keys, [("a", 1)]);
    // An attempt of which the log says nothing more has waited for a time.
    assert_eq!(found.activations[0].earlier[0].awaited, None);
}

/// A run of one node, behind which so many repetitions of another are queued.
async fn wide(world: &World, lease: LeaseId, rows: usize) -> RunId {
    let run = world.accept(&["a"]).await;
    let row = |at: usize| NewRow {
        spec: NodeSpec { scope: at.to_string().into(), ..spec("b") },
        ..queued("b")
    };
    world.pass(lease, run, "a", (0..rows).map(row).collect()).await;
    run
}

/// From the first on, in their order, and each whole.
pub async fn as_many_runs_are_read_as_rows_are_enough_for(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let half = ROWS_READ_MAX / 2 - 500;
    let mut runs = vec![world.accept(&["a"]).await];
    for _ in 0..3 {
        runs.push(wide(&world, lease, half).await);
    }
    let read = async |runs: &[RunId]| {
        let found = world.store.activations_of(&world.tenant, runs).await.unwrap();
        assert!(found.iter().all(|run| !run.are_cut));
        found.iter().map(|run| run.activations.len()).collect::<Vec<_>>()
    };
    assert_eq!(read(&runs).await, [1, half + 1, half + 1]);
    assert_eq!(read(&runs[3..]).await, [half + 1]);
    assert_eq!(read(&[]).await, [0; 0]);
    // What is not there has done nothing, and is in nobody's way.
    let unknown = RunId::generate();
    assert_eq!(read(&[unknown, runs[0], unknown]).await, [0, 1, 0]);
}

/// And it is said that there are more.
pub async fn of_a_run_with_very_many_activations_some_are_read(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = wide(&world, lease, ACTIVATIONS_READ_MAX).await;
    let found = of_run(&world, run).await;
    assert_eq!((found.activations.len(), found.are_cut), (ACTIVATIONS_READ_MAX, true));
}

/// Those that were asked for, as they were published.
pub async fn documents_are_read_of_versions_of_ones_own(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let stranger = World::of(Arc::clone(&world.store), Identity::new("acme", "side", "joe")).await;
    let second = version(World::WORKFLOW, r#"{"nodes": []}"#);
    let second = world.store.publish_workflow(&world.tenant, &second).await.unwrap().id;
    let asked = [world.version, second, stranger.version];
    let mut found = world.store.documents_of(&world.tenant, &asked).await.unwrap();
    found.sort_by_key(|(version, _)| *version);
    let mut expected =
        vec![(world.version, "{}".to_owned()), (second, r#"{"nodes": []}"#.to_owned())];
    expected.sort_by_key(|(version, _)| *version);
    assert_eq!(found, expected);
    assert_eq!(world.store.documents_of(&world.tenant, &[]).await.unwrap(), []);
}

/// Of one workspace, and of the time that was asked for.
pub async fn costs_of_models_are_summed_up_with_the_dearest_run(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let stranger = World::of(Arc::clone(&world.store), Identity::new("acme", "side", "joe")).await;
    let mut runs = Vec::new();
    for (world, taken) in [(&world, 10), (&world, 70), (&world, 20), (&stranger, 90)] {
        let (lease, a) = world.at_work().await;
        world.started(lease, begin(&a, model(1, 100))).await;
        world.written(lease, finish(&a, result(1, taken))).await;
        runs.push((a.key.run, a.run.trace.trace));
    }
    let day = TimeDelta::days(1);
    let (from, to) = (Utc::now() - day, Utc::now() + day);
    let costs = async |workflow, from, to| {
        world.store.model_costs_in(&world.tenant, workflow, from, to).await.unwrap()
    };
    for workflow in [None, Some(World::WORKFLOW)] {
        let found = costs(workflow, from, to).await;
        let [group] = &found[..] else { panic!("{found:?}") };
        let names = (&*group.workflow, &*group.provider, &*group.model);
        assert_eq!(names, (World::WORKFLOW, "acme-ai", "large"));
        let spent = group.spending;
        assert_eq!((spent.calls, spent.unpriced_calls, spent.cost), (3, 0, NanoDollars(100_000)));
        assert_eq!((spent.usage.input_tokens, spent.steps), (100, 3));
        assert_eq!((group.dearest, (group.run, group.trace)), (NanoDollars(70_000), runs[1]));
    }
    assert_eq!(costs(Some("other"), from, to).await, []);
    assert_eq!(costs(None, from - day, from).await, []);
    assert_eq!(costs(None, to, to + day).await, []);
}

/// Nothing is a run of nobody.
pub async fn strangers_look_back_at_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (_, a) = world.at_work().await;
    for stranger in [Identity::new("umbrella", "main", "eve"), Identity::new("acme", "side", "joe")]
    {
        let store = &world.store;
        assert_eq!(store.runs_in(&stranger, None, ever()).await.unwrap(), []);
        assert_eq!(store.runs_in(&stranger, Some(World::WORKFLOW), ever()).await.unwrap(), []);
        assert_eq!(store.documents_of(&stranger, &[world.version]).await.unwrap(), []);
        let found = store.activations_of(&stranger, &[a.key.run]).await.unwrap();
        assert_eq!(found, [Activations::default()]);
    }
}
