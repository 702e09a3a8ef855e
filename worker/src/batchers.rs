//! The batchers through which all activations of this worker talk to the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skein_shared::batcher::{Apply, Batcher, BatcherLimits};
use skein_shared::domain::ids::ActivationKey;
use skein_shared::store::StoreError;
use skein_shared::store::engine::{
    Claim, ClaimRequest, Commit, Committed, EngineStore, ReadRequest, Upstream,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::lease::Lease;

/// For how long a batch is repeated while the store is out of reach. The lease's fence ends it
/// sooner: what was not written by then belongs to somebody else.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// The three batchers of a lease.
#[derive(Clone)]
pub(crate) struct Batchers {
    /// Claims activations.
    pub(crate) claims: Batcher<Claims>,
    /// Reads what ended nodes left behind.
    pub(crate) reads: Batcher<ReadsBatch>,
    /// Commits what activations did.
    pub(crate) commits: Batcher<Commits>,
}

impl Batchers {
    pub(crate) fn start(
        tasks: &TaskTracker,
        store: &Arc<dyn EngineStore>,
        lease: &Arc<Lease>,
    ) -> Self {
        let limits = BatcherLimits::default();
        let claims = Claims {
            store: Arc::clone(store),
            lease: Arc::clone(lease),
            suspects: Arc::new(Semaphore::new(1)),
        };
        let reads = ReadsBatch { store: Arc::clone(store), lease: Arc::clone(lease) };
        let commits = Commits { store: Arc::clone(store), lease: Arc::clone(lease) };
        Self {
            claims: Batcher::start(tasks, claims, limits),
            reads: Batcher::start(tasks, reads, limits),
            commits: Batcher::start(tasks, commits, limits),
        }
    }
}

/// Refuses to talk to the store once the lease may have been given to others.
fn check_fence(lease: &Lease) -> Result<(), StoreError> {
    if lease.is_fenced() {
        Err(StoreError::Unavailable("the lease is fenced".into()))
    } else {
        Ok(())
    }
}

/// Claims.
pub(crate) struct Claims {
    store: Arc<dyn EngineStore>,
    lease: Arc<Lease>,
    /// At most one suspect starts on a worker at a time, so that a crash shows which one it was.
    suspects: Arc<Semaphore>,
}

/// A claim and, for a suspect, the permit that it holds until its next commit.
pub(crate) type ClaimReply = (Claim, Option<OwnedSemaphorePermit>);

#[async_trait]
impl Apply for Claims {
    type Request = ClaimRequest;
    type Reply = ClaimReply;
    const NAME: &'static str = "claims";

    async fn apply(&self, batch: &[ClaimRequest]) -> Result<Vec<ClaimReply>, StoreError> {
        check_fence(&self.lease)?;
        // The store wants each key once; a doubled message finds the row taken anyhow.
        let mut first: HashMap<&ActivationKey, usize> = HashMap::with_capacity(batch.len());
        let mut unique = Vec::with_capacity(batch.len());
        for request in batch {
            first.entry(&request.key).or_insert_with(|| {
                unique.push(request.clone());
                unique.len() - 1
            });
        }
        let mut permit = Arc::clone(&self.suspects).try_acquire_owned().ok();
        let claims = self.store.claim(self.lease.id(), permit.is_some(), &unique).await;
        let claims = claims.inspect_err(|_| self.lease.expect_strays())?;
        let mut claims: Vec<_> = claims.into_iter().map(Some).collect();
        let indexes = batch.iter().map(|request| first[&request.key]);
        // The store answers as many as fit; those from the first that did not fit on are asked for again.
        let answered = indexes.take_while(|index| *index < claims.len()).collect::<Vec<_>>();
        let replies = answered.into_iter().map(|index| {
            let claim = claims[index].take().unwrap_or(Claim::Missed);
            let is_suspect = matches!(&claim, Claim::Won(claimed) if claimed.suspect);
            (claim, if is_suspect { permit.take() } else { None })
        });
        Ok(replies.collect())
    }

    fn retry_timeout(&self) -> Duration {
        RETRY_TIMEOUT
    }

    fn is_fenced(&self) -> bool {
        self.lease.is_fenced()
    }
}

/// Reads.
pub(crate) struct ReadsBatch {
    store: Arc<dyn EngineStore>,
    lease: Arc<Lease>,
}

#[async_trait]
impl Apply for ReadsBatch {
    type Request = ReadRequest;
    type Reply = Vec<Upstream>;
    const NAME: &'static str = "reads";

    async fn apply(&self, batch: &[ReadRequest]) -> Result<Vec<Vec<Upstream>>, StoreError> {
        self.store.read_upstream(batch).await
    }

    fn retry_timeout(&self) -> Duration {
        RETRY_TIMEOUT
    }

    fn is_fenced(&self) -> bool {
        self.lease.is_fenced()
    }
}

/// Commits.
pub(crate) struct Commits {
    store: Arc<dyn EngineStore>,
    lease: Arc<Lease>,
}

#[async_trait]
impl Apply for Commits {
    type Request = Commit;
    type Reply = Committed;
    const NAME: &'static str = "commits";

    fn bytes(commit: &Commit) -> usize {
        commit.bytes()
    }

    async fn apply(&self, batch: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        check_fence(&self.lease)?;
        let outcomes = self.store.commit(self.lease.id(), batch).await;
        outcomes.inspect_err(|_| self.lease.expect_strays())
    }

    fn retry_timeout(&self) -> Duration {
        RETRY_TIMEOUT
    }

    fn is_fenced(&self) -> bool {
        self.lease.is_fenced()
    }
}
