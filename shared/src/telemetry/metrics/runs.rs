//! Runs, from their start to their end.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use super::LONG_SECONDS;
use crate::domain::run::EndedRun;
use crate::telemetry::{semconv, spans};

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    duration: Histogram<f64>,
}

pub(super) fn install(meter: &Meter) {
    let duration = meter
        .f64_histogram(semconv::METRIC_RUN_DURATION)
        .with_unit("s")
        .with_description("From the first claim of a run to its end.")
        .with_boundaries(LONG_SECONDS.to_vec())
        .build();
    let _ = INSTRUMENTS.set(Instruments { duration });
}

/// Counts a run that has ended.
pub fn run_ended(run: &EndedRun) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let start = run.started_at.unwrap_or(run.header.created_at);
    let seconds = (run.ended_at - start).to_std().unwrap_or_default().as_secs_f64();
    let status = spans::status(run.state);
    instruments.duration.record(seconds, &[KeyValue::new(semconv::WORKFLOW_STATUS, status)]);
}
