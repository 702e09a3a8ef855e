//! Wake-ups on their way from whoever made work runnable to whoever takes it.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use super::LONG_SECONDS;
use crate::telemetry::semconv;

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    wait: Histogram<f64>,
}

pub(super) fn install(meter: &Meter) {
    let wait = meter
        .f64_histogram(semconv::METRIC_QUEUE_WAIT)
        .with_unit("s")
        .with_description("From runnable to received by a worker.")
        .with_boundaries(LONG_SECONDS.to_vec())
        .build();
    let _ = INSTRUMENTS.set(Instruments { wait });
}

/// Counts how long a wake-up was on its way; `system` is the broker's `messaging.system`.
pub fn queue_waited(system: &'static str, waited: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = [KeyValue::new(semconv::MESSAGING_SYSTEM, system)];
    instruments.wait.record(waited.as_secs_f64(), &labels);
}
