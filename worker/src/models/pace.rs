//! How long an answer is read without a break, and of how many events it may be.
//!
//! Reading is computing: what comes in one piece, or is decompressed from one, can be read for seconds without a wait, and
//! nothing else on the thread goes on meanwhile, the heartbeat of the worker's lease among it.

use super::EVENTS_MAX;
use super::error::{CallError, ErrorClass};

/// Bytes that are read before others have their turn: a tenth of a millisecond or so.
const TURN_BYTES: usize = 64 * 1024;
/// What an event counts as, in bytes, besides its own: most are small, and each is parsed.
const EVENT_BYTES: usize = 1024;
/// Events that are read before others have their turn.
#[cfg(test)]
pub(super) const TURN_EVENTS: usize = TURN_BYTES / EVENT_BYTES;

/// Counts what is read of one answer.
#[derive(Debug, Default)]
pub(super) struct Pace {
    events: usize,
    /// Bytes since others had their turn.
    bytes: usize,
}

impl Pace {
    /// A piece of so many bytes is read.
    pub(super) async fn piece(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= TURN_BYTES {
            self.bytes = 0;
            tokio::task::yield_now().await;
        }
    }

    /// An event is read.
    ///
    /// # Errors
    /// When it is one too many.
    pub(super) async fn event(&mut self) -> Result<(), CallError> {
        self.events += 1;
        if self.events > EVENTS_MAX {
            let message = format!("the model's answer has more than {EVENTS_MAX} events");
            return Err(CallError::new("answer_too_large", ErrorClass::Cut, message));
        }
        self.piece(EVENT_BYTES).await;
        Ok(())
    }
}
