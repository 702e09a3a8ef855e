//! The message that travels through the broker.

use std::time::SystemTime;

use super::ids::ActivationKey;
use super::tenant::Identity;
use super::trace::{TraceContext, TraceState};

/// Why a wake-up was sent. Carried in the message so that a trace and a queue can be read by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeReason {
    /// An entry node of a run that was just accepted.
    Start,
    /// A node whose predecessors have ended.
    Next,
    /// A retry, a delay or a lost message: the sweeper found the row due.
    Due,
}

impl WakeReason {
    /// The word in the message header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Next => "next",
            Self::Due => "due",
        }
    }

    /// Reads the word in the message header. An unknown word is a reason of a later version, and
    /// nothing depends on it.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word {
            "start" => Self::Start,
            "next" => Self::Next,
            _ => Self::Due,
        }
    }
}

/// A hint that an activation may be claimable. It is never evidence that work may start: only a
/// guarded claim in the store is. Losing, doubling or reordering it costs time, never correctness.
#[derive(Debug, Clone, PartialEq)]
pub struct Wakeup {
    /// The row to claim.
    pub key: ActivationKey,
    /// Whose run it is; attributed to the spans made before the row has been read.
    pub identity: Identity,
    /// Why it was sent.
    pub reason: WakeReason,
    /// The span that published it; the consumer continues from here. Absent where the publisher
    /// kept no trace or its header cannot be read: a message is worth taking without one.
    pub publisher: Option<TraceContext>,
    /// What goes with that: see [`TraceState`].
    pub state: Option<TraceState>,
    /// When the row became runnable, for the queue-wait figure. Absent where the sender does not know.
    pub queued_at: Option<SystemTime>,
}
