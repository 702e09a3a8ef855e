//! The runtime that all tasks of this process share.

use opentelemetry::metrics::Meter;
use tokio::runtime::{Handle, RuntimeMetrics};

use crate::telemetry::semconv;

/// What of it is read.
type Read = fn(&RuntimeMetrics) -> usize;

/// Measures the runtime in which telemetry is set up. Outside of one there is nothing to measure.
pub(super) fn install(meter: &Meter) {
    let Ok(handle) = Handle::try_current() else { return };
    let metrics = handle.metrics();
    let gauge = |name: &'static str, unit: &'static str, description: &'static str, read: Read| {
        let metrics = metrics.clone();
        meter
            .i64_observable_up_down_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                observer.observe(i64::try_from(read(&metrics)).unwrap_or(i64::MAX), &[]);
            })
            .build();
    };
    gauge(
        semconv::METRIC_RUNTIME_WORKERS,
        "{thread}",
        "Threads that run tasks.",
        RuntimeMetrics::num_workers,
    );
    gauge(
        semconv::METRIC_RUNTIME_TASKS,
        "{task}",
        "Tasks that have not ended.",
        RuntimeMetrics::num_alive_tasks,
    );
    gauge(
        semconv::METRIC_RUNTIME_QUEUE,
        "{task}",
        "Tasks that could go on and wait for any thread.",
        RuntimeMetrics::global_queue_depth,
    );
}
