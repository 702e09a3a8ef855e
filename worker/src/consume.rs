//! From a delivery to a claimed activation: permit, receive, claim, acknowledge, run.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use skein_shared::broker::{Address, Broker, DEFAULT_POOL, Delivery};
use skein_shared::domain::trace::TraceContext;
use skein_shared::domain::wakeup::Wakeup;
use skein_shared::store::engine::{Claim, ClaimRequest};
use skein_shared::telemetry::spans::Process;
use skein_shared::telemetry::{emit, metrics, new_span_id, within};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::Engine;

/// Deliveries that are unsettled at a time at most. They are settled as soon as their claim has
/// committed, so this only has to cover the round trips to broker and store.
const PREFETCH_MAX: usize = 256;

/// How long what was fetched ahead may wait for a slot.
const HOARD_MAX: Duration = Duration::from_secs(1);

/// How long a message is kept whose claim failed. The lane has been patient already, so the store is in trouble.
const CLAIM_FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Consumes the pool's queue under one lease.
pub(crate) struct Intake {
    pub(crate) engine: Engine,
    pub(crate) broker: Arc<dyn Broker>,
    /// One permit an activation that runs.
    pub(crate) slots: Arc<Semaphore>,
    /// The tasks of the activations.
    pub(crate) tasks: TaskTracker,
    pub(crate) concurrency: usize,
}

impl Intake {
    /// Consumes until `stop`. A slot is taken before a delivery is. What this worker has fetched ahead and finds no
    /// slot for goes back to the queue, for others.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let prefetch = u16::try_from(self.concurrency.min(PREFETCH_MAX)).unwrap_or(u16::MAX);
        let address = Arc::new(self.broker.address(DEFAULT_POOL));
        while !stop.is_cancelled() {
            let Some(mut slot) = stop.run_until_cancelled(self.slot()).await.flatten() else {
                return;
            };
            let mut consumer = self.broker.consume(DEFAULT_POOL, prefetch).await;
            loop {
                let received = stop.run_until_cancelled(consumer.receive()).await;
                // Stopped, or the broker is closed: there is nothing to come back to.
                let Some(Some(delivery)) = received else { return consumer.stop().await };
                let engine = self.engine.clone();
                let address = Arc::clone(&address);
                self.tasks.spawn(handle(engine, address, delivery, slot));
                let next = tokio::time::timeout(HOARD_MAX, self.slot());
                match stop.run_until_cancelled(next).await {
                    Some(Ok(Some(next))) => slot = next,
                    // What was fetched ahead is for others.
                    _ => break,
                }
            }
            consumer.stop().await;
        }
    }

    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }
}

/// What a delivery told, for its span.
struct Receipt {
    address: Arc<Address>,
    wakeup: Wakeup,
    tag: u64,
    redelivered: bool,
    body_bytes: usize,
    start: SystemTime,
}

async fn handle(
    engine: Engine,
    address: Arc<Address>,
    delivery: Delivery,
    slot: OwnedSemaphorePermit,
) {
    let start = SystemTime::now();
    let wakeup = match &delivery.wakeup {
        Ok(wakeup) => wakeup.clone(),
        Err(error) => {
            tracing::warn!(%error, "a message cannot be read; it goes to the dead letters");
            delivery.reject().await;
            return;
        }
    };
    let receipt = Receipt {
        address,
        tag: delivery.tag,
        redelivered: delivery.redelivered,
        body_bytes: delivery.body_bytes,
        wakeup,
        start,
    };
    let held = engine.lease.hold(&receipt.wakeup.key);
    let request = ClaimRequest { key: receipt.wakeup.key.clone(), span: new_span_id() };
    let (claim, suspect) = match engine.lanes.claims.submit(request).await {
        Ok(claimed) => claimed,
        Err(error) => {
            let warn =
                || tracing::warn!(activation = %receipt.wakeup.key, %error, "a claim failed");
            match receipt.wakeup.publisher {
                Some(context) => within(context, receipt.wakeup.identity.clone(), warn),
                None => warn(),
            }
            // A broker without a delay of its own would bring it back at once, and again.
            tokio::select! {
                () = engine.lease.lost().cancelled() => {}
                () = engine.draining.cancelled() => {}
                () = tokio::time::sleep(CLAIM_FAILED_PAUSE) => {}
            }
            delivery.requeue().await;
            tell(&receipt, None, false, Some("store_unavailable"));
            return;
        }
    };
    // The row tells the rest: the message has done its work.
    delivery.ack().await;
    match claim {
        Claim::Won(claimed) => {
            // Who published the message knows best; only one that says nothing of this trace is not believed.
            let told = receipt.wakeup.publisher;
            let publisher = told
                .filter(|told| told.trace == claimed.run.trace.trace)
                .unwrap_or_else(|| claimed.run.trace.context_of(claimed.publish_span));
            let process = tell(&receipt, Some(publisher), true, None);
            engine.run(*claimed, held, process).await;
        }
        Claim::Skip(skipping) => {
            let publisher = skipping.run.trace.root_context();
            tell(&receipt, receipt.wakeup.publisher.or(Some(publisher)), true, None);
            engine.skip(*skipping, &receipt.wakeup.key).await;
        }
        Claim::Cancelled => {
            tell(&receipt, None, false, None);
            // It may have been the last open row of its run.
            engine.finish(receipt.wakeup.key.run).await;
        }
        Claim::Missed => {
            tell(&receipt, None, false, None);
        }
        // A suspect comes by every few seconds until it is its turn: that is no news.
        Claim::PutOff => {}
    }
    drop((slot, suspect));
}

/// Exports the span of the delivery and returns its context. `publisher` is what the row says; what the
/// message says is good enough where no row was read.
fn tell(
    receipt: &Receipt,
    publisher: Option<TraceContext>,
    claimed: bool,
    error: Option<&'static str>,
) -> Option<TraceContext> {
    let wakeup = &receipt.wakeup;
    if let Some(waited) = wakeup.queued_at.and_then(|at| receipt.start.duration_since(at).ok()) {
        metrics::queue_waited(receipt.address.system, waited);
    }
    let publisher = publisher.or(wakeup.publisher)?;
    let span = new_span_id();
    emit(Process {
        span,
        wakeup,
        publisher,
        address: &receipt.address,
        tag: receipt.tag,
        redelivered: receipt.redelivered,
        body_bytes: receipt.body_bytes,
        start: receipt.start,
        end: SystemTime::now(),
        claimed,
        error,
    });
    Some(publisher.with_span(span))
}
