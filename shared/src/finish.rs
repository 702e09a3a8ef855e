//! The end of a run, whoever brings it about.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::Broker;
use crate::domain::ids::{FinishId, RunId};
use crate::domain::run::EndedRun;
use crate::store::{RecoveryStore, StoreError};
use crate::telemetry::emit;
use crate::telemetry::metrics;
use crate::telemetry::spans::workflow_execute;

/// Calls that are kept to be asked again. More than that fail at once only in a long outage, and then the runs
/// are still ended; only their root spans are lost.
const UNANSWERED_MAX: usize = 4_096;

/// A call, and the runs that it was to end.
type Call = (FinishId, Vec<RunId>);

/// Ends runs and tells of it.
#[derive(Clone)]
pub struct Finisher {
    store: Arc<dyn RecoveryStore>,
    broker: Arc<dyn Broker>,
    /// Calls whose reply is missing: perhaps they ended runs that nobody has told of.
    unanswered: Arc<Mutex<VecDeque<Call>>>,
}

impl Finisher {
    /// A finisher over a store and the broker that announces.
    pub fn new(store: Arc<dyn RecoveryStore>, broker: Arc<dyn Broker>) -> Self {
        Self { store, broker, unanswered: Arc::default() }
    }

    /// Ends runs that are to end, as far as nothing of them is running any more. Idempotent; a run
    /// that this call cannot end yet is ended by whoever ends its last running node, or by a sweep.
    ///
    /// # Errors
    /// See [`StoreError`]; the runs stay due.
    pub async fn finish(&self, runs: &[RunId]) -> Result<(), StoreError> {
        if runs.is_empty() {
            return Ok(());
        }
        self.call((FinishId::generate(), runs.to_vec())).await
    }

    /// Repeats the calls whose reply was lost. The sweeper does, once the store answers again.
    ///
    /// # Errors
    /// See [`StoreError`]; the calls are kept.
    pub async fn ask_again(&self) -> Result<(), StoreError> {
        loop {
            let Some(call) = self.unanswered().pop_front() else { return Ok(()) };
            self.call(call).await?;
        }
    }

    async fn call(&self, (id, runs): Call) -> Result<(), StoreError> {
        match self.store.finish_runs(id, &runs).await {
            Ok(ended) => {
                self.conclude(&ended).await;
                Ok(())
            }
            Err(error) => {
                let mut unanswered = self.unanswered();
                if error.is_retryable() && unanswered.len() < UNANSWERED_MAX {
                    unanswered.push_back((id, runs));
                }
                Err(error)
            }
        }
    }

    fn unanswered(&self) -> std::sync::MutexGuard<'_, VecDeque<Call>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of runs that a statement of the caller's has just ended: exports their root spans, and
    /// announces them to whoever waits. The statement said who ended them, so each is told of once.
    pub async fn conclude(&self, ended: &[EndedRun]) {
        if ended.is_empty() {
            return;
        }
        for run in ended {
            emit(workflow_execute(run));
            metrics::run_ended(run);
        }
        let ids: Vec<_> = ended.iter().map(|run| run.header.id).collect();
        self.broker.announce(&ids).await;
    }
}
