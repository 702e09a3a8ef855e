//! Accepting many runs at once: one statement for all that wait, then their wake-ups.
//!
//! It runs in the batcher's task, which no client can cancel, so between the commit and the hand-over
//! there is nothing but a crash of the process.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use skein_shared::batcher::Apply;
use skein_shared::dispatch::{Dispatcher, Handover, Producer};
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::wakeup::{WakeReason, Wakeup};
use skein_shared::store::runs::{Acceptance, NewRun};
use skein_shared::store::{Store, StoreError};
use skein_shared::telemetry::metrics;

use crate::limits::ACCEPT_PATIENCE;

/// Accepts the runs of a batch.
pub(crate) struct AcceptRuns {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) dispatcher: Dispatcher,
}

#[async_trait]
impl Apply for AcceptRuns {
    type Request = NewRun;
    type Reply = Acceptance;
    const NAME: &'static str = "accept";

    fn bytes(run: &NewRun) -> usize {
        run.input.len()
    }

    async fn apply(&self, batch: &[NewRun]) -> Result<Vec<Acceptance>, StoreError> {
        let acceptances = self.store.accept_runs(batch).await?;
        let mut accepted = 0;
        for (run, acceptance) in batch.iter().zip(&acceptances) {
            if let Acceptance::Accepted { created_at, .. } = acceptance {
                accepted += 1;
                self.dispatcher.hand_over(handover(run, *created_at));
            }
        }
        metrics::runs_accepted(accepted);
        Ok(acceptances)
    }

    fn retry_timeout(&self) -> Duration {
        ACCEPT_PATIENCE
    }
}

fn handover(run: &NewRun, accepted_at: DateTime<Utc>) -> Handover {
    let wakeups = run.entries.iter().map(|entry| Wakeup {
        key: ActivationKey {
            run: run.id,
            node: Arc::clone(&entry.node),
            scope: Arc::clone(&entry.scope),
        },
        identity: run.identity.clone(),
        reason: WakeReason::Start,
        publisher: Some(run.trace.context_of(run.trace.publish)),
        state: run.trace.state.clone(),
        queued_at: Some(SystemTime::from(accepted_at)),
    });
    let request = (run.request_span != run.trace.publish).then_some(run.request_span);
    let producer = Producer { parent: request, link: None, workflow: Arc::clone(&run.workflow) };
    Handover { wakeups: wakeups.collect(), producer: Some(producer) }
}
