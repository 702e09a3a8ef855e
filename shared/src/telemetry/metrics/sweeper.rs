//! What goes on only because a sweeper found it.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

use crate::domain::words::words;
use crate::telemetry::semconv;

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    rescues: Counter<u64>,
}

words!(
    /// Why a node had to be brought back.
    "reason of a rescue" Rescue {
        /// Its worker died, or held it for too long.
        Crashed = "crashed",
        /// Its worker claimed it under a lease that was closed by then, and never began.
        Released = "released",
        /// The message that was to wake it is lost, or was never sent.
        MessageLost = "message_lost",
    }
);

pub(super) fn install(meter: &Meter) {
    let rescues = meter
        .u64_counter(semconv::METRIC_RESCUES)
        .with_unit("{node}")
        .with_description("Nodes that went on only because a sweeper found them.")
        .build();
    for reason in Rescue::ALL {
        rescues.add(0, &labels(*reason));
    }
    let _ = INSTRUMENTS.set(Instruments { rescues });
}

/// Counts a node that was brought back.
pub fn rescued(reason: Rescue) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.rescues.add(1, &labels(reason));
    }
}

fn labels(reason: Rescue) -> [KeyValue; 1] {
    [KeyValue::new(semconv::LABEL_RESCUE_REASON, reason.as_str())]
}
