//! Requests of a batcher that go together.

use std::time::Duration;

use tokio::time::Instant;

use super::{Apply, BatcherError, Caller, ErrorChain, Job};
use crate::store::StoreError;
use crate::telemetry::metrics;

/// The pause before the first repetition; it doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause between two repetitions.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Requests that go together, and who waits for what becomes of them.
pub(super) struct Part<A: Apply> {
    requests: Vec<A::Request>,
    callers: Vec<Caller<A>>,
    /// When it is not repeated any more.
    deadline: Instant,
    pause: Duration,
}

/// What became of a part.
pub(super) enum Applied<A: Apply> {
    /// Everybody has heard.
    Done,
    /// Those that fitted have heard; these did not fit.
    Left(Part<A>),
    /// Something in it stood in its way.
    Hindered(Part<A>),
    /// The store was out of reach.
    Unavailable(Part<A>),
}

impl<A: Apply> Part<A> {
    pub(super) fn of(jobs: impl Iterator<Item = Job<A>>, retry_timeout: Duration) -> Self {
        let (requests, callers) = jobs.unzip();
        Self { requests, callers, deadline: Instant::now() + retry_timeout, pause: PAUSE_MIN }
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Applies it once, and answers everybody for whom that decides it.
    pub(super) async fn apply(mut self, apply: &A) -> Applied<A> {
        let begun = Instant::now();
        let applied = apply.apply(&self.requests).await;
        metrics::batch_applied(A::NAME, self.len(), begun.elapsed());
        let error = match applied {
            Ok(replies) if replies.is_empty() => {
                StoreError::Corrupt("a batch was applied without a reply".to_owned())
            }
            Ok(replies) => {
                let answered = replies.len().min(self.len());
                self.requests.drain(..answered);
                for (caller, reply) in self.callers.drain(..answered).zip(replies) {
                    // A caller that is gone does not want its reply any more.
                    drop(caller.send(Ok(reply)));
                }
                return if self.requests.is_empty() { Applied::Done } else { Applied::Left(self) };
            }
            Err(error) => error,
        };
        let is_hindered =
            matches!(error, StoreError::Data(_) | StoreError::TooSlow(_) | StoreError::Locked(_));
        if is_hindered && self.len() > 1 {
            return Applied::Hindered(self);
        }
        if error.is_retryable() && Instant::now() < self.deadline && !apply.is_fenced() {
            // The field has been called so since before there were batchers, and people filter by it.
            tracing::warn!(lane = A::NAME, error = %ErrorChain(&error), "repeating a batch");
            return if is_hindered { Applied::Hindered(self) } else { Applied::Unavailable(self) };
        }
        tracing::error!(lane = A::NAME, requests = self.len(), error = %ErrorChain(&error), "a batch failed");
        let error = BatcherError::from(error);
        for caller in self.callers {
            drop(caller.send(Err(error.clone())));
        }
        Applied::Done
    }

    /// Splits it, into up to so many parts.
    pub(super) fn split(self, parts: usize) -> Vec<Self> {
        let size = self.len().div_ceil(parts).max(1);
        let mut split = Vec::with_capacity(parts);
        let mut rest = self;
        while rest.len() > size {
            let requests = rest.requests.split_off(size);
            let callers = rest.callers.split_off(size);
            let next = Self { requests, callers, deadline: rest.deadline, pause: rest.pause };
            split.push(std::mem::replace(&mut rest, next));
        }
        split.push(rest);
        split
    }

    /// How long to wait before it is repeated.
    pub(super) fn next_pause(&mut self) -> Duration {
        let pause = self.pause.mul_f64(0.5 + fastrand::f64());
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        pause
    }
}
