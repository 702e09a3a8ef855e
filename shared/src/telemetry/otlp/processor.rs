//! Where the SDK, and [`emit`](crate::telemetry::emit), hand over what has ended.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::exporter::Exporter;
use super::producer::Producer;
use super::queue::{Batching, Queue, Unsettled};
use crate::telemetry::TelemetryError;
use crate::telemetry::exporters::Destination;

/// The longest that a flush waits, which nobody has given another bound.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// The end of a pipeline: what it is given goes into a queue, which a thread empties.
#[derive(Debug)]
pub(in crate::telemetry) struct Queued {
    producer: Producer,
}

impl Queued {
    /// Starts the thread. Does not connect: the collector may come later.
    ///
    /// # Errors
    /// When the destination is no URL, or there is no client or no thread to be had.
    pub(in crate::telemetry) fn start(
        batching: Batching,
        destination: &Destination,
        resource: &Resource,
    ) -> Result<Self, TelemetryError> {
        let queue = Arc::new(Queue::new(batching));
        Exporter::new(Arc::clone(&queue), destination, resource)?.start()?;
        Ok(Self { producer: Producer { queue, signal: destination.signal } })
    }

    /// A way into its queue besides it.
    pub(in crate::telemetry) fn producer(&self) -> Producer {
        self.producer.clone()
    }

    fn flush(&self) -> OTelSdkResult {
        let is_done = self.producer.queue.flush(FLUSH_MAX);
        is_done.then_some(()).ok_or(OTelSdkError::Timeout(FLUSH_MAX))
    }

    fn close(&self, timeout: Duration) -> OTelSdkResult {
        self.producer.queue.close(timeout).map_err(|unsettled| match unsettled {
            Unsettled::Late(items) => {
                let _suppressed = self.producer.suppress_echo();
                tracing::warn!(
                    telemetry.signal = self.producer.signal.as_str(),
                    items,
                    "the collector has not taken in time what was waiting at the end: it is lost"
                );
                OTelSdkError::Timeout(timeout)
            }
            Unsettled::Abandoned(items) => OTelSdkError::InternalFailure(format!(
                "{items} items were lost with the thread that sends, which has panicked"
            )),
        })
    }
}

/// The thread ends by itself when it has sent what there is.
impl Drop for Queued {
    fn drop(&mut self) {
        let _left = self.producer.queue.close(Duration::ZERO);
    }
}

impl SpanProcessor for Queued {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.producer.put(|item| item.set_span(&span));
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.close(timeout)
    }
}

impl LogProcessor for Queued {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.producer.put(|item| item.set_log(record, scope));
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.close(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{log, span};
    use super::*;
    use crate::telemetry::otlp::Item;
    use crate::telemetry::tally::{DropReason, Signal, dropped};

    /// Nothing empties it.
    fn queued(batching: Batching, signal: Signal) -> Queued {
        Queued { producer: Producer { queue: Arc::new(Queue::new(batching)), signal } }
    }

    #[test]
    fn what_has_no_room_is_counted_until_there_is_room_again() {
        let batching = Batching { queue: 3, batch: 2, delay: FLUSH_MAX };
        let queued = queued(batching, Signal::Logs);
        // Nothing else in these tests drops log records.
        let lost = || dropped(Signal::Logs, DropReason::QueueFull);
        let scope = InstrumentationScope::builder("skein").build();
        let emit = |times: usize| {
            (0..times).for_each(|_| queued.emit(&mut log::tests::bare(), &scope));
        };
        emit(5);
        assert_eq!(lost(), 2);
        queued.producer.queue.next().expect("a batch");
        emit(4);
        assert_eq!(lost(), 4);
        // What comes after the end is not sent, and nobody has asked for it.
        let _not_emptied = LogProcessor::shutdown_with_timeout(&queued, Duration::ZERO);
        queued.producer.queue.next().expect("another batch");
        emit(1);
        assert_eq!(lost(), 4);
    }

    #[test]
    fn spans_and_log_records_of_a_thread_share_its_memory_and_nothing_else() {
        let batching = Batching { queue: 8, batch: 8, delay: FLUSH_MAX };
        let (spans, logs) = (queued(batching, Signal::Traces), queued(batching, Signal::Logs));
        let scope = InstrumentationScope::builder("skein").build();
        for _ in 0..3 {
            spans.on_end(span::tests::bare());
            logs.emit(&mut log::tests::bare(), &scope);
        }
        let bytes = |queued: &Queued| {
            let _not_emptied = queued.close(Duration::ZERO);
            let batch = queued.producer.queue.next().expect("a batch");
            (batch.items(), batch.bytes())
        };
        let of = |set: &dyn Fn(&mut Item)| {
            let mut item = Item::default();
            set(&mut item);
            3 * item.bytes().len()
        };
        assert_eq!(bytes(&spans), (3, of(&|item| item.set_span(&span::tests::bare()))));
        assert_eq!(bytes(&logs), (3, of(&|item| item.set_log(&log::tests::bare(), &scope))));
    }
}
