//! The end of a run, whoever brings it about.

use std::sync::Arc;

use crate::broker::Broker;
use crate::domain::ids::RunId;
use crate::domain::run::EndedRun;
use crate::store::{RecoveryStore, StoreError};
use crate::telemetry::emit;
use crate::telemetry::metrics;
use crate::telemetry::spans::workflow_execute;

/// Ends runs and tells of it.
#[derive(Clone)]
pub struct Finisher {
    store: Arc<dyn RecoveryStore>,
    broker: Arc<dyn Broker>,
}

impl Finisher {
    /// A finisher over a store and the broker that announces.
    pub fn new(store: Arc<dyn RecoveryStore>, broker: Arc<dyn Broker>) -> Self {
        Self { store, broker }
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
        let ended = self.store.finish_runs(runs).await?;
        self.conclude(&ended).await;
        Ok(())
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
