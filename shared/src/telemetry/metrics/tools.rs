//! Calls of tools by agents.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

use crate::domain::step::StepStatus;
use crate::telemetry::semconv;

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    calls: Counter<u64>,
}

/// A call of a tool that is over.
#[derive(Debug, Clone, Copy)]
pub struct CalledTool {
    /// What OpenTelemetry calls its kind: `function` or `extension`. `None` where nobody knows any more.
    pub kind: Option<&'static str>,
    /// How it ended.
    pub status: StepStatus,
}

/// The kind of a call that was lost with its worker.
const UNKNOWN: &str = "unknown";

pub(super) fn install(meter: &Meter) {
    let calls = meter
        .u64_counter(semconv::METRIC_TOOL_CALLS)
        .with_unit("{call}")
        .with_description("Calls of tools by agents.")
        .build();
    for kind in ["function", "extension"] {
        for status in [StepStatus::Succeeded, StepStatus::Failed] {
            calls.add(0, &labels(&CalledTool { kind: Some(kind), status }));
        }
    }
    let _ = INSTRUMENTS.set(Instruments { calls });
}

pub(super) fn called(call: &CalledTool) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.calls.add(1, &labels(call));
    }
}

fn labels(call: &CalledTool) -> [KeyValue; 2] {
    [
        KeyValue::new(semconv::LABEL_TOOL_KIND, call.kind.unwrap_or(UNKNOWN)),
        KeyValue::new(semconv::LABEL_STEP_STATUS, call.status.as_str()),
    ]
}
