//! Live events that did not arrive.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::broker::LiveLoss;
use crate::telemetry::semconv;

/// The broker keeps count by itself, and is asked at each export.
pub(super) fn install(meter: &Meter) {
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
}
