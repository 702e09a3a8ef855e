//! The way into a queue.

use std::cell::Cell;
use std::sync::Arc;

use opentelemetry::{Context, ContextGuard};

use super::item::Item;
use super::queue::{Pushed, Queue};
use crate::telemetry::tally::{DropReason, Signal, count_dropped};

thread_local! {
    /// The memory in which this thread encodes.
    static ITEM: Cell<Item> = Cell::default();
}

/// Encodes what it is given and puts it into a queue, as long as that is open. What there is no room for is lost, and
/// counted.
#[derive(Debug, Clone)]
pub(in crate::telemetry) struct Producer {
    pub(super) queue: Arc<Queue>,
    pub(super) signal: Signal,
}

impl Producer {
    /// Puts in what `encode` makes of an item.
    pub(in crate::telemetry) fn put(&self, encode: impl FnOnce(&mut Item)) {
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
    pub(super) fn suppress_echo(&self) -> Option<ContextGuard> {
        let is_echo = self.signal == Signal::Logs;
        is_echo.then(Context::enter_telemetry_suppressed_scope)
    }
}
