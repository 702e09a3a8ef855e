//! A bound before a queue. The SDK's queues drop what they have no room for and tell the number at the end of the
//! process only; here it is counted as it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::logs::Severity;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::tally::{DropReason, Signal, count_dropped};

/// The places of a queue. What has one is in the queue or about to be; it gives it back when its export begins. So
/// they are never fewer than what the queue holds, and a queue of the same size never turns anything away.
#[derive(Debug)]
pub(super) struct Places {
    free: AtomicUsize,
}

impl Places {
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { free: AtomicUsize::new(all) })
    }

    fn take(&self) -> bool {
        let one_less = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    pub(super) fn give_back(&self, places: usize) {
        self.free.fetch_add(places, Ordering::Relaxed);
    }
}

/// A processor that only what has a place gets to.
#[derive(Debug)]
pub(super) struct Bounded<P> {
    next: P,
    signal: Signal,
    places: Arc<Places>,
}

impl<P> Bounded<P> {
    /// `places` are as many as the queue of `next` has, and the exporter behind it gives them back.
    pub(super) fn new(next: P, signal: Signal, places: Arc<Places>) -> Self {
        Self { next, signal, places }
    }

    fn admits(&self) -> bool {
        if self.places.take() {
            return true;
        }
        if count_dropped(self.signal, DropReason::QueueFull, 1) == 0 {
            // A log record about a queue of log records would come back here.
            let is_echo = self.signal == Signal::Logs;
            let _suppressed = is_echo.then(Context::enter_telemetry_suppressed_scope);
            tracing::warn!(
                telemetry.signal = self.signal.as_str(),
                "the queue for the collector is full: what comes meanwhile is lost"
            );
        }
        false
    }
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.admits() {
            self.next.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

impl<P: LogProcessor> LogProcessor for Bounded<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.admits() {
            self.next.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.next.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tally::dropped;

    /// Lets everything wait for ever.
    #[derive(Debug)]
    struct Full;

    impl LogProcessor for Full {
        fn emit(&self, _: &mut SdkLogRecord, _: &InstrumentationScope) {}

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn what_has_no_place_is_counted_until_places_are_given_back() {
        let places = Places::new(3);
        let bounded = Bounded::new(Full, Signal::Logs, Arc::clone(&places));
        // Nothing else in these tests drops log records.
        let lost = || dropped(Signal::Logs, DropReason::QueueFull);
        let admitted = |attempts: usize| (0..attempts).filter(|_| bounded.admits()).count();
        assert_eq!((admitted(5), lost()), (3, 2));
        places.give_back(2);
        assert_eq!((admitted(4), lost()), (2, 4));
    }
}
