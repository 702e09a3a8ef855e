//! What the sweeper knows of the queue that it publishes to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::{Broker, DEFAULT_POOL};
use crate::store::recovery::{SWEEP_ROWS_MAX, SweepOptions};

/// With more messages than this in the queue, rows that are queued already are not published again.
const DEEP: u64 = 1_000;
/// How long an answer of the broker holds: each takes a channel of its own, and sweeps may be many.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(1);

/// What the broker said of its queue when it was last asked.
pub(super) struct Queue {
    broker: Arc<dyn Broker>,
    answer: Option<(Instant, SweepOptions)>,
}

impl Queue {
    pub(super) fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, answer: None }
    }

    /// How a sweep is to go.
    pub(super) async fn options(&mut self) -> SweepOptions {
        if let Some((at, options)) = self.answer
            && at.elapsed() < ANSWER_AGE_MAX
        {
            return options;
        }
        let depth = self.broker.depth(DEFAULT_POOL).await;
        let options = SweepOptions {
            limit: SWEEP_ROWS_MAX,
            broker_up: depth.is_ok(),
            queue_deep: depth.is_ok_and(|depth| depth > DEEP),
        };
        self.answer = Some((Instant::now(), options));
        options
    }
}
