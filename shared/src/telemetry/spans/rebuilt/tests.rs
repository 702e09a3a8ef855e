use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::*;
use crate::domain::ids::ActivationKey;
use crate::domain::money::NanoDollars;
use crate::domain::outcome::WaitFor;
use crate::domain::state::RunState;
use crate::domain::step::{StepKind, StepStatus};
use crate::domain::trace::SpanId;
use crate::domain::traced::{AttemptPosition, TracedRequest};
use crate::domain::usage::Usage;
use crate::telemetry::new_span_id;
use crate::telemetry::spans::journaled::lost;
use crate::telemetry::spans::samples::{self, attributes};
use crate::telemetry::spans::{agent_span, lost_step};

const USAGE: Usage =
    Usage { input_tokens: 100, cached_tokens: 40, cache_write_tokens: 0, output_tokens: 20 };

fn attempt(kind: NodeKind, end: TracedEnd) -> TracedAttempt {
    let header = samples::header();
    let started_at = header.created_at + TimeDelta::milliseconds(70);
    TracedAttempt {
        position: AttemptPosition { ordinal: 2, claim: 1 },
        key: ActivationKey::root(header.id, "titles"),
        kind: kind.as_str().into(),
        number: 1,
        span: new_span_id(),
        publish: new_span_id(),
        is_only: true,
        started_at,
        ended_at: started_at + TimeDelta::milliseconds(40),
        end,
        agent: None,
        header,
    }
}

fn succeeded() -> TracedEnd {
    TracedEnd::Outcome(AttemptOutcome::Succeeded { input: None, output: String::new() })
}

fn parent(of: &TracedAttempt, name: &str, span: Option<SpanId>, ended: i64) -> TracedNode {
    TracedNode {
        key: ActivationKey::root(of.header.id, name),
        trace: of.header.trace.clone(),
        span,
        ended_at: Some(of.header.created_at + TimeDelta::milliseconds(ended)),
    }
}

fn step(kind: StepKind, status: StepStatus) -> TracedStep {
    let header = samples::header();
    TracedStep {
        position: 1,
        key: ActivationKey::root(header.id, "research"),
        node_kind: "agent".into(),
        seq: 2,
        attempt: 1,
        kind,
        name: "gpt-5".into(),
        status,
        provider: Some("google".into()),
        response_model: Some("gpt-5-2026".to_owned()),
        finish_reason: Some("stop".to_owned()),
        max_tokens: 4096,
        usage: Some(USAGE),
        charged: USAGE,
        cost: Some(NanoDollars(12_345)),
        is_estimated: false,
        request: Some(TracedRequest { temperature: Some(0.5), ..TracedRequest::default() }),
        is_http_tool: Some(true),
        error: None,
        span: new_span_id(),
        parent: Some(new_span_id()),
        started_at: header.created_at,
        latency: Some(Duration::from_millis(1500)),
        ended_at: header.created_at + TimeDelta::milliseconds(9000),
        header,
    }
}

/// The attributes of a span that was made once more, without the mark, which it must have.
fn unmarked(span: &RebuiltSpan) -> Value {
    let mut told = attributes(&span.span);
    let mark = told.as_object_mut().unwrap().shift_remove("skein.rebuilt");
    assert_eq!(mark, Some(json!(true)), "{told}");
    told
}

#[test]
fn a_run_is_what_it_was_the_first_time_and_marked() {
    let ended = samples::ended(RunState::Succeeded);
    let request = new_span_id();
    let run = TracedRun {
        header: ended.header.clone(),
        first: ended.header.trace.clone(),
        request: Some(request),
        entries: 3,
        ended: Some(ended.clone()),
    };
    let spans: Vec<_> = rebuilt_run(&run, samples::address()).collect();
    let [publish, workflow] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((publish.maker, workflow.maker), (Maker::Api, Maker::Worker));
    assert_eq!(publish.span.context.span, run.header.trace.publish);
    assert_eq!((publish.span.parent, &*publish.span.name), (Some(request), "publish skein.work"));
    assert_eq!(unmarked(publish)["messaging.batch.message_count"], 3);
    let live = workflow_execute(&ended);
    assert_eq!(unmarked(workflow), attributes(&live));
    let unmarked = FinishedSpan { attributes: Vec::new(), ..workflow.span.clone() };
    assert_eq!(unmarked, FinishedSpan { attributes: Vec::new(), ..live });

    let open = TracedRun { ended: None, ..run };
    assert_eq!(rebuilt_run(&open, samples::address()).count(), 1, "it has not ended");
}

#[test]
fn what_was_not_sampled_is_exported_all_the_same() {
    let mut ended = samples::ended(RunState::Failed);
    ended.header.trace.flags = 0;
    let run = TracedRun {
        header: ended.header.clone(),
        first: ended.header.trace.clone(),
        request: None,
        entries: 1,
        ended: Some(ended),
    };
    let mut spans = rebuilt_run(&run, samples::address());
    assert!(spans.all(|rebuilt| rebuilt.span.context.is_sampled()));
}

#[test]
fn an_attempt_is_linked_to_what_led_to_it_but_to_what_was_skipped() {
    let joined = attempt(NodeKind::Transform, succeeded());
    let (fetch, rank) = (new_span_id(), new_span_id());
    let parents = [
        parent(&joined, "fetch", Some(fetch), 10),
        parent(&joined, "skipped", None, 60),
        parent(&joined, "rank", Some(rank), 50),
    ];
    let parents: Vec<_> = parents.iter().collect();
    let spans = rebuilt_attempt(&joined, &parents, samples::address());
    let [publish, node] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(&*node.span.name, "node.execute.transform");
    assert_eq!(node.span.parent, Some(joined.header.trace.root));
    let of = |span| joined.header.trace.context_of(span);
    assert_eq!(node.span.links, [of(fetch), of(rank)]);
    let told = unmarked(node);
    assert_eq!(told["node.upstream"], json!(["fetch", "rank"]));
    assert_eq!((&told["node.status"], &told["node.latency_ms"]), (&json!("completed"), &json!(40)));
    // The last token came from what was skipped.
    assert_eq!(publish.span.context.span, joined.publish);
    let at = samples::now() + Duration::from_millis(60);
    assert_eq!((publish.span.start, publish.span.end), (at, at));
    assert_eq!(publish.span.parent, Some(joined.header.trace.root));
}

#[test]
fn what_a_worker_went_on_with_itself_was_not_published() {
    let retained = attempt(NodeKind::Http, succeeded());
    let before = parent(&retained, "fetch", Some(new_span_id()), 70);
    assert_eq!(before.ended_at, Some(retained.started_at));
    let names = |attempt: &TracedAttempt, parents: &[&TracedNode]| -> Vec<String> {
        let spans = rebuilt_attempt(attempt, parents, samples::address());
        spans.into_iter().map(|rebuilt| rebuilt.span.name.into_owned()).collect()
    };
    assert_eq!(names(&retained, &[&before]), ["node.execute.http"]);
    // Nor was an entry, whose message is the run's own, or another attempt.
    assert_eq!(names(&retained, &[]), ["node.execute.http"]);
    let before = parent(&retained, "fetch", Some(new_span_id()), 20);
    let again = TracedAttempt { is_only: false, ..retained.clone() };
    assert_eq!(names(&again, &[&before]), ["node.execute.http"]);
    assert_eq!(names(&retained, &[&before]).len(), 2);
}

#[test]
fn every_end_of_an_attempt_is_told_as_the_first_time() {
    let failure = || Failure::new("http_status", "500 from upstream");
    let (input, delay) = (None, Duration::ZERO);
    let outcome = TracedEnd::Outcome;
    for (end, status, code) in [
        (succeeded(), "completed", Value::Null),
        (
            outcome(AttemptOutcome::Failed { input: None, output: None, error: failure() }),
            "failed",
            json!("http_status"),
        ),
        (
            outcome(AttemptOutcome::Retry { input, error: failure(), delay }),
            "failed",
            json!("http_status"),
        ),
        (
            outcome(AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(delay) }),
            "waiting",
            Value::Null,
        ),
        (outcome(AttemptOutcome::Cancelled), "cancelled", Value::Null),
        (TracedEnd::Abandoned { is_crash: false }, "released", Value::Null),
        (TracedEnd::Abandoned { is_crash: true }, "failed", json!("worker_crashed")),
    ] {
        let ended = attempt(NodeKind::Http, end.clone());
        let spans = rebuilt_attempt(&ended, &[], samples::address());
        let [node] = &spans[..] else { panic!("{end:?}: {spans:?}") };
        let told = unmarked(node);
        assert_eq!(told["node.status"], status, "{end:?}");
        let found = told.get("node.error_code").cloned().unwrap_or_default();
        assert_eq!((found, node.span.error.is_some()), (code.clone(), !code.is_null()), "{end:?}");
    }
}

#[test]
fn an_agent_is_there_when_it_has_begun() {
    let facts = TracedAgent {
        framework: Some("react".to_owned()),
        provider: Some("openai".to_owned()),
        model: Some("gpt-5".to_owned()),
        tokens_used: 120,
        cost: NanoDollars(5),
        iterations: 3,
        has_steps: true,
    };
    let spans_of = |end: TracedEnd, facts: &TracedAgent| {
        let agent = Some(facts.clone());
        let attempt = TracedAttempt { agent, ..attempt(NodeKind::Agent, end) };
        let spans = rebuilt_attempt(&attempt, &[], samples::address());
        (attempt.span, spans)
    };
    let (of, spans) = spans_of(succeeded(), &facts);
    let [_, agent] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((agent.span.context.span, agent.span.parent), (agent_span(of), Some(of)));
    let told = unmarked(agent);
    assert_eq!((&told["agent.iterations"], &told["agent.cost"]), (&json!(3), &json!(5e-9)));

    let unbegun = TracedAgent { has_steps: false, ..facts.clone() };
    let failed = |code: &'static str| {
        let error = Failure::new(code, "it failed");
        TracedEnd::Outcome(AttemptOutcome::Failed { input: None, output: None, error })
    };
    for (end, facts, count) in [
        (failed("poison"), &unbegun, 1),
        (failed("no_provider"), &unbegun, 2),
        (TracedEnd::Outcome(AttemptOutcome::Cancelled), &unbegun, 1),
        (TracedEnd::Outcome(AttemptOutcome::Cancelled), &facts, 2),
        (TracedEnd::Abandoned { is_crash: false }, &facts, 2),
        (TracedEnd::Abandoned { is_crash: true }, &unbegun, 2),
    ] {
        assert_eq!(spans_of(end.clone(), facts).1.len(), count, "{end:?}");
    }
    // Its parameters may hold what cannot be read out of them.
    let unknown = TracedAgent { framework: None, ..facts };
    let (_, spans) = spans_of(succeeded(), &unknown);
    assert_eq!(unmarked(&spans[1]).get("agent.framework"), None);
}

#[test]
fn a_call_to_a_model_is_told_as_far_as_it_is_recorded() {
    let call = step(StepKind::Model, StepStatus::Succeeded);
    let rebuilt = rebuilt_step(&call);
    assert_eq!(rebuilt.span.context.span, call.span);
    assert_eq!(rebuilt.span.parent, call.parent.map(agent_span));
    let end = SystemTime::from(call.started_at) + Duration::from_millis(1500);
    assert_eq!(rebuilt.span.end, end, "not when it was written down");
    let told = unmarked(&rebuilt);
    for (key, value) in [
        ("llm.total_tokens", json!(120)),
        ("llm.latency_ms", json!(1500)),
        ("llm.cost_usd", json!(0.000_012_345)),
        ("gen_ai.provider.name", json!("gcp.gemini")),
        ("gen_ai.request.temperature", json!(0.5)),
        ("gen_ai.request.stream", json!(false)),
        ("gen_ai.output.type", json!("text")),
        ("gen_ai.response.model", json!("gpt-5-2026")),
        ("gen_ai.response.finish_reasons", json!(["stop"])),
        ("gen_ai.usage.input_tokens", json!(100)),
    ] {
        assert_eq!(told[key], value, "{key}");
    }
    for absent in ["gen_ai.response.id", "gen_ai.server.ttft", "server.address"] {
        assert_eq!(told.get(absent), None, "{absent}");
    }
    let unknown = rebuilt_step(&TracedStep { request: None, ..call });
    assert_eq!(unmarked(&unknown).get("gen_ai.request.stream"), None);
}

#[test]
fn a_lost_step_is_what_was_exported_of_it() {
    let step =
        TracedStep { usage: None, is_estimated: true, ..step(StepKind::Model, StepStatus::Lost) };
    let rebuilt = rebuilt_step(&step);
    let live = lost_step(&lost(&step));
    assert_eq!(unmarked(&rebuilt), attributes(&live));
    assert_eq!(rebuilt.span.error, live.error);
}

#[test]
fn of_a_tool_that_has_failed_its_code_alone_is_told() {
    let failed = TracedStep {
        name: "search".into(),
        error: Some(Failure::new("http_status", "what the server said")),
        ..step(StepKind::Tool, StepStatus::Failed)
    };
    let rebuilt = rebuilt_step(&failed);
    let told = unmarked(&rebuilt);
    assert_eq!(told["error.type"], "http_status");
    assert_eq!(
        (&told["gen_ai.tool.name"], &told["gen_ai.tool.type"]),
        (&json!("search"), &json!("function"))
    );
    assert!(!format!("{:?}", rebuilt.span).contains("what the server said"));
    let unknown = rebuilt_step(&TracedStep { is_http_tool: None, ..failed });
    assert_eq!(unmarked(&unknown).get("gen_ai.tool.type"), None);
}
