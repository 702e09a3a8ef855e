//! Attempts of nodes.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use super::LONG_SECONDS;
use crate::domain::kind::NodeKind;
use crate::domain::outcome::AttemptOutcome;
use crate::telemetry::{semconv, spans};

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    duration: Histogram<f64>,
}

pub(super) fn install(meter: &Meter) {
    let duration = meter
        .f64_histogram(semconv::METRIC_NODE_DURATION)
        .with_unit("s")
        .with_description("One attempt of a node.")
        .with_boundaries(LONG_SECONDS.to_vec())
        .build();
    let _ = INSTRUMENTS.set(Instruments { duration });
}

/// Counts an attempt of a node.
pub fn node_ended(kind: NodeKind, outcome: &AttemptOutcome, took: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = [
        KeyValue::new(semconv::NODE_TYPE, kind.as_str()),
        KeyValue::new(semconv::NODE_STATUS, spans::node_status(outcome)),
    ];
    instruments.duration.record(took.as_secs_f64(), &labels);
}
