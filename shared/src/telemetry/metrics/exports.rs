//! How telemetry itself fares.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::telemetry::semconv;
use crate::telemetry::tally::{self, DropReason, ExportResult, Signal};

pub(super) fn install(meter: &Meter) {
    meter
        .u64_observable_counter(semconv::METRIC_EXPORTS)
        .with_unit("{export}")
        .with_description("Exports to the collector, repetitions of the same one not counted.")
        .with_callback(|observer| {
            for (signal, result) in each(ExportResult::ALL) {
                let labels = [
                    KeyValue::new(semconv::LABEL_SIGNAL, signal.as_str()),
                    KeyValue::new(semconv::LABEL_EXPORT_RESULT, result.as_str()),
                ];
                observer.observe(tally::exports(signal, result), &labels);
            }
        })
        .build();
    meter
        .u64_observable_counter(semconv::METRIC_ITEMS_DROPPED)
        .with_unit("{item}")
        .with_description("Spans, log records and points of metrics that were thrown away.")
        .with_callback(|observer| {
            for (signal, reason) in each(DropReason::ALL) {
                let labels = [
                    KeyValue::new(semconv::LABEL_SIGNAL, signal.as_str()),
                    KeyValue::new(semconv::LABEL_DROP_REASON, reason.as_str()),
                ];
                observer.observe(tally::dropped(signal, reason), &labels);
            }
        })
        .build();
}

/// Every signal with each of these.
fn each<T: Copy>(others: &[T]) -> impl Iterator<Item = (Signal, T)> {
    Signal::ALL.iter().flat_map(|signal| others.iter().map(|other| (*signal, *other)))
}
