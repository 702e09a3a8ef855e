//! How telemetry itself fares: exports, and what was lost on the way to them, counted exactly as it happens. The metrics
//! about telemetry are read off here.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::words::words;

words!(
    /// What is exported.
    "signal" Signal {
        /// Spans.
        Traces = "traces",
        /// Points of metrics.
        Metrics = "metrics",
        /// Log records.
        Logs = "logs",
    }
);

words!(
    /// How an export ended.
    "result of an export" ExportResult {
        /// The collector took it.
        Ok = "ok",
        /// It was refused, or nobody answered in time, repetitions included.
        Failed = "failed",
    }
);

words!(
    /// Why telemetry was thrown away.
    "reason to drop telemetry" DropReason {
        /// Too much was waiting to be exported.
        QueueFull = "queue_full",
        /// Its export failed for good.
        ExportFailed = "export_failed",
    }
);

/// Exports by signal and result, since the process has started.
static EXPORTS: [[AtomicU64; ExportResult::ALL.len()]; Signal::ALL.len()] =
    [const { [const { AtomicU64::new(0) }; ExportResult::ALL.len()] }; Signal::ALL.len()];

/// Items that were lost, by signal and reason.
static DROPPED: [[AtomicU64; DropReason::ALL.len()]; Signal::ALL.len()] =
    [const { [const { AtomicU64::new(0) }; DropReason::ALL.len()] }; Signal::ALL.len()];

/// Exports of this process that ended so.
pub(super) fn exports(signal: Signal, result: ExportResult) -> u64 {
    EXPORTS[signal as usize][result as usize].load(Ordering::Relaxed)
}

/// Counts an export that has ended.
pub(super) fn count_export(signal: Signal, result: ExportResult) {
    EXPORTS[signal as usize][result as usize].fetch_add(1, Ordering::Relaxed);
}

/// Items that this process has lost so.
pub(super) fn dropped(signal: Signal, reason: DropReason) -> u64 {
    DROPPED[signal as usize][reason as usize].load(Ordering::Relaxed)
}

/// Counts items that were lost; returns how many it were before.
pub(super) fn count_dropped(signal: Signal, reason: DropReason, items: usize) -> u64 {
    DROPPED[signal as usize][reason as usize].fetch_add(items as u64, Ordering::Relaxed)
}
