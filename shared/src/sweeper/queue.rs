//! What the sweeper knows of the queue that it publishes to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::{Broker, DEFAULT_POOL};

/// With more messages than this in the queue, rows that are queued already are hardly ever published again.
const DEEP: u64 = 1_000;
/// How long an answer of the broker holds: each takes a channel of its own, and sweeps may be many.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(1);

/// What the broker said of its queue when it was last asked.
pub(super) struct QueueMonitor {
    broker: Arc<dyn Broker>,
    answer: Option<(Instant, QueueState)>,
}

/// What a sweep goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueState {
    /// Whether it takes messages at all.
    pub(super) is_up: bool,
    /// Whether it is so deep that the messages of queued rows are in there somewhere.
    pub(super) is_deep: bool,
}

impl QueueMonitor {
    pub(super) fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, answer: None }
    }

    /// What it is like now, or was a moment ago.
    pub(super) async fn state(&mut self) -> QueueState {
        if let Some((at, state)) = self.answer
            && at.elapsed() < ANSWER_AGE_MAX
        {
            return state;
        }
        let depth = self.broker.depth(DEFAULT_POOL).await;
        let state =
            QueueState { is_up: depth.is_ok(), is_deep: depth.is_ok_and(|depth| depth > DEEP) };
        self.answer = Some((Instant::now(), state));
        state
    }
}
