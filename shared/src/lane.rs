//! Group commit without a timer: a lane that is free takes everything that is waiting and applies it
//! at once; what arrives meanwhile is the next batch. An idle lane adds no delay, a busy one batches by
//! itself.
//!
//! The lane's task is the one who talks to the store, so a caller that is dropped (a client that hung
//! up, a timeout) never drops a statement half-way.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::store::StoreError;

/// What a lane does with a batch.
#[async_trait]
pub trait Apply: Send + Sync + 'static {
    /// What is submitted.
    type Request: Send + Sync + 'static;
    /// What comes back.
    type Reply: Send + 'static;

    /// For logs.
    const NAME: &'static str;

    /// Applies a batch as one atomic step and returns one reply for each request, in order. MUST be
    /// repeatable, as its own reply may get lost.
    async fn apply(&self, batch: &[Self::Request]) -> Result<Vec<Self::Reply>, StoreError>;

    /// Bytes that a request adds to a batch, about.
    fn bytes(_request: &Self::Request) -> usize {
        0
    }

    /// For how long a batch that fails for a passing reason is repeated.
    fn patience(&self) -> Duration;

    /// Whether it is pointless to go on, whatever the patience (a lost lease).
    fn is_fenced(&self) -> bool {
        false
    }
}

/// Why a request was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The store was out of reach for longer than the lane's patience. The outcome is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store cannot hold a value of this very request.
    #[error("the store refused the request: {0}")]
    Refused(String),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
    /// The lane has been shut down.
    #[error("shutting down")]
    Closed,
}

impl From<StoreError> for LaneError {
    fn from(error: StoreError) -> Self {
        let text = Chain(&error).to_string();
        match error {
            StoreError::Unavailable(_) | StoreError::TooSlow(_) => Self::Unavailable(text),
            StoreError::Data(_) => Self::Refused(text),
            StoreError::Corrupt(_) | StoreError::Setup(_) => Self::Internal(text),
        }
    }
}

/// An error with all its causes, on one line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// How much a lane takes.
#[derive(Debug, Clone, Copy)]
pub struct LaneLimits {
    /// Requests that may wait; submitting more than that waits.
    pub waiting_max: usize,
    /// Requests in one batch.
    pub batch_max: usize,
    /// Bytes in one batch; a request that is larger goes alone.
    pub batch_bytes_max: usize,
}

impl Default for LaneLimits {
    fn default() -> Self {
        // A batch of 512 keeps one statement well below its 5 s timeout and its locks short-lived.
        // So do 8 MiB: what nodes yield may have a megabyte each, and a database writes all of it twice.
        Self { waiting_max: 8_192, batch_max: 512, batch_bytes_max: 8 * 1024 * 1024 }
    }
}

type Job<A> = (<A as Apply>::Request, oneshot::Sender<Result<<A as Apply>::Reply, LaneError>>);

/// The submitting end of a lane. Cloning it is cheap; the lane ends when all clones are gone.
pub struct Lane<A: Apply> {
    jobs: mpsc::Sender<Job<A>>,
}

impl<A: Apply> Clone for Lane<A> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone() }
    }
}

impl<A: Apply> fmt::Debug for Lane<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("name", &A::NAME).finish_non_exhaustive()
    }
}

impl<A: Apply> Lane<A> {
    /// Starts a lane; its task is tracked by `tasks` and ends when all clones of the lane are gone and
    /// what they submitted has been applied.
    pub fn start(tasks: &TaskTracker, apply: A, limits: LaneLimits) -> Self {
        let (jobs, waiting) = mpsc::channel(limits.waiting_max);
        tasks.spawn(drive(apply, waiting, limits));
        Self { jobs }
    }

    /// Submits a request and waits for its reply. Dropping the future does not take the request back.
    ///
    /// # Errors
    /// See [`LaneError`].
    pub async fn submit(&self, request: A::Request) -> Result<A::Reply, LaneError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send((request, reply)).await.map_err(|_| LaneError::Closed)?;
        answer.await.map_err(|_| LaneError::Closed)?
    }
}

async fn drive<A: Apply>(apply: A, mut waiting: mpsc::Receiver<Job<A>>, limits: LaneLimits) {
    let mut jobs = VecDeque::with_capacity(limits.batch_max);
    let mut arrived = Vec::with_capacity(limits.batch_max);
    loop {
        if jobs.is_empty() && waiting.recv_many(&mut arrived, limits.batch_max).await == 0 {
            return;
        }
        jobs.extend(arrived.drain(..));
        let batch: Vec<_> = jobs.drain(..next_batch::<A>(&jobs, limits.batch_bytes_max)).collect();
        let (requests, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let outcomes = apply_patiently(&apply, &requests).await;
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // A caller that is gone does not want its reply any more.
            drop(reply.send(outcome));
        }
    }
}

/// How many of the jobs go together: at least one.
fn next_batch<A: Apply>(jobs: &VecDeque<Job<A>>, bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fits = jobs.iter().take_while(|(request, _)| {
        bytes += A::bytes(request);
        bytes <= bytes_max
    });
    fits.count().max(1)
}

/// Applies a batch; repeats it while the store is out of reach, splits it when a value is refused.
async fn apply_patiently<A: Apply>(
    apply: &A,
    batch: &[A::Request],
) -> Vec<Result<A::Reply, LaneError>> {
    let deadline = Instant::now() + apply.patience();
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut parts = vec![batch];
    let mut pause = Duration::from_millis(10);
    while let Some(part) = parts.pop() {
        match apply.apply(part).await {
            Ok(replies) => {
                debug_assert_eq!(replies.len(), part.len(), "one reply for each request");
                outcomes.extend(replies.into_iter().map(Ok));
            }
            Err(StoreError::Data(_) | StoreError::TooSlow(_)) if part.len() > 1 => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.push(right);
                parts.push(left);
            }
            Err(error)
                if error.is_retryable() && Instant::now() < deadline && !apply.is_fenced() =>
            {
                tracing::warn!(lane = A::NAME, error = %Chain(&error), "repeating a batch");
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause = (pause * 2).min(Duration::from_secs(1));
                parts.push(part);
            }
            Err(error) => {
                tracing::error!(lane = A::NAME, requests = part.len(), error = %Chain(&error), "a batch failed");
                let error = LaneError::from(error);
                outcomes.extend(part.iter().map(|_| Err(error.clone())));
            }
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Doubles numbers; refuses 13, and is out of reach for the first call of each scenario that says so.
    #[derive(Default)]
    struct Doubler {
        failures_left: Mutex<u32>,
        batches: Mutex<Vec<usize>>,
    }

    #[async_trait]
    impl Apply for std::sync::Arc<Doubler> {
        type Request = u32;
        type Reply = u32;
        const NAME: &'static str = "doubler";

        fn bytes(number: &u32) -> usize {
            *number as usize
        }

        async fn apply(&self, batch: &[u32]) -> Result<Vec<u32>, StoreError> {
            self.batches.lock().unwrap().push(batch.len());
            tokio::task::yield_now().await;
            let mut left = self.failures_left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return Err(StoreError::Unavailable("down".into()));
            }
            if batch.contains(&13) {
                return Err(StoreError::Data("unlucky".into()));
            }
            if batch.contains(&14) && batch.len() > 1 {
                return Err(StoreError::TooSlow("in company".into()));
            }
            Ok(batch.iter().map(|n| n * 2).collect())
        }

        fn patience(&self) -> Duration {
            Duration::from_secs(5)
        }
    }

    async fn submit_all(
        doubler: &std::sync::Arc<Doubler>,
        numbers: &[u32],
    ) -> Vec<Result<u32, LaneError>> {
        let lane = Lane::start(&TaskTracker::new(), doubler.clone(), LaneLimits::default());
        futures_util::future::join_all(numbers.iter().map(|n| lane.submit(*n))).await
    }

    #[tokio::test]
    async fn what_waits_together_is_applied_together() {
        let doubler = std::sync::Arc::new(Doubler::default());
        let replies = submit_all(&doubler, &[1, 2, 3]).await;
        assert_eq!(replies, [Ok(2), Ok(4), Ok(6)]);
        assert_eq!(*doubler.batches.lock().unwrap(), [3]);
    }

    #[tokio::test]
    async fn a_refused_value_fails_alone() {
        let doubler = std::sync::Arc::new(Doubler::default());
        let replies = submit_all(&doubler, &[1, 13, 3, 4]).await;
        assert_eq!(replies[0], Ok(2));
        assert!(matches!(replies[1], Err(LaneError::Refused(_))));
        assert_eq!(replies[2..], [Ok(6), Ok(8)]);
    }

    #[tokio::test]
    async fn a_batch_that_takes_too_long_is_split() {
        let doubler = std::sync::Arc::new(Doubler::default());
        assert_eq!(submit_all(&doubler, &[14, 1, 2]).await, [Ok(28), Ok(2), Ok(4)]);
    }

    #[tokio::test]
    async fn a_batch_has_a_limit_in_bytes_and_a_large_request_goes_alone() {
        let doubler = std::sync::Arc::new(Doubler::default());
        let limits = LaneLimits { batch_bytes_max: 10, ..LaneLimits::default() };
        let lane = Lane::start(&TaskTracker::new(), doubler.clone(), limits);
        let numbers = [4, 6, 1, 50, 2, 3];
        let replies = futures_util::future::join_all(numbers.iter().map(|n| lane.submit(*n))).await;
        assert_eq!(replies, numbers.map(|n| Ok(n * 2)));
        assert_eq!(*doubler.batches.lock().unwrap(), [2, 1, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_shorter_than_the_patience_goes_unnoticed() {
        let doubler =
            std::sync::Arc::new(Doubler { failures_left: Mutex::new(3), ..Doubler::default() });
        assert_eq!(submit_all(&doubler, &[5]).await, [Ok(10)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_longer_than_the_patience_is_reported() {
        let doubler = std::sync::Arc::new(Doubler {
            failures_left: Mutex::new(u32::MAX),
            ..Doubler::default()
        });
        assert!(matches!(submit_all(&doubler, &[5]).await[0], Err(LaneError::Unavailable(_))));
    }
}
