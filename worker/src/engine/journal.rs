//! The journal of an attempt, over the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use skein_shared::batcher::BatcherError;
use skein_shared::domain::ids::ActivationKey;
use skein_shared::store::engine::NewEvent;
use skein_shared::store::steps::{
    Begun, RateRequest, RecordedStep, StepAnswer, StepIntent, StepResult, StepWrite,
};
use skein_shared::telemetry::{emit, metrics, spans};

use crate::batchers::Batchers;
use crate::journal::{Journal, JournalError};
use crate::lease::Lease;

/// The journal of one attempt: fenced by its worker's lease and by its claim.
pub(super) struct StoreJournal<'a> {
    batchers: &'a Batchers,
    key: &'a ActivationKey,
    claim: u32,
    lease: &'a Lease,
    /// Whether there may be something to read.
    has_entries: AtomicBool,
}

impl<'a> StoreJournal<'a> {
    pub(super) fn new(
        batchers: &'a Batchers,
        key: &'a ActivationKey,
        claim: u32,
        lease: &'a Lease,
    ) -> Self {
        // Nobody has had the activation before the first claim.
        Self { batchers, key, claim, lease, has_entries: AtomicBool::new(claim > 1) }
    }
}

fn not_written(error: &BatcherError) -> JournalError {
    JournalError::Store(error.to_string())
}

#[async_trait]
impl Journal for StoreJournal<'_> {
    async fn recorded(&self) -> Result<Vec<RecordedStep>, JournalError> {
        if !self.has_entries.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let read = self.batchers.journals.submit(self.key.clone()).await;
        read.map_err(|error| not_written(&error))
    }

    async fn write(
        &self,
        finished: Option<StepResult>,
        begin: Option<StepIntent>,
        events: Vec<NewEvent>,
    ) -> Result<Begun, JournalError> {
        self.has_entries.store(true, Ordering::Relaxed);
        let (key, claim) = (self.key.clone(), self.claim);
        let write = StepWrite { key, claim, finished, begin, events };
        match self.batchers.steps.submit(write).await {
            Ok(StepAnswer::Written(begun)) => {
                if let Begun::Started { lost, .. } = &begun {
                    lost.iter().for_each(metrics::step_lost);
                    lost.iter().map(spans::lost_step).for_each(emit);
                }
                Ok(begun)
            }
            Ok(StepAnswer::Fenced) => Err(JournalError::Fenced),
            Err(error) => Err(not_written(&error)),
        }
    }

    async fn room_for(&self, intent: &StepIntent) -> Result<Begun, JournalError> {
        let asked = self.batchers.rooms.submit((self.key.clone(), intent.clone())).await;
        asked.map_err(|error| not_written(&error))
    }

    async fn start_in(&self, request: RateRequest) -> Result<Option<Duration>, JournalError> {
        let granted = self.batchers.starts.submit(request).await;
        granted.map_err(|error| not_written(&error))
    }

    fn is_given_back(&self) -> bool {
        self.lease.is_void()
    }
}
