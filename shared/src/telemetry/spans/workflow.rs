//! `workflow.execute`: a whole run.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use opentelemetry::trace::SpanKind;

use crate::domain::failure::Failure;
use crate::domain::run::{ClosedSegment, EndedRun, Resumption, RunHeader};
use crate::domain::state::RunState;
use crate::telemetry::semconv;
use crate::telemetry::span::{Clock, FinishedSpan, count, millis};

/// The span of a run that has ended, or of its last segment, with the id that was reserved when that began. Whoever
/// ended the run exports it, wherever that was.
#[must_use]
pub fn workflow_execute(run: &EndedRun) -> FinishedSpan {
    let times = Times { started_at: run.started_at, ended_at: run.ended_at };
    let mut span = segment(&run.header, run.resumed.as_ref(), &times);
    let status = status(run.state);
    span.set(semconv::WORKFLOW_STATUS, status);
    if status == "failed" {
        match &run.error {
            // Its node's span tells of it as an exception.
            Some(failure) if failure.node.is_some() => span.fail(failure),
            Some(failure) => span.fail_for_good(failure),
            None => span.fail_for_good(&Failure::new(run.state.as_str(), "the run failed")),
        }
    }
    span
}

/// The span of a segment that another one follows. It ends when everything began to wait: the wait itself is in
/// neither of the two traces.
#[must_use]
pub fn workflow_suspended(closed: &ClosedSegment) -> FinishedSpan {
    let times = Times { started_at: Some(closed.started_at), ended_at: closed.suspended_at };
    let mut span = segment(&closed.header, closed.resumed.as_ref(), &times);
    span.set(semconv::WORKFLOW_STATUS, status(RunState::Suspended));
    span.links.push(closed.next);
    span
}

/// When a run's first node was claimed, if one was, and when the segment ended.
struct Times {
    started_at: Option<DateTime<Utc>>,
    ended_at: DateTime<Utc>,
}

fn segment(header: &RunHeader, resumed: Option<&Resumption>, times: &Times) -> FinishedSpan {
    let (accepted, end) = (SystemTime::from(header.created_at), SystemTime::from(times.ended_at));
    let run_start = times.started_at.map_or(accepted, SystemTime::from);
    let start = resumed.map_or(run_start, |resumed| SystemTime::from(resumed.at));
    let context = header.trace.root_context();
    let name = semconv::SPAN_WORKFLOW_EXECUTE;
    let mut span = FinishedSpan::new(name, SpanKind::Internal, context, (start, end));
    span.clock = Clock::Database;
    span.state.clone_from(&header.trace.state);
    match resumed {
        None => span.parent = Some(header.trace.publish),
        // What led to this is in the trace before.
        Some(resumed) => span.links.push(resumed.from),
    }
    span.identity = Some(header.identity.clone());
    set_run(&mut span, header);
    span.set(semconv::WORKFLOW_STEP_MODE, header.step_mode);
    span.set(semconv::WORKFLOW_NODE_COUNT, count(header.node_count));
    span.set(semconv::WORKFLOW_EDGE_COUNT, count(header.edge_count));
    span.set(semconv::WORKFLOW_SEGMENT, count(resumed.map_or(1, |resumed| resumed.segment)));
    let latency = end.duration_since(run_start).unwrap_or_default();
    span.set(semconv::WORKFLOW_LATENCY_MS, millis(latency));
    if times.started_at.is_some() && resumed.is_none() {
        let waited = run_start.duration_since(accepted).unwrap_or_default();
        span.set(semconv::WORKFLOW_QUEUE_WAIT_MS, millis(waited));
    }
    span
}

/// The word for a state in [`semconv::WORKFLOW_STATUS`].
pub(in crate::telemetry) fn status(state: RunState) -> &'static str {
    match state {
        RunState::Succeeded => "completed",
        RunState::Failed | RunState::TimedOut => "failed",
        RunState::Cancelled => "cancelled",
        RunState::Suspended | RunState::Queued | RunState::Running => "suspended",
    }
}

/// What every span of a run says about it.
pub(super) fn set_run(span: &mut FinishedSpan, header: &RunHeader) {
    span.set(semconv::WORKFLOW_ID, header.workflow.clone());
    span.set(semconv::WORKFLOW_VERSION, count(header.version));
    span.set(semconv::WORKFLOW_EXECUTION_ID, header.id.to_string());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;

    use super::super::samples::{self, attributes};
    use super::*;

    #[test]
    fn a_run_is_exported_under_its_reserved_id_with_its_true_times() {
        let run = samples::ended(RunState::Succeeded);
        let span = workflow_execute(&run);
        assert_eq!((span.name.as_ref(), &span.kind), ("workflow.execute", &SpanKind::Internal));
        assert_eq!(span.context, run.header.trace.root_context());
        assert_eq!(span.parent, Some(run.header.trace.publish));
        assert_eq!(span.duration(), Duration::from_millis(1500));
        assert_eq!(span.error, None);
        assert_eq!(
            attributes(&span),
            serde_json::json!({
                "workflow.id": "digest",
                "workflow.version": 4,
                "workflow.execution_id": samples::RUN,
                "workflow.step_mode": false,
                "workflow.node_count": 3,
                "workflow.edge_count": 2,
                "workflow.segment": 1,
                "workflow.status": "completed",
                "workflow.latency_ms": 1500,
                "workflow.queue_wait_ms": 250,
            })
        );
    }

    #[test]
    fn segments_are_linked_both_ways_and_hang_below_nothing_of_each_other() {
        let ended = samples::ended(RunState::Succeeded);
        let first = ClosedSegment {
            started_at: ended.started_at.unwrap(),
            resumed: None,
            suspended_at: ended.started_at.unwrap() + TimeDelta::milliseconds(500),
            next: ended.header.trace.root_context(),
            header: samples::header(),
        };
        let resumed = Resumption {
            segment: 2,
            at: ended.ended_at - TimeDelta::milliseconds(100),
            from: first.header.trace.root_context(),
        };
        let before = workflow_suspended(&first);
        assert_eq!(before.parent, Some(first.header.trace.publish));
        assert_eq!(before.links, [first.next]);
        assert_eq!((before.duration(), &before.error), (Duration::from_millis(500), &None));
        let attributes_before = attributes(&before);
        assert_eq!(attributes_before["workflow.status"], "suspended");
        assert_eq!(attributes_before["workflow.segment"], 1);
        assert_eq!(attributes_before["workflow.queue_wait_ms"], 250);

        let after = workflow_execute(&EndedRun { resumed: Some(resumed), ..ended });
        assert_eq!((after.parent, after.context), (None, first.next));
        assert_eq!(after.links, [before.context]);
        assert_eq!(after.duration(), Duration::from_millis(100));
        let attributes_after = attributes(&after);
        assert_eq!(attributes_after["workflow.status"], "completed");
        assert_eq!(attributes_after["workflow.segment"], 2);
        assert_eq!(attributes_after["workflow.latency_ms"], 1500, "of the whole run");
        assert_eq!(attributes_after["workflow.queue_wait_ms"], serde_json::Value::Null);
    }

    #[test]
    fn only_a_failed_run_is_an_error() {
        for (state, word, failed) in [
            (RunState::Succeeded, "completed", false),
            (RunState::Failed, "failed", true),
            (RunState::TimedOut, "failed", true),
            (RunState::Cancelled, "cancelled", false),
            (RunState::Suspended, "suspended", false),
        ] {
            let span = workflow_execute(&samples::ended(state));
            assert_eq!(attributes(&span)["workflow.status"], word);
            assert_eq!(span.error.is_some(), failed, "{state}");
        }
    }

    #[test]
    fn what_ended_the_run_is_on_its_span_and_an_exception_where_no_node_tells_of_it() {
        let failure = Failure::new("http_status", "500 from upstream");
        for (failure, exceptions) in [(failure.clone().of_node(&"fetch".into()), 0), (failure, 1)] {
            let mut run = samples::ended(RunState::Failed);
            run.error = Some(failure);
            let span = workflow_execute(&run);
            assert_eq!(span.error.as_deref(), Some("500 from upstream"));
            assert_eq!(attributes(&span)["error.type"], "http_status");
            assert_eq!(span.events.len(), exceptions);
        }
    }

    #[test]
    fn a_run_that_was_never_claimed_starts_when_it_was_accepted() {
        let mut run = samples::ended(RunState::Cancelled);
        run.started_at = None;
        let span = workflow_execute(&run);
        assert_eq!(span.start, SystemTime::from(run.header.created_at));
        assert_eq!(attributes(&span)["workflow.queue_wait_ms"], serde_json::Value::Null);
    }
}
