//! The batchers through which all activations of this worker talk to the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use skein_shared::batcher::{Apply, Batcher, BatcherLimits};
use skein_shared::domain::ids::ActivationKey;
use skein_shared::store::StoreError;
use skein_shared::store::engine::{
    Claim, ClaimRequest, Commit, Committed, EngineStore, ReadRequest, Upstream,
};
use skein_shared::store::steps::{
    Begun, RateRequest, RecordedStep, STEP_BATCH_MAX, StepAnswer, StepIntent, StepStore, StepWrite,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::lease::Lease;

/// For how long a batch is repeated while the store is out of reach. The lease's fence ends it
/// sooner: what was not written by then belongs to somebody else.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Journals that are read at a time. Each may have 16 MiB.
const JOURNALS_MAX: usize = 8;
/// Questions about room that are asked at a time. Each takes a connection for a moment, and workers have few.
const ROOMS_MAX: usize = 4;

/// The batchers of a lease.
#[derive(Clone)]
pub(crate) struct Batchers {
    /// Claims activations.
    pub(crate) claims: Batcher<Claims>,
    /// Reads what ended nodes left behind.
    pub(crate) reads: Batcher<ReadsBatch>,
    /// Commits what activations did.
    pub(crate) commits: Batcher<Commits>,
    /// Reads what earlier attempts of nodes that work in steps have left.
    pub(crate) journals: Batcher<Journals>,
    /// Writes the steps of nodes that work in steps.
    pub(crate) steps: Batcher<StepWrites>,
    /// Asks whether budgets have room for steps.
    pub(crate) rooms: Batcher<Rooms>,
    /// Asks when calls may start.
    pub(crate) starts: Batcher<Starts>,
}

impl Batchers {
    pub(crate) fn start(
        tasks: &TaskTracker,
        store: &Arc<dyn EngineStore>,
        step_store: &Arc<dyn StepStore>,
        lease: &Arc<Lease>,
    ) -> Self {
        let limits = BatcherLimits::default();
        let step_limits = BatcherLimits { batch_max: STEP_BATCH_MAX, ..limits };
        let journal_limits = BatcherLimits { batch_max: JOURNALS_MAX, ..limits };
        let claims = Claims {
            store: Arc::clone(store),
            lease: Arc::clone(lease),
            suspects: Arc::new(Semaphore::new(1)),
        };
        let reads = ReadsBatch { store: Arc::clone(store), lease: Arc::clone(lease) };
        let commits = Commits { store: Arc::clone(store), lease: Arc::clone(lease) };
        let journals = Journals { store: Arc::clone(step_store), lease: Arc::clone(lease) };
        let steps = StepWrites { store: Arc::clone(step_store), lease: Arc::clone(lease) };
        let room_limits = BatcherLimits { batch_max: ROOMS_MAX, ..limits };
        let rooms = Rooms { store: Arc::clone(step_store), lease: Arc::clone(lease) };
        let starts = Starts { store: Arc::clone(step_store), lease: Arc::clone(lease) };
        Self {
            claims: Batcher::start(tasks, claims, limits),
            reads: Batcher::start(tasks, reads, limits),
            commits: Batcher::start(tasks, commits, limits),
            journals: Batcher::start(tasks, journals, journal_limits),
            steps: Batcher::start(tasks, steps, step_limits),
            rooms: Batcher::start(tasks, rooms, room_limits),
            starts: Batcher::start(tasks, starts, limits),
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

/// Readings of journals.
pub(crate) struct Journals {
    store: Arc<dyn StepStore>,
    lease: Arc<Lease>,
}

#[async_trait]
impl Apply for Journals {
    type Request = ActivationKey;
    type Reply = Vec<RecordedStep>;
    const NAME: &'static str = "journals";

    async fn apply(&self, batch: &[ActivationKey]) -> Result<Vec<Vec<RecordedStep>>, StoreError> {
        try_join_all(batch.iter().map(|key| self.store.recorded_steps(key))).await
    }

    fn retry_timeout(&self) -> Duration {
        RETRY_TIMEOUT
    }

    fn is_fenced(&self) -> bool {
        self.lease.is_fenced()
    }
}

/// Writes of steps.
pub(crate) struct StepWrites {
    store: Arc<dyn StepStore>,
    lease: Arc<Lease>,
}

#[async_trait]
impl Apply for StepWrites {
    type Request = StepWrite;
    type Reply = StepAnswer;
    const NAME: &'static str = "steps";

    fn bytes(write: &StepWrite) -> usize {
        write.bytes()
    }

    async fn apply(&self, batch: &[StepWrite]) -> Result<Vec<StepAnswer>, StoreError> {
        check_fence(&self.lease)?;
        // The store wants each activation once. An attempt writes one thing after the other, but one that was stopped
        // may have left a write behind that the next attempt catches up with: what follows is asked for again.
        let mut seen = HashSet::with_capacity(batch.len());
        let alone = batch.iter().take_while(|write| seen.insert(&write.key)).count();
        self.store.write_steps(self.lease.id(), &batch[..alone]).await
    }

    fn retry_timeout(&self) -> Duration {
        RETRY_TIMEOUT
    }

    fn is_fenced(&self) -> bool {
        self.lease.is_fenced()
    }
}

/// Questions whether budgets have room.
pub(crate) struct Rooms {
    store: Arc<dyn StepStore>,
    lease: Arc<Lease>,
}

#[async_trait]
impl Apply for Rooms {
    type Request = (ActivationKey, StepIntent);
    type Reply = Begun;
    const NAME: &'static str = "rooms";

    async fn apply(&self, batch: &[Self::Request]) -> Result<Vec<Begun>, StoreError> {
        try_join_all(batch.iter().map(|(key, intent)| self.store.room_for(key, intent))).await
    }

    fn retry_timeout(&self) -> Duration {
        RETRY_TIMEOUT
    }

    fn is_fenced(&self) -> bool {
        self.lease.is_fenced()
    }
}

/// Questions when calls may start.
pub(crate) struct Starts {
    store: Arc<dyn StepStore>,
    lease: Arc<Lease>,
}

#[async_trait]
impl Apply for Starts {
    type Request = RateRequest;
    type Reply = Option<Duration>;
    const NAME: &'static str = "starts";

    async fn apply(&self, batch: &[RateRequest]) -> Result<Vec<Option<Duration>>, StoreError> {
        check_fence(&self.lease)?;
        self.store.grant_starts(batch).await
    }

    fn retry_timeout(&self) -> Duration {
        RETRY_TIMEOUT
    }

    fn is_fenced(&self) -> bool {
        self.lease.is_fenced()
    }
}
