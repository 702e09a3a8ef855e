//! Live events: what a run yields while it is still at it, such as the text of a model, token by token.
//!
//! Nobody stores them and nothing depends on them. Whoever publishes one never waits, and whoever listens and does not
//! keep up is dropped and may come back; what he missed then stands in the node's output. An event that gets lost on
//! the way leaves a gap in the numbers of its call, so a listener knows.

mod hub;
mod losses;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(super) use hub::Hub;
use hub::{Buffered, Place};
pub use losses::LiveLoss;

use crate::domain::ids::{NodeKey, RunId, Scope};
use crate::domain::words::words;

/// Bytes of the text of one event. Publishers send some hundred; what is longer is refused, so that one message fits
/// into few frames.
pub const LIVE_TEXT_BYTES_MAX: usize = 8 * 1024;
/// Events that wait for one listener. A model yields some fifty a second: five seconds of a socket that is full.
pub const LISTENER_EVENTS_MAX: usize = 256;
/// Bytes of the texts that wait for one listener: with a thousand listeners that do not keep up, 64 MB a process.
pub const LISTENER_BYTES_MAX: usize = 64 * 1024;

words!(
    /// What a live event tells.
    "kind of live event" LiveKind {
        /// A model has yielded more text.
        Delta = "llm.delta",
    }
);

/// Something that happens in a run right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveEvent {
    /// The run.
    pub run: RunId,
    /// The node that is at it.
    pub node: NodeKey,
    /// The repetition of the node.
    pub scope: Scope,
    /// The call within the node, such as the number of a model call.
    pub step: u32,
    /// The number of the event within its call, from 0 and without gaps where none was lost. One that is not higher
    /// than the one before means that the call is made anew: what it yielded before is void.
    pub seq: u64,
    /// What it tells.
    pub kind: LiveKind,
    /// The text, at most [`LIVE_TEXT_BYTES_MAX`] bytes. MUST hold no secret: publishers mask before they publish.
    pub text: String,
}

/// Why no more live events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LiveEnd {
    /// The listener did not keep up and was dropped; it may listen again.
    #[error("the listener did not keep up with the events")]
    TooSlow,
    /// The broker is closed.
    #[error("the broker is closed")]
    Closed,
}

/// The receiving end of one run's live events. Dropping it ends the interest in them.
#[derive(Debug)]
pub struct LiveListener {
    events: mpsc::Receiver<Buffered>,
    closing: CancellationToken,
    _place: Place,
}

impl LiveListener {
    /// The next event. Cancel-safe: none is lost when the future is dropped.
    ///
    /// # Errors
    /// When no more come: from then on always, after those that had been buffered.
    pub async fn receive(&mut self) -> Result<Arc<LiveEvent>, LiveEnd> {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(LiveEnd::Closed),
            event = self.events.recv() => event.map(Buffered::take).ok_or(LiveEnd::TooSlow),
        }
    }
}
