//! Runs, from their acceptance to their end.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::LONG_SECONDS;
use crate::domain::run::EndedRun;
use crate::telemetry::{semconv, spans};

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    duration: Histogram<f64>,
    accepted: Counter<u64>,
}

pub(super) fn install(meter: &Meter) {
    let duration = meter
        .f64_histogram(semconv::METRIC_RUN_DURATION)
        .with_unit("s")
        .with_description("From the first claim of a run to its end.")
        .with_boundaries(LONG_SECONDS.to_vec())
        .build();
    let accepted = meter
        .u64_counter(semconv::METRIC_RUNS_ACCEPTED)
        .with_unit("{run}")
        .with_description("Runs that were accepted; a repeated request makes none.")
        .build();
    accepted.add(0, &[]);
    let _ = INSTRUMENTS.set(Instruments { duration, accepted });
}

/// Counts runs that were accepted.
pub fn runs_accepted(runs: u64) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.accepted.add(runs, &[]);
    }
}

/// Counts a run that has ended.
pub fn run_ended(run: &EndedRun) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let start = run.started_at.unwrap_or(run.header.created_at);
    let seconds = (run.ended_at - start).to_std().unwrap_or_default().as_secs_f64();
    let status = spans::status(run.state);
    instruments.duration.record(seconds, &[KeyValue::new(semconv::WORKFLOW_STATUS, status)]);
}
