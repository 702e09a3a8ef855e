//! Group commits: how much goes together, and how long that takes.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use crate::telemetry::semconv;

/// Upper bounds of the requests of a batch, which are 512 at most.
const ROWS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Upper bounds in seconds: a small batch takes one, a statement is ended after 5 s.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    rows: Histogram<u64>,
    duration: Histogram<f64>,
}

pub(super) fn install(meter: &Meter) {
    let rows = meter
        .u64_histogram(semconv::METRIC_BATCH_ROWS)
        .with_unit("{row}")
        .with_description("Requests that one application of a batch carried.")
        .with_boundaries(ROWS.to_vec())
        .build();
    let duration = meter
        .f64_histogram(semconv::METRIC_BATCH_DURATION)
        .with_unit("s")
        .with_description("One application of a batch to the store, whether it went well or not.")
        .with_boundaries(SECONDS.to_vec())
        .build();
    let _ = INSTRUMENTS.set(Instruments { rows, duration });
}

/// Counts an application of a batch; `name` is its batcher's.
pub fn batch_applied(name: &'static str, rows: usize, took: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = [KeyValue::new(semconv::LABEL_BATCH_NAME, name)];
    instruments.rows.record(rows as u64, &labels);
    instruments.duration.record(took.as_secs_f64(), &labels);
}
