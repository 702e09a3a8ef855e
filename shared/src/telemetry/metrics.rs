//! Histograms and counters: rates and durations that no sampling thins out. Labels never name a tenant, a run or a
//! workflow, because each combination of labels is a series of its own.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use super::semconv;
use crate::broker::LiveLoss;
use crate::domain::kind::NodeKind;
use crate::domain::outcome::AttemptOutcome;
use crate::domain::run::EndedRun;

/// Upper bounds in seconds: a transform takes less than the first, a run may take an hour.
const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    run: Histogram<f64>,
    node: Histogram<f64>,
    queue: Histogram<f64>,
}

pub(super) fn install(provider: &SdkMeterProvider) {
    let meter = provider.meter("skein");
    let histogram = |name: &'static str, description: &'static str| {
        meter
            .f64_histogram(name)
            .with_unit("s")
            .with_description(description)
            .with_boundaries(SECONDS.to_vec())
            .build()
    };
    // The broker keeps count by itself, and is asked at each export.
    meter
        .u64_observable_counter(semconv::METRIC_LIVE_LOST)
        .with_unit("{event}")
        .with_description("Live events that were lost on the way to whoever listens.")
        .with_callback(|observer| {
            for why in LiveLoss::ALL {
                let label = KeyValue::new(semconv::LIVE_LOST_BY, why.as_str());
                observer.observe(why.count(), &[label]);
            }
        })
        .build();
    // A second set would belong to a second provider, which `init` has refused before.
    let _ = INSTRUMENTS.set(Instruments {
        run: histogram(semconv::METRIC_RUN_DURATION, "From the first claim of a run to its end."),
        node: histogram(semconv::METRIC_NODE_DURATION, "One attempt of a node."),
        queue: histogram(semconv::METRIC_QUEUE_WAIT, "From runnable to received by a worker."),
    });
}

/// Counts a run that has ended. Does nothing when metrics are off, as the others here.
pub fn run_ended(run: &EndedRun) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let start = run.started_at.unwrap_or(run.header.created_at);
    let seconds = (run.ended_at - start).to_std().unwrap_or_default().as_secs_f64();
    let status = super::spans::status(run.state);
    instruments.run.record(seconds, &[KeyValue::new(semconv::WORKFLOW_STATUS, status)]);
}

/// Counts an attempt of a node.
pub fn node_ended(kind: NodeKind, outcome: &AttemptOutcome, took: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = [
        KeyValue::new(semconv::NODE_TYPE, kind.as_str()),
        KeyValue::new(semconv::NODE_STATUS, super::spans::node_status(outcome)),
    ];
    instruments.node.record(took.as_secs_f64(), &labels);
}

/// Counts how long a wake-up was on its way; `system` is the broker's `messaging.system`.
pub fn queue_waited(system: &'static str, waited: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = [KeyValue::new(semconv::MESSAGING_SYSTEM, system)];
    instruments.queue.record(waited.as_secs_f64(), &labels);
}
