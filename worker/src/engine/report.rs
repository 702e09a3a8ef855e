//! What is reported of a commit once it has happened: messages, spans, metrics, the log of the process.

use std::sync::Arc;
use std::time::SystemTime;

use skein_shared::dispatch::{Handover, Producer};
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::run::RunHeader;
use skein_shared::domain::wakeup::{WakeReason, Wakeup};
use skein_shared::store::engine::Activated;
use skein_shared::telemetry::spans::{AroundAttempt, NodeExecute};
use skein_shared::telemetry::{RUN_LOG, database_time, emit, metrics, within};

use super::decide::{FinishedAttempt, Timing};

/// The message that wakes what a commit has made runnable for others.
pub(super) fn handover(run: &RunHeader, activated: &Activated) -> Handover {
    let wakeup = Wakeup {
        key: ActivationKey {
            run: run.id,
            node: activated.node.clone(),
            scope: activated.scope.clone(),
        },
        identity: run.identity.clone(),
        reason: WakeReason::Next,
        publisher: Some(run.trace.context_of(activated.publish_span)),
        state: run.trace.state.clone(),
        queued_at: Some(database_time(SystemTime::now())),
    };
    let parent = Some(run.trace.root);
    let producer = Producer { parent, link: None, workflow: Arc::clone(&run.workflow) };
    Handover { wakeups: vec![wakeup], producer: Some(producer) }
}

/// What went wrong, for the log of the process; what went well is in the run's own log only.
fn log(run: &RunHeader, finished: &FinishedAttempt) {
    let (failure, what) = match &*finished.outcome {
        AttemptOutcome::Failed { error, .. } => (error, "a node failed"),
        AttemptOutcome::Retry { error, .. } => (error, "a node failed and is tried again"),
        AttemptOutcome::Succeeded { .. }
        | AttemptOutcome::Waiting { .. }
        | AttemptOutcome::Deferred { .. }
        | AttemptOutcome::Cancelled
        | AttemptOutcome::Skipped => return,
    };
    within(run.trace.context_of(finished.span), run.identity.clone(), || {
        let (id, node, code) = (run.id, &finished.key.node, &*failure.code);
        let attempt = finished.number;
        tracing::warn!(target: RUN_LOG, { workflow.execution_id = %id, node.id = %node, node.attempts = attempt, node.error_code = code }, "{what}: {}", failure.message);
    });
}

/// Exports the span of an attempt whose commit was answered at `committed_at`, counts it, and logs it if it failed.
pub(super) fn report(run: &RunHeader, finished: &FinishedAttempt, committed_at: SystemTime) {
    log(run, finished);
    let Timing { start, end } = finished.timing;
    let commit = committed_at.duration_since(end).ok();
    emit(NodeExecute {
        span: finished.span,
        header: run,
        key: &finished.key,
        kind: finished.kind,
        attempt: finished.number,
        process: finished.process,
        upstream: &finished.upstream,
        start,
        end,
        outcome: &finished.outcome,
        around: AroundAttempt { queued: finished.queued, commit, is_resumed: finished.is_resumed },
    });
    let took = end.duration_since(start).unwrap_or_default();
    metrics::node_ended(finished.kind, &finished.outcome, took);
}
