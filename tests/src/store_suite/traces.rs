//! What is kept of runs' spans.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, CallId, RunId};
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::RunState;
use skein_shared::domain::step::{StepKind, StepStatus};
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::traced::{
    AttemptPosition, TracedAttempt, TracedEnd, TracedRequest, TracedStep,
};
use skein_shared::domain::usage::Usage;
use skein_shared::store::Store;
use skein_shared::store::engine::{Claimed, Commit, NewRow, NodeSpec};
use skein_shared::store::recovery::SweepOptions;
use skein_shared::store::runs::NewRun;
use skein_shared::store::steps::{Charge, StepIntent, StepResult, StepWrite};

use super::steps::{begin, finish as written, model, result, tool};
use super::world::{SWEEP, World, ended, fail, kept, queued, span, spec, succeed};

const HOUR: Duration = Duration::from_secs(3600);
const START: AttemptPosition = AttemptPosition { ordinal: 0, claim: 0 };

fn failure() -> Failure {
    Failure::new("timeout", "slow")
}

fn waiting() -> AttemptOutcome {
    AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) }
}

impl World {
    /// All attempts of a run that have ended, from pages of two.
    async fn traced_attempts(&self, run: RunId) -> Vec<TracedAttempt> {
        let (mut all, mut after) = (Vec::new(), START);
        loop {
            let page = self.store.traced_attempts(&self.tenant, run, after, 2).await.unwrap();
            let Some(last) = page.last() else { return all };
            assert!(page.len() <= 2 && last.position > after);
            after = last.position;
            all.extend(page);
        }
    }

    /// All steps of a run that are over, from pages of two.
    async fn traced_steps(&self, run: RunId) -> Vec<TracedStep> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self.store.traced_steps(&self.tenant, run, after, 2).await.unwrap();
            let Some(last) = page.last() else { return all };
            assert!(page.len() <= 2 && last.position > after);
            after = last.position;
            all.extend(page);
        }
    }
}

/// What became of an attempt, in a word.
fn word(attempt: &TracedAttempt) -> &'static str {
    match &attempt.end {
        TracedEnd::Outcome(AttemptOutcome::Succeeded { .. }) => "succeeded",
        TracedEnd::Outcome(AttemptOutcome::Failed { .. }) => "failed",
        TracedEnd::Outcome(AttemptOutcome::Retry { .. }) => "retry",
        TracedEnd::Outcome(AttemptOutcome::Waiting { .. }) => "waiting",
        TracedEnd::Outcome(AttemptOutcome::Cancelled) => "cancelled",
        TracedEnd::Abandoned { is_crash: false } => "released",
        TracedEnd::Abandoned { is_crash: true } => "crashed",
        other => panic!("{other:?}"),
    }
}

/// A run is there with how it was accepted, and with its end as soon as it has one.
pub async fn what_led_to_a_run_is_kept(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let new = world.run_of(&["a", "b"]);
    // The span that has published them is the run's own.
    let entry = |node| NodeSpec { publish_span: new.trace.publish, ..spec(node) };
    let new = NewRun { entries: vec![entry("a"), entry("b")], ..new.clone() };
    world.store.accept_runs(from_ref(&new)).await.unwrap();
    let of = async || world.store.traced_run(&world.tenant, new.id).await.unwrap().unwrap();
    let open = of().await;
    assert_eq!((open.header.id, &open.header.trace), (new.id, &new.trace));
    assert_eq!((&open.first, open.request), (&new.trace, Some(new.request_span)));
    assert_eq!((open.entries, open.ended.is_none()), (2, true));
    assert_eq!(open.header.identity, world.tenant);
    let ended = world.cancel(new.id).await.unwrap();
    let found = of().await.ended.unwrap();
    assert_eq!((found.state, found.ended_at), (RunState::Cancelled, ended.ended_at));
    assert_eq!((found.started_at, found.error), (None, None));
}

/// Every attempt that has ended is there once, in its order, however it has ended; what never began is not.
pub async fn every_attempt_is_kept_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a"]).await;
    let retry = AttemptOutcome::Retry { input: None, error: failure(), delay: HOUR };
    let deferred = AttemptOutcome::Deferred { delay: Duration::ZERO };
    let mut spans = Vec::new();
    for outcome in [retry, waiting(), deferred] {
        let claimed = world.won(lease, run, "a").await;
        spans.extend(world.node(run, "a").await.span);
        world.flip(lease, ended(&claimed, outcome, None)).await;
        world.sweep(run).await;
    }
    let inlined = |node: &str, outcome: AttemptOutcome| NewRow {
        spec: spec(node),
        span: Some(span()),
        state: outcome.into(),
    };
    let done = AttemptOutcome::Succeeded { input: None, output: "1".to_owned() };
    let rows = vec![
        inlined("inlined", done),
        inlined("waits", waiting()),
        kept("kept"),
        queued("never"),
        NewRow { spec: spec("skipped"), span: None, state: AttemptOutcome::Skipped.into() },
    ];
    let claimed = world.won(lease, run, "a").await;
    spans.extend(world.node(run, "a").await.span);
    world.flip(lease, Commit { rows, ..succeed(&claimed) }).await;
    let running = world.traced_attempts(run).await;
    assert!(running.iter().all(|attempt| &*attempt.key.node != "kept"), "it has not ended");
    // What waits after an attempt has had that one alone.
    let kept = Claimed { key: ActivationKey::root(run, "kept"), claim: 1, ..claimed };
    world.store.request_cancel(&world.tenant, run).await.unwrap().unwrap();
    world.flip(lease, ended(&kept, AttemptOutcome::Cancelled, None)).await;
    world.cancel(run).await.unwrap();

    let attempts = world.traced_attempts(run).await;
    let told: Vec<_> = attempts
        .iter()
        .map(|it| (&*it.key.node, it.position.claim, it.number, word(it), it.is_only))
        .collect();
    assert_eq!(
        told,
        [
            ("a", 1, 1, "retry", false),
            ("a", 2, 2, "waiting", false),
            ("a", 3, 2, "released", false),
            ("a", 4, 2, "succeeded", false),
            ("inlined", 0, 1, "succeeded", false),
            ("waits", 0, 1, "waiting", false),
            ("kept", 1, 1, "cancelled", true),
        ]
    );
    assert_eq!(attempts[..4].iter().map(|it| it.span).collect::<Vec<_>>(), spans);
    let TracedEnd::Outcome(retried) = &attempts[0].end else { panic!("{:?}", attempts[0]) };
    assert_eq!(retried.error(), Some(&failure()));
    let last = world.node(run, "a").await;
    assert_eq!(
        (Some(attempts[3].started_at), Some(attempts[3].ended_at)),
        (last.started_at, last.ended_at)
    );
    // What was kept was claimed by the commit that ended the one before it: at one and the same time.
    assert_eq!(attempts[6].started_at, attempts[3].ended_at);
    for attempt in &attempts {
        assert_eq!((attempt.header.id, &*attempt.kind), (run, "transform"));
        assert!(attempt.agent.is_none() && attempt.started_at <= attempt.ended_at);
    }
    assert_eq!(attempts[3].publish, attempts[0].publish);
}

/// A run's failure and that of its node are what they were the first time.
pub async fn a_failure_is_kept_with_its_attempt(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a"]).await;
    let claimed = world.won(lease, run, "a").await;
    world.flip(lease, fail(&claimed)).await;
    let finished = world.store.finish_runs(CallId::generate(), &[run]).await;
    let ended = finished.unwrap().ended.pop().unwrap();
    let found = world.store.traced_run(&world.tenant, run).await.unwrap().unwrap().ended.unwrap();
    assert_eq!((found.state, &found.error), (RunState::Failed, &ended.error));
    assert_eq!((found.started_at, found.ended_at), (ended.started_at, ended.ended_at));
    let attempts = world.traced_attempts(run).await;
    assert_eq!(attempts.iter().map(word).collect::<Vec<_>>(), ["failed"]);
    let TracedEnd::Outcome(failed) = &attempts[0].end else { panic!("{:?}", attempts[0]) };
    assert_eq!(failed.error().map(|error| &*error.code), Some("http_status"));
}

/// What a run did before a long wait stays in the trace that it had then.
pub async fn everything_is_in_the_trace_that_it_was_in(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a"]).await;
    let before = world.detail(run).await.summary.trace;
    let a = world.won(lease, run, "a").await;
    world.flip(lease, Commit { rows: vec![kept("b")], ..succeed(&a) }).await;
    let b = Claimed { key: ActivationKey::root(run, "b"), claim: 1, ..a };
    world.flip(lease, ended(&b, waiting(), None)).await;
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    world.store.make_due(&[run]).await.unwrap();
    let in_a_new_trace = SweepOptions { trace_wait_max: Duration::ZERO, ..SWEEP };
    assert!(world.store.sweep(in_a_new_trace).await.unwrap().has_closed);
    let b = world.won(lease, run, "b").await;
    world.flip(lease, succeed(&b)).await;
    let after = world.detail(run).await.summary.trace;
    assert_ne!(before.trace, after.trace);

    let attempts = world.traced_attempts(run).await;
    let traces: Vec<_> =
        attempts.iter().map(|it| (&*it.key.node, word(it), it.header.trace.clone())).collect();
    let expected = [
        ("a", "succeeded", before.clone()),
        ("b", "waiting", before.clone()),
        ("b", "succeeded", after.clone()),
    ];
    assert_eq!(traces, expected);
    let segments = world.store.traced_segments(&world.tenant, run, 0, 10).await.unwrap();
    let [segment] = &segments[..] else { panic!("{segments:?}") };
    assert_eq!((&segment.header.trace, segment.next), (&before, after.root_context()));
    assert!(segment.resumed.is_none());
    assert!(world.store.traced_segments(&world.tenant, run, 1, 10).await.unwrap().is_empty());
    let found = world.store.traced_run(&world.tenant, run).await.unwrap().unwrap();
    assert_eq!((&found.header.trace, &found.first), (&after, &before));

    let keys = ["a", "b", "nobody"].map(|node| ActivationKey::root(run, node));
    let mut nodes = world.store.traced_nodes(&world.tenant, run, &keys).await.unwrap();
    nodes.sort_by(|one, other| one.key.cmp(&other.key));
    let found: Vec<_> = nodes.iter().map(|node| (&*node.key.node, &node.trace)).collect();
    assert_eq!(found, [("a", &before), ("b", &after)]);
    for node in &nodes {
        let row = world.node(run, &node.key.node).await;
        assert_eq!((node.span, node.ended_at), (row.span, row.ended_at));
    }
}

fn answered(seq: u32) -> StepResult {
    let usage =
        Usage { input_tokens: 80, cached_tokens: 30, cache_write_tokens: 0, output_tokens: 5 };
    StepResult {
        observation: Some(r#"{"text":"honk","finish_reason":"stop"}"#.to_owned()),
        charge: Charge::Counted(usage),
        ..result(seq, 0)
    }
}

/// Steps are there when they are over, with what they were asked with and what came of them.
pub async fn a_step_is_kept_when_it_is_over(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let run = a.key.run;
    let decided = StepIntent { decision_within: Some(HOUR), ..tool(4) };
    let failed = StepResult {
        status: StepStatus::Failed,
        error: Some(Failure::new("http_status", "what it said")),
        charge: Charge::Nothing,
        ..result(2, 0)
    };
    let uncounted = StepResult { charge: Charge::Reserved, ..result(3, 0) };
    let intents = [model(1, 100), tool(2), model(3, 100)];
    world.started(lease, begin(&a, intents[0].clone())).await;
    assert!(world.traced_steps(run).await.is_empty(), "it is under way");
    let next = StepWrite { finished: Some(answered(1)), ..begin(&a, intents[1].clone()) };
    world.started(lease, next).await;
    let next = StepWrite { finished: Some(failed), ..begin(&a, intents[2].clone()) };
    world.started(lease, next).await;
    world.written(lease, written(&a, uncounted)).await;
    world.written(lease, begin(&a, decided)).await;
    let input = r#"{"temperature":0.5,"stop":["END"],"stream":true,"schema":{"type":"object"},
                    "tools":[{"http":{"name":"search","url":"x"}},{"mcp":{"url":"y"}}]}"#;
    let output =
        AttemptOutcome::Succeeded { input: Some(input.to_owned()), output: "1".to_owned() };
    world.flip(lease, ended(&a, output, None)).await;

    let steps = world.traced_steps(run).await;
    let told: Vec<_> = steps.iter().map(|it| (it.seq, it.attempt, it.kind, it.status)).collect();
    let expected = [
        (1, 1, StepKind::Model, StepStatus::Succeeded),
        (2, 1, StepKind::Tool, StepStatus::Failed),
        (3, 1, StepKind::Model, StepStatus::Succeeded),
    ];
    assert_eq!(told, expected, "what waits for a decision was not made");
    let spans: Vec<_> = steps.iter().map(|it| it.span).collect();
    assert_eq!(spans, intents.each_ref().map(|intent| intent.span));
    let attempt = world.node(run, "a").await.span;
    assert!(steps.iter().all(|it| it.parent == attempt && it.header.id == run), "{steps:#?}");
    let [call, search, reserved] = &steps[..] else { panic!("{steps:#?}") };
    let usage = call.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cached_tokens, usage.output_tokens), (80, 30, 5));
    assert_eq!((call.charged, call.is_estimated), (usage, false));
    // Eighty and five, of which thirty cost half.
    assert_eq!(call.cost, Some(NanoDollars(70_000)));
    assert_eq!((call.max_tokens, call.provider.as_deref()), (10, Some("acme-ai")));
    assert_eq!(call.response_model.as_deref(), Some("large-2026"));
    assert_eq!(call.finish_reason.as_deref(), Some("stop"));
    assert_eq!(call.latency, Some(Duration::from_millis(1_250)));
    let request = TracedRequest {
        temperature: Some(0.5),
        stop: vec!["END".to_owned()],
        stream: true,
        is_json: true,
        ..TracedRequest::default()
    };
    assert_eq!((&call.request, call.is_http_tool), (&Some(request), None));
    assert_eq!((&search.request, search.is_http_tool), (&None, Some(true)));
    assert_eq!(search.error.as_ref().map(|error| &*error.code), Some("http_status"));
    let most = Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() };
    assert_eq!((reserved.usage, reserved.charged, reserved.is_estimated), (None, most, true));
}

/// What a worker was at when it died is there as lost; and parameters that no database takes apart stand in nobody's way.
pub async fn a_lost_step_is_kept_and_awkward_parameters_are_passed_over(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let run = a.key.run;
    world.started(lease, begin(&a, model(1, 100))).await;
    let awkward = r#"{"temperature":0.5,"prompt":"a\u0000b"}"#.to_owned();
    let retry = AttemptOutcome::Retry { input: Some(awkward), error: failure(), delay: HOUR };
    world.flip(lease, ended(&a, retry, None)).await;
    assert_eq!(world.lose().await.len(), 1);
    let steps = world.traced_steps(run).await;
    let [lost] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!((lost.status, &lost.error, lost.latency), (StepStatus::Lost, &None, None));
    let most = Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() };
    assert_eq!((lost.charged, lost.is_estimated, lost.usage), (most, true, None));
    assert_eq!(lost.cost, Some(NanoDollars(110_000)));
    // PostgreSQL cannot hold it as text, so nothing is read out of it there.
    let temperature = lost.request.as_ref().and_then(|request| request.temperature);
    assert!(matches!(temperature, None | Some(0.5)), "{temperature:?}");

    // Nor does an answer that holds the same.
    world.sweep(run).await;
    let a = world.won(lease, run, "a").await;
    world.started(lease, begin(&a, model(1, 100))).await;
    let observation = Some(r#"{"text":"a\u0000b","finish_reason":"stop"}"#.to_owned());
    let answered = StepResult { attempt: 2, observation, ..answered(1) };
    world.written(lease, written(&a, answered)).await;
    let steps = world.traced_steps(run).await;
    assert_eq!(steps.iter().map(|it| (it.seq, it.attempt)).collect::<Vec<_>>(), [(1, 1), (1, 2)]);
}

/// What an agent's calls came to is summed up to the end of each attempt.
pub async fn an_agents_attempts_have_the_sums_of_its_calls(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let new = world.run_of(&["a"]);
    let agent = NodeSpec { kind: "agent", ..spec("a") };
    let new = NewRun { entries: vec![agent], ..new };
    world.store.accept_runs(from_ref(&new)).await.unwrap();
    let (run, input) = (new.id, r#"{"framework":"react","model":"large"}"#.to_owned());
    let first = world.won(lease, run, "a").await;
    world.started(lease, begin(&first, model(1, 100))).await;
    world.written(lease, written(&first, answered(1))).await;
    let retry = AttemptOutcome::Retry { input: Some(input), error: failure(), delay: HOUR };
    world.flip(lease, ended(&first, retry, None)).await;
    world.sweep(run).await;
    let second = world.won(lease, run, "a").await;
    world.started(lease, begin(&second, model(2, 100))).await;
    world.written(lease, written(&second, answered(2))).await;
    world.flip(lease, succeed(&second)).await;

    let attempts = world.traced_attempts(run).await;
    let agents: Vec<_> = attempts.iter().map(|it| it.agent.clone().unwrap()).collect();
    let [one, two] = &agents[..] else { panic!("{agents:?}") };
    assert_eq!((one.tokens_used, one.cost, one.iterations), (85, NanoDollars(70_000), 1));
    assert_eq!((two.tokens_used, two.cost, two.iterations), (170, NanoDollars(140_000), 2));
    for agent in [one, two] {
        assert!(agent.has_steps);
        assert_eq!(agent.framework.as_deref(), Some("react"));
        assert_eq!(agent.model.as_deref(), Some("large"));
        assert_eq!(agent.provider.as_deref(), Some("acme-ai"));
    }
}

/// Nothing of it is for strangers.
pub async fn strangers_find_no_spans(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let run = a.key.run;
    world.started(lease, begin(&a, model(1, 100))).await;
    world.written(lease, written(&a, answered(1))).await;
    world.flip(lease, succeed(&a)).await;
    let (keys, store) = ([a.key], &world.store);
    for stranger in [Identity::new("acme", "side", "ann"), Identity::new("other", "main", "ann")] {
        assert!(store.traced_run(&stranger, run).await.unwrap().is_none());
        assert!(store.traced_segments(&stranger, run, 0, 9).await.unwrap().is_empty());
        assert!(store.traced_attempts(&stranger, run, START, 9).await.unwrap().is_empty());
        assert!(store.traced_nodes(&stranger, run, &keys).await.unwrap().is_empty());
        assert!(store.traced_steps(&stranger, run, 0, 9).await.unwrap().is_empty());
    }
    assert_eq!(world.traced_attempts(run).await.len(), 1);
    assert_eq!(world.traced_steps(run).await.len(), 1);
}
