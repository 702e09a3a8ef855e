//! Attempts of nodes.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::LONG_SECONDS;
use crate::domain::kind::NodeKind;
use crate::domain::outcome::AttemptOutcome;
use crate::telemetry::{semconv, spans};

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    duration: Histogram<f64>,
    retries: Counter<u64>,
}

pub(super) fn install(meter: &Meter) {
    let duration = meter
        .f64_histogram(semconv::METRIC_NODE_DURATION)
        .with_unit("s")
        .with_description("One attempt of a node.")
        .with_boundaries(LONG_SECONDS.to_vec())
        .build();
    let retries = meter
        .u64_counter(semconv::METRIC_NODE_RETRIES)
        .with_unit("{retry}")
        .with_description("Attempts of nodes that failed and are followed by another one.")
        .build();
    for kind in NodeKind::ALL {
        retries.add(0, &[of_kind(*kind)]);
    }
    let _ = INSTRUMENTS.set(Instruments { duration, retries });
}

/// Counts an attempt of a node.
pub fn node_ended(kind: NodeKind, outcome: &AttemptOutcome, took: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = [of_kind(kind), KeyValue::new(semconv::NODE_STATUS, spans::node_status(outcome))];
    instruments.duration.record(took.as_secs_f64(), &labels);
    if matches!(outcome, AttemptOutcome::Retry { .. }) {
        instruments.retries.add(1, &[of_kind(kind)]);
    }
}

fn of_kind(kind: NodeKind) -> KeyValue {
    KeyValue::new(semconv::NODE_TYPE, kind.as_str())
}
