//! What the broker's connections keep count of by themselves; asked at each export.

use opentelemetry::metrics::Meter;

use crate::broker::tally;
use crate::telemetry::semconv;

pub(super) fn install(meter: &Meter) {
    meter
        .i64_observable_up_down_counter(semconv::METRIC_CONFIRMS_PENDING)
        .with_unit("{message}")
        .with_description("Messages that were sent and that the broker has not confirmed yet.")
        .with_callback(|observer| observer.observe(tally::confirms_pending(), &[]))
        .build();
    meter
        .u64_observable_counter(semconv::METRIC_MESSAGES_RETURNED)
        .with_unit("{message}")
        .with_description("Messages that came back because no queue is bound.")
        .with_callback(|observer| observer.observe(tally::returned(), &[]))
        .build();
    meter
        .u64_observable_counter(semconv::METRIC_MESSAGES_NACKED)
        .with_unit("{message}")
        .with_description(
            "Messages that the broker refused: a full queue, or one without a leader.",
        )
        .with_callback(|observer| observer.observe(tally::nacked(), &[]))
        .build();
    meter
        .f64_observable_counter(semconv::METRIC_BLOCKED_TIME)
        .with_unit("s")
        .with_description("For how long connections were blocked by an alarm of the broker.")
        .with_callback(|observer| observer.observe(tally::blocked().as_secs_f64(), &[]))
        .build();
}
