//! `node.execute.{kind}`: one attempt of one node.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::SpanKind;

use super::agent::{agent_crashed, steps_parent};
use super::workflow::set_run;
use crate::domain::failure::Failure;
use crate::domain::ids::{ActivationKey, NodeKey};
use crate::domain::kind::NodeKind;
use crate::domain::outcome::{AttemptOutcome, WaitFor};
use crate::domain::run::{AbandonedAttempt, RunHeader};
use crate::domain::trace::{SpanId, TraceContext};
use crate::telemetry::semconv;
use crate::telemetry::span::{Clock, FinishedSpan, LINKS_MAX, count, millis};

/// The error code of an attempt whose worker died.
pub const WORKER_CRASHED: &str = "worker_crashed";

/// The word in [`semconv::NODE_STATUS`]. Of what was deferred or skipped there was no attempt, and so there is no span.
pub(in crate::telemetry) fn node_status(outcome: &AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Succeeded { .. } => "completed",
        AttemptOutcome::Failed { .. } | AttemptOutcome::Retry { .. } => "failed",
        AttemptOutcome::Waiting { .. } => "waiting",
        AttemptOutcome::Cancelled | AttemptOutcome::Deferred { .. } | AttemptOutcome::Skipped => {
            "cancelled"
        }
    }
}

/// One attempt, from its claim to its end.
#[derive(Debug, Clone)]
pub struct NodeExecute<'a> {
    /// Its reserved id; the trace and the parent are the run's.
    pub span: SpanId,
    /// The run.
    pub header: &'a RunHeader,
    /// Which node of it.
    pub key: &'a ActivationKey,
    /// The kind of node.
    pub kind: NodeKind,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The `process` span of the message that led to the claim; `None` when the worker went on inline.
    pub process: Option<TraceContext>,
    /// The nodes whose tokens made it runnable, with their spans.
    pub upstream: &'a [(NodeKey, TraceContext)],
    /// When it was claimed.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What became of it.
    pub outcome: &'a AttemptOutcome,
    /// What was before it and after it.
    pub around: AroundAttempt,
}

/// The times around an attempt, as far as they are known.
#[derive(Debug, Clone, Copy, Default)]
pub struct AroundAttempt {
    /// How long the node was runnable before it was claimed.
    pub queued: Option<Duration>,
    /// How long it took after it until what it came to was durable.
    pub commit: Option<Duration>,
    /// Whether it goes on after a wait.
    pub is_resumed: bool,
}

impl From<NodeExecute<'_>> for FinishedSpan {
    fn from(node: NodeExecute<'_>) -> Self {
        let attempt = AttemptSpan {
            header: node.header,
            key: node.key,
            kind: node.kind.as_str(),
            number: node.attempt,
            span: node.span,
            times: (node.start, node.end),
        };
        let mut span = attempt.span();
        link(&mut span, node.process, node.upstream);
        span.set(semconv::NODE_STATUS, node_status(node.outcome));
        set_around(&mut span, &node.around);
        set_wait(&mut span, node.outcome);
        if let Some(failure) = node.outcome.error() {
            let is_retried = matches!(node.outcome, AttemptOutcome::Retry { .. });
            describe(&mut span, failure, is_retried);
            if is_retried { span.fail(failure) } else { span.fail_for_good(failure) }
        }
        span
    }
}

/// Links an attempt to what led to it. What is beyond [`LINKS_MAX`] is counted where the span is exported.
fn link(
    span: &mut FinishedSpan,
    process: Option<TraceContext>,
    upstream: &[(NodeKey, TraceContext)],
) {
    span.links = process.into_iter().chain(upstream.iter().map(|(_, span)| *span)).collect();
    if !upstream.is_empty() {
        let ids = upstream.iter().map(|(node, _)| &**node);
        span.set_strings(semconv::NODE_UPSTREAM, ids.take(LINKS_MAX));
    }
    if span.links.len() > LINKS_MAX {
        span.set(semconv::NODE_UPSTREAM_TRUNCATED, true);
    }
}

fn set_around(span: &mut FinishedSpan, around: &AroundAttempt) {
    if let Some(queued) = around.queued {
        span.set(semconv::NODE_QUEUE_WAIT_MS, millis(queued));
    }
    if let Some(commit) = around.commit {
        span.set(semconv::NODE_COMMIT_MS, millis(commit));
    }
    if around.is_resumed {
        span.set(semconv::NODE_RESUMED, true);
    }
}

/// What the node waits for from here on: nothing else shows it, as a wait has no span.
fn set_wait(span: &mut FinishedSpan, outcome: &AttemptOutcome) {
    let kind = match outcome {
        AttemptOutcome::Retry { .. } => "backoff",
        AttemptOutcome::Waiting { waiting_for, .. } => match waiting_for {
            WaitFor::Time(_) => "time",
            WaitFor::Decision { .. } => "decision",
            WaitFor::Rate { .. } => "rate",
            WaitFor::Budget { .. } => "budget",
        },
        _ => return,
    };
    span.set(semconv::NODE_WAIT_TYPE, kind);
    if let Some(wait) = outcome.due_in() {
        span.set(semconv::NODE_WAIT_MS, millis(wait));
    }
}

/// The spans of an attempt that nobody goes on with; whoever takes it back exports them. After a crash the end is when
/// that was found out, not when it happened, which nobody knows.
///
/// An agent that is stopped exports its own span, so only that of one whose worker died is among them.
pub fn abandoned(attempt: &AbandonedAttempt) -> impl Iterator<Item = FinishedSpan> {
    let times = (attempt.started_at.into(), attempt.ended_at.into());
    let is_agent = steps_parent(&attempt.kind, attempt.span) != attempt.span;
    let agent = (is_agent && attempt.is_crash).then(|| {
        agent_crashed(&attempt.header, &attempt.key, attempt.span, times, &worker_crashed())
    });
    std::iter::once(abandoned_attempt(attempt)).chain(agent)
}

fn worker_crashed() -> Failure {
    Failure::new(WORKER_CRASHED, "the worker died during this attempt")
}

fn abandoned_attempt(attempt: &AbandonedAttempt) -> FinishedSpan {
    let kind = attempt.kind.parse().map_or("unknown", NodeKind::as_str);
    let mut span = AttemptSpan {
        header: &attempt.header,
        key: &attempt.key,
        kind,
        number: attempt.attempt,
        span: attempt.span,
        times: (attempt.started_at.into(), attempt.ended_at.into()),
    }
    .span();
    span.clock = Clock::Database;
    // The delivery that led to it is known to nobody any more.
    link(&mut span, None, &attempt.upstream);
    if attempt.is_crash {
        span.set(semconv::NODE_STATUS, "failed");
        describe(&mut span, &worker_crashed(), attempt.is_retried);
        span.fail(&worker_crashed());
    } else {
        span.set(semconv::NODE_STATUS, "released");
    }
    span
}

/// What the span of every attempt says, however it ended.
struct AttemptSpan<'a> {
    header: &'a RunHeader,
    key: &'a ActivationKey,
    kind: &'static str,
    number: u32,
    span: SpanId,
    times: (SystemTime, SystemTime),
}

impl AttemptSpan<'_> {
    fn span(self) -> FinishedSpan {
        let Self { header, key, kind, .. } = self;
        let name = format!("{}.{kind}", semconv::SPAN_NODE_EXECUTE);
        let context = header.trace.context_of(self.span);
        let mut span = FinishedSpan::new(name, SpanKind::Internal, context, self.times);
        span.state.clone_from(&header.trace.state);
        span.parent = Some(header.trace.root);
        span.identity = Some(header.identity.clone());
        set_run(&mut span, header);
        span.set(semconv::NODE_ID, key.node.clone());
        span.set(semconv::NODE_TYPE, kind);
        if !key.scope.is_empty() {
            span.set(semconv::NODE_SCOPE, key.scope.clone());
        }
        span.set(semconv::NODE_ATTEMPTS, count(self.number));
        span.set(semconv::NODE_LATENCY_MS, millis(span.duration()));
        span
    }
}

fn describe(span: &mut FinishedSpan, failure: &Failure, is_retried: bool) {
    span.set(semconv::NODE_ERROR, failure.message.clone());
    span.set(semconv::NODE_ERROR_CODE, failure.code.clone());
    span.set(semconv::NODE_RETRY, is_retried);
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, attributes};
    use super::*;
    use crate::domain::state::RunState;

    #[test]
    fn an_attempt_is_a_child_of_the_run_and_linked_to_what_led_to_it() {
        let header = samples::header();
        let key = ActivationKey::root(header.id, "titles");
        let upstream = [("fetch".into(), samples::context()), ("rank".into(), samples::context())];
        let process = samples::context();
        let node = NodeExecute {
            process: Some(process),
            upstream: &upstream,
            ..samples::node(&header, &key)
        };
        let span = FinishedSpan::from(node);
        assert_eq!(span.name, "node.execute.transform");
        assert_eq!(span.parent, Some(header.trace.root));
        assert_eq!(span.context.trace, header.trace.trace);
        assert_eq!(span.links, [process, upstream[0].1, upstream[1].1]);
        assert_eq!(
            attributes(&span),
            serde_json::json!({
                "workflow.id": "digest",
                "workflow.version": 4,
                "workflow.execution_id": samples::RUN,
                "node.id": "titles",
                "node.type": "transform",
                "node.attempts": 2,
                "node.latency_ms": 40,
                "node.upstream": ["fetch", "rank"],
                "node.status": "completed",
                "node.queue_wait_ms": 250,
                "node.commit_ms": 3,
            })
        );
    }

    #[test]
    fn only_failed_attempts_are_errors() {
        let header = samples::header();
        let key = ActivationKey { scope: "3/0".into(), ..ActivationKey::root(header.id, "fetch") };
        let (input, delay) = (None, Duration::from_secs(1));
        let error = Failure::new("http_status", "503 from upstream");
        let failed = AttemptOutcome::Failed { input: None, output: None, error: error.clone() };
        let retry = AttemptOutcome::Retry { input: None, error, delay };
        let waiting = AttemptOutcome::Waiting { input, waiting_for: WaitFor::Time(delay) };
        for (outcome, status, retry) in [
            (failed, "failed", Some(false)),
            (retry, "failed", Some(true)),
            (waiting, "waiting", None),
            (AttemptOutcome::Cancelled, "cancelled", None),
        ] {
            let node = NodeExecute { outcome: &outcome, ..samples::node(&header, &key) };
            let span = FinishedSpan::from(node);
            let attributes = attributes(&span);
            let exceptions = span.events.iter().filter(|it| it.name == semconv::EVENT_EXCEPTION);
            assert_eq!(exceptions.count(), usize::from(retry == Some(false)), "{status}");
            assert_eq!(attributes["node.status"], status);
            assert_eq!(attributes["node.scope"], "3/0");
            assert_eq!(attributes["node.retry"].as_bool(), retry);
            assert_eq!(span.error.is_some(), retry.is_some());
            if retry.is_some() {
                assert_eq!(attributes["node.error"], "503 from upstream");
                assert_eq!(attributes["node.error_code"], "http_status");
                assert_eq!(attributes["error.type"], "http_status");
            }
        }
    }

    #[test]
    fn a_wide_join_says_that_not_all_of_it_is_linked() {
        let header = samples::header();
        let key = ActivationKey::root(header.id, "join");
        let upstream: Vec<_> =
            (0..LINKS_MAX).map(|i| (format!("n{i}").into(), samples::context())).collect();
        let node = NodeExecute {
            process: Some(samples::context()),
            upstream: &upstream,
            ..samples::node(&header, &key)
        };
        let span = FinishedSpan::from(node);
        assert_eq!(span.links.len(), LINKS_MAX + 1);
        let told = attributes(&span);
        assert_eq!(told["node.upstream_truncated"], true);
        assert_eq!(told["node.upstream"].as_array().unwrap().len(), LINKS_MAX);
    }

    #[test]
    fn a_wait_is_told_by_the_attempt_before_it_and_the_one_after_it() {
        let header = samples::header();
        let key = ActivationKey::root(header.id, "wait");
        let (input, delay) = (None, Duration::from_secs(2));
        let error = Failure::new("http_status", "503 from upstream");
        let decision = WaitFor::Decision {
            step: 1,
            tool: "order".into(),
            arguments: "{}".into(),
            expires_in: Duration::from_secs(60),
        };
        let waiting = |waiting_for| AttemptOutcome::Waiting { input: input.clone(), waiting_for };
        for (outcome, kind, millis) in [
            (waiting(WaitFor::Time(delay)), "time", 2_000),
            (waiting(decision), "decision", 60_000),
            (AttemptOutcome::Retry { input: None, error, delay }, "backoff", 2_000),
        ] {
            let node = NodeExecute { outcome: &outcome, ..samples::node(&header, &key) };
            let told = attributes(&FinishedSpan::from(node));
            assert_eq!(told["node.wait.type"], kind);
            assert_eq!(told["node.wait_ms"], millis);
        }
        let around = AroundAttempt { is_resumed: true, ..AroundAttempt::default() };
        let told =
            attributes(&FinishedSpan::from(NodeExecute { around, ..samples::node(&header, &key) }));
        assert_eq!(told["node.resumed"], true);
        assert_eq!(told.get("node.wait_ms"), None);
    }

    #[test]
    fn a_crashed_attempt_is_an_error_under_its_reserved_id() {
        let run = samples::ended(RunState::Running);
        let attempt = AbandonedAttempt {
            key: ActivationKey::root(run.header.id, "fetch"),
            kind: "http".into(),
            attempt: 1,
            span: crate::telemetry::new_span_id(),
            started_at: run.header.created_at,
            ended_at: run.ended_at,
            header: run.header,
            is_crash: true,
            is_retried: true,
            upstream: vec![("start".into(), samples::context())],
        };
        let span = abandoned(&attempt).next().unwrap();
        assert_eq!(span.name, "node.execute.http");
        assert_eq!(span.links, [attempt.upstream[0].1]);
        assert_eq!(attributes(&span)["node.upstream"], serde_json::json!(["start"]));
        assert_eq!(attributes(&span)["node.retry"], true);
        assert!(span.events.is_empty(), "it is tried again");
        assert_eq!(span.context, attempt.header.trace.context_of(attempt.span));
        assert_eq!(attributes(&span)["node.error_code"], WORKER_CRASHED);
        assert!(span.error.is_some());
        let later = AbandonedAttempt { kind: "of a later version".into(), ..attempt };
        assert_eq!(abandoned(&later).next().unwrap().name, "node.execute.unknown");
        // Its steps are in a trace already, or will be: they need their parent.
        let agent = AbandonedAttempt { kind: "agent".into(), ..later };
        let spans: Vec<_> = abandoned(&agent).collect();
        assert_eq!((spans.len(), spans[1].parent), (2, Some(agent.span)));
        assert_eq!(spans[1].context.span, steps_parent("agent", agent.span));
    }

    #[test]
    fn an_attempt_that_was_given_back_is_no_error() {
        let run = samples::ended(RunState::Running);
        let attempt = AbandonedAttempt {
            key: ActivationKey::root(run.header.id, "research"),
            kind: "agent".into(),
            attempt: 1,
            span: crate::telemetry::new_span_id(),
            started_at: run.header.created_at,
            ended_at: run.ended_at,
            header: run.header,
            is_crash: false,
            is_retried: true,
            upstream: Vec::new(),
        };
        let spans: Vec<_> = abandoned(&attempt).collect();
        assert_eq!(spans.len(), 1, "what the agent did, it has exported itself");
        assert_eq!(spans[0].context, attempt.header.trace.context_of(attempt.span));
        assert_eq!(attributes(&spans[0])["node.status"], "released");
        assert_eq!(spans[0].error, None);
    }
}
