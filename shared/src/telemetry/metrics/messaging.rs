//! Messages to and from the broker, as the conventions count them.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::REQUEST_SECONDS;
use crate::broker::{Address, PublishError, Published};
use crate::telemetry::{semconv, spans};

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    sent: Counter<u64>,
    consumed: Counter<u64>,
    operation: Histogram<f64>,
    process: Histogram<f64>,
}

pub(super) fn install(meter: &Meter) {
    let sent = meter
        .u64_counter(semconv::METRIC_SENT_MESSAGES)
        .with_unit("{message}")
        .with_description("Number of messages producer attempted to send to the broker.")
        .build();
    let consumed = meter
        .u64_counter(semconv::METRIC_CONSUMED_MESSAGES)
        .with_unit("{message}")
        .with_description("Number of messages that were delivered to the application.")
        .build();
    let operation = meter
        .f64_histogram(semconv::METRIC_MESSAGING_DURATION)
        .with_unit("s")
        .with_description(
            "Duration of messaging operation initiated by a producer or consumer client.",
        )
        .with_boundaries(REQUEST_SECONDS.to_vec())
        .build();
    let process = meter
        .f64_histogram(semconv::METRIC_PROCESS_DURATION)
        .with_unit("s")
        .with_description("Duration of processing operation.")
        .with_boundaries(REQUEST_SECONDS.to_vec())
        .build();
    let _ = INSTRUMENTS.set(Instruments { sent, consumed, operation, process });
}

/// Counts a batch that was published, message by message, and how long it took until all were confirmed or given up.
pub fn published(address: &Address, outcomes: &[Result<Published, PublishError>], took: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let destination = spans::sent_to(address);
    let code =
        |outcome: &Result<Published, PublishError>| outcome.as_ref().err().map(PublishError::code);
    let mut counts: Vec<(Option<&'static str>, u64)> = Vec::with_capacity(1);
    for error in outcomes.iter().map(code) {
        match counts.iter_mut().find(|(known, _)| *known == error) {
            Some((_, count)) => *count += 1,
            None => counts.push((error, 1)),
        }
    }
    let labels = |error| labels(address, destination.clone(), "publish", error);
    for (error, count) in &counts {
        instruments.sent.add(*count, &labels(*error));
    }
    // The call has gone well if all of it has.
    let worst = counts.iter().find_map(|(error, _)| *error);
    instruments.operation.record(took.as_secs_f64(), &labels(worst));
}

/// Counts a message that was delivered.
pub fn consumed(address: &Address) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = labels(address, spans::received_from(address), "process", None);
    instruments.consumed.add(1, &labels);
}

/// Counts how a delivery was given back: `operation` is `ack`, `requeue` or `reject`, `error` a low-cardinality word for
/// why, where it was not done with.
pub fn settled(
    address: &Address,
    operation: &'static str,
    error: Option<&'static str>,
    took: Duration,
) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = labels(address, spans::received_from(address), operation, error);
    instruments.operation.record(took.as_secs_f64(), &labels);
}

/// Counts a delivery, from its receipt to its settlement; `error` is a low-cardinality word for why nothing came of it.
pub fn processed(address: &Address, error: Option<&'static str>, took: Duration) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = labels(address, spans::received_from(address), "process", error);
    instruments.process.record(took.as_secs_f64(), &labels);
}

fn labels(
    address: &Address,
    destination: String,
    operation: &'static str,
    error: Option<&'static str>,
) -> Vec<KeyValue> {
    let mut labels = vec![
        KeyValue::new(semconv::MESSAGING_SYSTEM, address.system),
        KeyValue::new(semconv::MESSAGING_OPERATION_NAME, operation),
        KeyValue::new(semconv::MESSAGING_DESTINATION_NAME, destination),
    ];
    labels.extend(error.map(|error| KeyValue::new(semconv::ERROR_TYPE, error)));
    labels
}
