//! The end of a run, whoever brings it about.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::Broker;
use crate::domain::ids::{CallId, RunId};
use crate::domain::run::EndedRun;
use crate::store::{RecoveryStore, StoreError};
use crate::telemetry::spans::workflow_execute;
use crate::telemetry::{emit, metrics, within};

/// Calls that are kept to be asked again. More than that fail at once only in a long outage, and then the runs
/// are still ended; only their root spans are lost.
const UNANSWERED_MAX: usize = 4_096;

/// A call, and the runs that it was to end.
type Call = (CallId, Vec<RunId>);

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
        self.call((CallId::generate(), runs.to_vec())).await
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
            log(run);
        }
        let ids: Vec<_> = ended.iter().map(|run| run.header.id).collect();
        self.broker.announce(&ids).await;
    }
}

/// One line a run in the log of the process, so that whoever reads traces finds records of each as well. What
/// happened on the way is in the run's own log.
fn log(run: &EndedRun) {
    let header = &run.header;
    let (id, workflow, state) = (header.id, &header.workflow, run.state);
    let took = run.ended_at - run.started_at.unwrap_or(header.created_at);
    let latency_ms = took.num_milliseconds();
    within(header.trace.root_context(), header.identity.clone(), || match &run.error {
        Some(error) => {
            let code = &*error.code;
            tracing::warn!(run.id = %id, %workflow, latency_ms, error.code = code, "run {state}: {}", error.message);
        }
        None => tracing::info!(run.id = %id, %workflow, latency_ms, "run {state}"),
    });
}
