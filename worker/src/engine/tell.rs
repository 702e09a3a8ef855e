//! What is reported of a commit once it has happened: messages, spans, metrics, the log of the process.

use std::time::SystemTime;

use skein_shared::dispatch::{Handover, Producer};
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::run::RunHeader;
use skein_shared::domain::wakeup::{WakeReason, Wakeup};
use skein_shared::store::engine::Activated;
use skein_shared::telemetry::spans::{NodeEnd, NodeExecute};
use skein_shared::telemetry::{emit, metrics, within};

use super::decide::{Made, MadeOutcome};

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
        queued_at: Some(SystemTime::now()),
    };
    Handover { wakeups: vec![wakeup], producer: Some(Producer { parent: Some(run.trace.root) }) }
}

/// What went wrong, for the log of the process; what went well is in the run's own log only.
fn log(run: &RunHeader, made: &Made) {
    let (failure, what) = match &made.outcome {
        MadeOutcome::Failed(failure) => (failure, "a node failed"),
        MadeOutcome::Retried(failure) => (failure, "a node failed and is tried again"),
        MadeOutcome::Completed | MadeOutcome::Waiting | MadeOutcome::Cancelled => return,
    };
    within(run.trace.context_of(made.span), run.identity.clone(), || {
        let (id, node, code) = (run.id, &made.key.node, &*failure.code);
        let attempt = made.attempt;
        tracing::warn!(run.id = %id, node.id = %node, attempt, error.code = code, "{what}: {}", failure.message);
    });
}

/// Exports the span of an attempt, counts it, and logs it if it failed.
pub(super) fn tell(run: &RunHeader, made: &Made) {
    log(run, made);
    let outcome = match &made.outcome {
        MadeOutcome::Completed => NodeEnd::Completed,
        MadeOutcome::Failed(failure) => NodeEnd::Failed(failure),
        MadeOutcome::Retried(failure) => NodeEnd::Retried(failure),
        MadeOutcome::Waiting => NodeEnd::Waiting,
        MadeOutcome::Cancelled => NodeEnd::Cancelled,
    };
    emit(NodeExecute {
        span: made.span,
        header: run,
        key: &made.key,
        kind: made.kind,
        attempt: made.attempt,
        process: made.process,
        upstream: &made.upstream,
        start: made.start,
        end: made.end,
        outcome,
    });
    metrics::node_ended(
        made.kind,
        outcome,
        made.end.duration_since(made.start).unwrap_or_default(),
    );
}
