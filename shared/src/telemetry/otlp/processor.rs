//! Where the SDK, and [`emit`](crate::telemetry::emit), hand over what has ended.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{Context, ContextGuard, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::exporter::Exporter;
use super::item::Item;
use super::queue::{Pushed, Queue, Unsettled};
use crate::telemetry::TelemetryError;
use crate::telemetry::exporters::Destination;
use crate::telemetry::tally::{DropReason, Signal, count_dropped};

pub(in crate::telemetry) use super::queue::Batching;

/// The longest that a flush waits, which nobody has given another bound.
const FLUSH_MAX: Duration = Duration::from_secs(5);

thread_local! {
    /// The memory in which this thread encodes.
    static ITEM: Cell<Item> = Cell::default();
}

/// The end of a pipeline: encodes what it is given and puts it into a queue, which a thread empties. What there is no
/// room for is lost, and counted.
#[derive(Debug)]
pub(in crate::telemetry) struct Queued {
    queue: Arc<Queue>,
    signal: Signal,
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
        Ok(Self { queue, signal: destination.signal })
    }

    fn put(&self, encode: impl FnOnce(&mut Item)) {
        let pushed = if self.queue.seems_full() {
            Pushed::Full
        } else {
            // Taken, not borrowed: whatever is recorded meanwhile finds an empty one. At the end of a thread there is none.
            let mut item = ITEM.try_with(Cell::take).unwrap_or_default();
            encode(&mut item);
            let pushed = self.queue.push(&item);
            let _kept = ITEM.try_with(|kept| kept.set(item));
            pushed
        };
        match pushed {
            Pushed::Waiting | Pushed::Closed => {}
            Pushed::Full => self.note_full(),
            Pushed::Abandoned => {
                count_dropped(self.signal, DropReason::ExportFailed, 1);
            }
        }
    }

    fn note_full(&self) {
        if count_dropped(self.signal, DropReason::QueueFull, 1) == 0 {
            let _suppressed = self.suppress_echo();
            tracing::warn!(
                telemetry.signal = self.signal.as_str(),
                "the queue for the collector is full: what comes meanwhile is lost"
            );
        }
    }

    /// A log record about a queue of log records would come back here.
    fn suppress_echo(&self) -> Option<ContextGuard> {
        let is_echo = self.signal == Signal::Logs;
        is_echo.then(Context::enter_telemetry_suppressed_scope)
    }

    fn flush(&self) -> OTelSdkResult {
        let is_done = self.queue.flush(FLUSH_MAX);
        is_done.then_some(()).ok_or(OTelSdkError::Timeout(FLUSH_MAX))
    }

    fn close(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.close(timeout).map_err(|unsettled| match unsettled {
            Unsettled::Late(items) => {
                let _suppressed = self.suppress_echo();
                tracing::warn!(
                    telemetry.signal = self.signal.as_str(),
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
        let _left = self.queue.close(Duration::ZERO);
    }
}

impl SpanProcessor for Queued {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.put(|item| item.set_span(&span));
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
        self.put(|item| item.set_log(record, scope));
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
    use crate::telemetry::tally::dropped;

    #[test]
    fn what_has_no_room_is_counted_until_there_is_room_again() {
        let batching = Batching { queue: 3, batch: 2, delay: FLUSH_MAX };
        let queued = Queued { queue: Arc::new(Queue::new(batching)), signal: Signal::Logs };
        // Nothing else in these tests drops log records.
        let lost = || dropped(Signal::Logs, DropReason::QueueFull);
        let scope = InstrumentationScope::builder("skein").build();
        let emit = |times: usize| {
            (0..times).for_each(|_| queued.emit(&mut log::tests::bare(), &scope));
        };
        emit(5);
        assert_eq!(lost(), 2);
        queued.queue.next().expect("a batch");
        emit(4);
        assert_eq!(lost(), 4);
        // What comes after the end is not sent, and nobody has asked for it.
        let _not_emptied = LogProcessor::shutdown_with_timeout(&queued, Duration::ZERO);
        queued.queue.next().expect("another batch");
        emit(1);
        assert_eq!(lost(), 4);
    }

    #[test]
    fn spans_and_log_records_of_a_thread_share_its_memory_and_nothing_else() {
        let batching = Batching { queue: 8, batch: 8, delay: FLUSH_MAX };
        let queued = |signal| Queued { queue: Arc::new(Queue::new(batching)), signal };
        let (spans, logs) = (queued(Signal::Traces), queued(Signal::Logs));
        let scope = InstrumentationScope::builder("skein").build();
        for _ in 0..3 {
            spans.on_end(span::tests::bare());
            logs.emit(&mut log::tests::bare(), &scope);
        }
        let bytes = |queued: &Queued| {
            let _not_emptied = queued.close(Duration::ZERO);
            let batch = queued.queue.next().expect("a batch");
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
