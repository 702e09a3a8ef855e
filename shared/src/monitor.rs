//! Counts what is open in the whole installation, in whichever process has the duty, for the gauges of its metrics.
//!
//! Every process that sends metrics asks for the duty at the pace at which metrics are exported. The one that has it
//! counts, and shows what it counted until the end of its term, by its own clock and from before it asked: by then it
//! has a newer count, or has stopped to show anything. So no two processes show their counts at a time, whatever dies
//! or stalls, and when the one on duty is killed, another one follows within a term and one more pause. Until then the
//! gauges are missing. Work depends on none of this.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerUnavailable, DEFAULT_POOL};
use crate::domain::ids::HolderId;
use crate::domain::open_work::QueueDepth;
use crate::store::StoreError;
use crate::store::monitoring::{CountOptions, MonitoringStore};
use crate::telemetry::metrics::{StateGauges, state_gauges};

#[cfg(test)]
mod tests;

/// What the duty is called in the store.
const DUTY: &str = "count_open";
/// A term, in pauses between two counts. Two counts may fail, for want of a database, and the duty is not lost.
const TERM_PAUSES: u32 = 3;
/// How long a process that stops tries to give the duty up. Without, the next one waits for the end of the term.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// One for each process that sends metrics.
pub struct Monitor {
    store: Arc<dyn MonitoringStore>,
    broker: Arc<dyn Broker>,
    gauges: Arc<StateGauges>,
    holder: HolderId,
    /// What failed last, so that an outage is told of once.
    failing: Failing,
}

#[derive(Debug, Default)]
struct Failing {
    store: bool,
    broker: bool,
}

impl Monitor {
    /// `None` while this process sends no metrics: then nothing is asked and nothing runs.
    #[must_use]
    pub fn wanted(store: Arc<dyn MonitoringStore>, broker: Arc<dyn Broker>) -> Option<Self> {
        Some(Self::new(store, broker, state_gauges()?))
    }

    fn new(
        store: Arc<dyn MonitoringStore>,
        broker: Arc<dyn Broker>,
        gauges: Arc<StateGauges>,
    ) -> Self {
        let (holder, failing) = (HolderId::generate(), Failing::default());
        Self { store, broker, gauges, holder, failing }
    }

    /// Counts while it is this process's turn, until `shutdown`; then gives the duty up. An error costs a count.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let may_hold = loop {
            let next = Instant::now() + self.gauges.interval();
            // It may be dropped anywhere: what is written is one statement, and is safe to repeat.
            let counted = shutdown.run_until_cancelled(self.count()).await;
            // Without an answer nobody knows.
            let may_hold = !matches!(counted, Some(Ok(false)));
            let outcome = counted.map_or(Ok(()), |counted| counted.map(drop));
            tell_once(&mut self.failing.store, outcome, "what is open cannot be counted");
            if shutdown.run_until_cancelled(sleep_until(next)).await.is_none() {
                break may_hold;
            }
        };
        // First what is shown: from then on another process may show its own.
        self.gauges.clear();
        if may_hold {
            let left = timeout(LEAVE_MAX, self.store.leave_duty(DUTY, self.holder)).await;
            if !matches!(left, Ok(Ok(()))) {
                tracing::debug!("the duty to count what is open ends with its term");
            }
        }
    }

    /// Asks for the duty, and counts if it is this process's; says whether it is.
    async fn count(&mut self) -> Result<bool, StoreError> {
        let asked = Instant::now();
        let term = self.gauges.interval() * TERM_PAUSES;
        if !self.store.take_duty(DUTY, self.holder, term).await? {
            self.gauges.clear();
            return Ok(false);
        }
        let counting = self.store.count_open(CountOptions::default());
        let (work, backlog) = tokio::join!(counting, self.backlog());
        let queues = self.queues(backlog);
        self.gauges.show(work?, queues, (asked + term).into_std());
        Ok(true)
    }

    /// A broker that does not answer must not hold back what the store has said.
    async fn backlog(&self) -> Result<Vec<QueueDepth>, BrokerUnavailable> {
        let most = self.gauges.interval() / 2;
        let asked = timeout(most, self.broker.backlog(&[DEFAULT_POOL])).await;
        asked.unwrap_or_else(|_| Err(BrokerUnavailable(format!("no answer within {most:?}"))))
    }

    /// Without a broker there is nothing to say of queues, and the rest is shown all the same.
    fn queues(&mut self, backlog: Result<Vec<QueueDepth>, BrokerUnavailable>) -> Vec<QueueDepth> {
        let (queues, outcome) = match backlog {
            Ok(queues) => (queues, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        tell_once(&mut self.failing.broker, outcome, "messages cannot be counted");
        queues
    }
}

/// Logs the first of failures in a row.
fn tell_once<E: std::error::Error>(failing: &mut bool, outcome: Result<(), E>, what: &str) {
    let failed = outcome.is_err();
    if let Err(error) = outcome
        && !*failing
    {
        tracing::warn!(%error, "{what}: gauges are missing until it can be");
    }
    *failing = failed;
}
