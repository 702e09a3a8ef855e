//! How many live events were lost here, and why. Telemetry reads it: the broker knows no exporter.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::words::words;

words!(
    /// Why a live event was lost.
    "way to lose a live event" LiveLoss {
        /// Too many of them waited to be written to the broker.
        QueueFull = "queue_full",
        /// The broker did not take it: it was out of reach, took no messages, or took too long.
        BrokerUnavailable = "broker_unavailable",
        /// A listener had no room for it, and was dropped. What it misses until it comes back is not counted.
        SlowListener = "slow_listener",
    }
);

/// By [`LiveLoss`], in its order, since the process has started.
static LOST: [AtomicU64; LiveLoss::ALL.len()] = [const { AtomicU64::new(0) }; LiveLoss::ALL.len()];

impl LiveLoss {
    /// How many this process has lost so since it has started.
    #[must_use]
    pub fn count(self) -> u64 {
        LOST[self as usize].load(Ordering::Relaxed)
    }

    /// Counts so many more.
    pub(in crate::broker) fn add(self, events: u64) {
        LOST[self as usize].fetch_add(events, Ordering::Relaxed);
    }
}
