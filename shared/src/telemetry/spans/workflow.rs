//! `workflow.execute`: a whole run.

use std::time::SystemTime;

use opentelemetry::trace::SpanKind;

use crate::domain::failure::Failure;
use crate::domain::run::{EndedRun, RunHeader};
use crate::domain::state::RunState;
use crate::telemetry::semconv;
use crate::telemetry::span::{FinishedSpan, count, millis};

/// The span of a run that has ended, with the id that was reserved when the run was accepted. Whoever
/// ended the run exports it, wherever that was.
#[must_use]
pub fn workflow_execute(run: &EndedRun) -> FinishedSpan {
    let header = &run.header;
    let accepted = SystemTime::from(header.created_at);
    let start = run.started_at.map_or(accepted, SystemTime::from);
    let times = (start, SystemTime::from(run.ended_at));
    let context = header.trace.root_context();
    let name = semconv::SPAN_WORKFLOW_EXECUTE;
    let mut span = FinishedSpan::new(name, SpanKind::Internal, context, times);
    span.parent = Some(header.trace.publish);
    span.identity = Some(header.identity.clone());
    set_run(&mut span, header);
    span.set(semconv::WORKFLOW_STEP_MODE, header.step_mode);
    span.set(semconv::WORKFLOW_NODE_COUNT, count(header.node_count));
    span.set(semconv::WORKFLOW_EDGE_COUNT, count(header.edge_count));
    let status = status(run.state);
    span.set(semconv::WORKFLOW_STATUS, status);
    span.set(semconv::WORKFLOW_LATENCY_MS, millis(span.duration()));
    if run.started_at.is_some() {
        let waited = start.duration_since(accepted).unwrap_or_default();
        span.set(semconv::WORKFLOW_QUEUE_WAIT_MS, millis(waited));
    }
    if status == "failed" {
        match &run.error {
            Some(failure) => span.fail(failure),
            None => span.fail(&Failure::new(run.state.as_str(), "the run failed")),
        }
    }
    span
}

/// The word for a state in [`semconv::WORKFLOW_STATUS`].
pub(in crate::telemetry) fn status(state: RunState) -> &'static str {
    match state {
        RunState::Succeeded => "completed",
        RunState::Failed | RunState::TimedOut => "failed",
        RunState::Cancelled => "cancelled",
        // The segment of the run that a long wait closes.
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
                "workflow.status": "completed",
                "workflow.latency_ms": 1500,
                "workflow.queue_wait_ms": 250,
            })
        );
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
    fn what_ended_the_run_is_on_its_span() {
        let mut run = samples::ended(RunState::Failed);
        run.error = Some(Failure::new("http_status", "500 from upstream"));
        let span = workflow_execute(&run);
        assert_eq!(span.error.as_deref(), Some("500 from upstream"));
        assert_eq!(attributes(&span)["error.type"], "http_status");
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
