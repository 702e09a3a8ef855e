//! Group commit without a timer: a batcher that is free takes everything that is waiting and applies it
//! at once; what arrives meanwhile is the next batch. An idle batcher adds no delay, a busy one batches by
//! itself.
//!
//! Requests that share a batch share nothing else. Each caller hears as soon as its own request is applied. A batch
//! that fails over something in it (a value that the store cannot hold, a row that somebody else has locked, a
//! statement that takes too long) is split on the side, while the batcher goes on with what came after it.
//!
//! The batcher's task is the one who talks to the store, so a caller that is dropped (a client that hung
//! up, a timeout) never drops a statement half-way.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use self::part::{Applied, Part};
use crate::store::StoreError;

mod part;
mod split;
#[cfg(test)]
mod tests;

/// What a batcher does with a batch.
#[async_trait]
pub trait Apply: Send + Sync + 'static {
    /// What is submitted.
    type Request: Send + Sync + 'static;
    /// What comes back.
    type Reply: Send + 'static;

    /// For logs and metrics: a new one belongs into the sentence of `LABEL_BATCH_NAME`.
    const NAME: &'static str;

    /// Applies a batch as one atomic step and returns the replies to its requests, in order: to all of them, or where
    /// the replies would be too large, to as many from the first on as fit, but to one at least. Nothing has come of
    /// the others then; they are asked for again. MUST be repeatable, as its own reply may get lost, and is called
    /// again for other requests while a call is under way.
    async fn apply(&self, batch: &[Self::Request]) -> Result<Vec<Self::Reply>, StoreError>;

    /// Bytes that a request adds to a batch, about.
    fn bytes(_request: &Self::Request) -> usize {
        0
    }

    /// For how long a request that fails for a passing reason is retried.
    fn retry_timeout(&self) -> Duration;

    /// Whether it is pointless to go on, whatever the timeout (a lost lease).
    fn is_fenced(&self) -> bool {
        false
    }
}

/// Why a request was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatcherError {
    /// The store was out of reach for longer than the retry timeout. The outcome is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(Outage),
    /// The store cannot hold a value of this very request.
    #[error("the store refused the request: {0}")]
    Refused(String),
    /// An internal error.
    #[error("{0}")]
    Internal(String),
    /// The batcher has been shut down.
    #[error("shutting down")]
    Closed,
}

/// Why the store could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    text: String,
    reason: String,
}

impl Outage {
    /// The word for it: see [`StoreError::reason`].
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<StoreError> for BatcherError {
    fn from(error: StoreError) -> Self {
        let text = ErrorChain(&error).to_string();
        match error {
            StoreError::Unavailable(_) | StoreError::TooSlow(_) | StoreError::Locked(_) => {
                let reason = error.reason().into_owned();
                Self::Unavailable(Outage { text, reason })
            }
            StoreError::Data(_) => Self::Refused(text),
            StoreError::Corrupt(_) | StoreError::Setup(_) | StoreError::Schema(_) => {
                Self::Internal(text)
            }
        }
    }
}

/// An error with all its causes, on one line.
struct ErrorChain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for ErrorChain<'_> {
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

/// Batches that may wait to be split. A batcher tries each of them itself before, which mostly takes as long as a
/// lock may be waited for; they are fetched after each statement that is tried on the side.
const SPLIT_ARRIVING_MAX: usize = 64;

/// How much a batcher takes.
#[derive(Debug, Clone, Copy)]
pub struct BatcherLimits {
    /// Requests that may wait; submitting more than that waits. As many may wait to be split; with more, the batcher waits.
    pub waiting_max: usize,
    /// Requests in one batch.
    pub batch_max: usize,
    /// Bytes in one batch; a request that is larger goes alone.
    pub batch_bytes_max: usize,
}

impl Default for BatcherLimits {
    fn default() -> Self {
        // A batch of 512 keeps one statement well below its 5 s timeout and its locks short-lived.
        // So do 8 MiB: what nodes yield may have a megabyte each, and a database writes all of it twice.
        Self { waiting_max: 8_192, batch_max: 512, batch_bytes_max: 8 * 1024 * 1024 }
    }
}

/// A caller, and the end on which it waits.
type Caller<A> = oneshot::Sender<Result<<A as Apply>::Reply, BatcherError>>;

type Job<A> = (<A as Apply>::Request, Caller<A>);

/// The submitting end of a batcher. Cloning it is cheap; the batcher ends when all clones are gone.
pub struct Batcher<A: Apply> {
    jobs: mpsc::Sender<Job<A>>,
}

impl<A: Apply> Clone for Batcher<A> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone() }
    }
}

impl<A: Apply> fmt::Debug for Batcher<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("name", &A::NAME).finish_non_exhaustive()
    }
}

impl<A: Apply> Batcher<A> {
    /// Starts a batcher; its tasks are tracked by `tasks` and end when all its clones are gone and
    /// what they submitted has been applied.
    pub fn start(tasks: &TaskTracker, apply: A, limits: BatcherLimits) -> Self {
        let (jobs, waiting) = mpsc::channel(limits.waiting_max);
        let (splitter, hindered) = mpsc::channel(SPLIT_ARRIVING_MAX);
        let apply = Arc::new(apply);
        tasks.spawn(split::drive(Arc::clone(&apply), hindered, limits.waiting_max));
        tasks.spawn(drive(apply, waiting, splitter, limits));
        Self { jobs }
    }

    /// Submits a request and waits for its reply. Dropping the future does not take the request back.
    ///
    /// # Errors
    /// See [`BatcherError`].
    pub async fn submit(&self, request: A::Request) -> Result<A::Reply, BatcherError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send((request, reply)).await.map_err(|_| BatcherError::Closed)?;
        answer.await.map_err(|_| BatcherError::Closed)?
    }
}

async fn drive<A: Apply>(
    apply: Arc<A>,
    mut waiting: mpsc::Receiver<Job<A>>,
    splitter: mpsc::Sender<Part<A>>,
    limits: BatcherLimits,
) {
    let mut jobs = VecDeque::with_capacity(limits.batch_max);
    let mut arrived = Vec::with_capacity(limits.batch_max);
    loop {
        if jobs.is_empty() && waiting.recv_many(&mut arrived, limits.batch_max).await == 0 {
            return;
        }
        jobs.extend(arrived.drain(..));
        let batch = jobs.drain(..next_batch::<A>(&jobs, limits.batch_bytes_max));
        let mut part = Part::of(batch, apply.retry_timeout());
        loop {
            part = match part.apply(&*apply).await {
                Applied::Done => break,
                Applied::Left(rest) => rest,
                Applied::Hindered(part) => {
                    // It only ends after this one.
                    drop(splitter.send(part).await);
                    break;
                }
                Applied::Unavailable(mut part) => {
                    tokio::time::sleep(part.next_pause()).await;
                    part
                }
            };
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
