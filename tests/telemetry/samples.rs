//! A run and a node to make spans of.

use std::time::{Duration, SystemTime};

use skein_shared::domain::ids::{ActivationKey, RunId, VersionId};
use skein_shared::domain::kind::NodeKind;
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::run::{RunHeader, RunTrace};
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::{SpanId, TraceContext};
use skein_shared::telemetry::new_span_id;
use skein_shared::telemetry::spans::{AroundAttempt, NodeExecute};

static COMPLETED: AttemptOutcome = AttemptOutcome::Succeeded { input: None, output: String::new() };

pub(crate) fn header(parent: TraceContext) -> RunHeader {
    RunHeader {
        id: RunId::generate(),
        identity: Identity::new("acme", "research", "ada"),
        version_id: VersionId::generate(),
        workflow: "digest".into(),
        version: 4,
        input: "{}".into(),
        step_mode: false,
        node_count: 2,
        edge_count: 1,
        trace: RunTrace {
            trace: parent.trace,
            publish: new_span_id(),
            root: new_span_id(),
            flags: parent.flags,
            state: None,
        },
        created_at: SystemTime::now().into(),
    }
}

pub(crate) fn node<'a>(
    header: &'a RunHeader,
    key: &'a ActivationKey,
    span: SpanId,
    start: SystemTime,
) -> NodeExecute<'a> {
    NodeExecute {
        span,
        header,
        key,
        kind: NodeKind::Http,
        attempt: 1,
        process: None,
        upstream: &[],
        start,
        end: start + MILLISECOND,
        outcome: &COMPLETED,
        around: AroundAttempt::default(),
    }
}

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);
