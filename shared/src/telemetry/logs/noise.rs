//! Keeps the SDK's complaints about its collector few.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same complaint is written once in that time.
const QUIET: Duration = Duration::from_secs(60);

/// What the SDK says of exports that fail: one thing in several events, and neither where to nor why. We say that
/// ourselves, once ([`failing`](crate::telemetry::failing)).
const FAILED_EXPORT: &[&str] = &["PeriodicReader.ExportError", "Export.Failed."];

/// Lets an event of the SDK through when its like has not been written lately, and everything else always.
///
/// The formatter asks it. A `tracing_subscriber::layer::Filter` would be the place for it, but one that
/// refuses in `event_enabled` leaves its mark on the thread, which trips an assertion at the next event.
#[derive(Debug, Default)]
pub(super) struct SdkNoise {
    /// When each kind of event was written last. The kinds are the SDK's call sites, so there are few.
    written: Mutex<HashMap<&'static str, Instant>>,
}

impl SdkNoise {
    pub(super) fn admit(&self, target: &str, name: &'static str, now: Instant) -> bool {
        if !target.starts_with("opentelemetry") {
            return true;
        }
        if FAILED_EXPORT.iter().any(|start| name.starts_with(start)) {
            return false;
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = written.get(name).is_some_and(|at| now.duration_since(*at) < QUIET);
        if !recent {
            written.insert(name, now);
        }
        !recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_repeated_once_a_minute_and_nothing_else_is_held_back() {
        const SDK: &str = "opentelemetry_sdk";
        let noise = SdkNoise::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(noise.admit(SDK, "Shutdown.Error", at(0)));
        assert!(!noise.admit(SDK, "Shutdown.Error", at(1)));
        assert!(!noise.admit(SDK, "Shutdown.Error", at(59)));
        assert!(noise.admit(SDK, "Spans.Dropped", at(1)));
        assert!(noise.admit(SDK, "Shutdown.Error", at(60)));
        for _ in 0..3 {
            assert!(noise.admit("skein_api", "event", at(1)));
        }
    }

    #[test]
    fn what_is_said_of_failed_exports_elsewhere_is_not_said_again() {
        let noise = SdkNoise::default();
        for name in ["PeriodicReader.ExportError", "Export.Failed.Exhausted"] {
            assert!(!noise.admit("opentelemetry_sdk", name, Instant::now()), "{name}");
            assert!(noise.admit("skein_shared", name, Instant::now()), "{name}");
        }
    }
}
