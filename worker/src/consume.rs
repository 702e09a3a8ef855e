//! From a delivery to a claimed activation: permit, receive, claim, acknowledge, run.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use skein_shared::broker::{Address, Broker, Consumer, DEFAULT_POOL, Delivery};
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::run::RunHeader;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::TraceContext;
use skein_shared::domain::wakeup::Wakeup;
use skein_shared::store::engine::{Claim, ClaimRequest};
use skein_shared::telemetry::metrics::{self, ClaimResult};
use skein_shared::telemetry::spans::Process;
use skein_shared::telemetry::{database_time, emit, new_span_id};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batchers::ClaimReply;
use crate::engine::Engine;
use crate::slots::{Reserved, Slots};
use crate::suspect::{is_to_run_apart, with_precautions};

/// Deliveries that are unsettled at a time at most. They are settled as soon as their claim has
/// committed, so this only has to cover the round trips to broker and store.
const PREFETCH_MAX: usize = 256;

/// How long what was fetched ahead may wait for a slot.
const PREFETCH_IDLE_MAX: Duration = Duration::from_secs(1);

/// How many times as many slots as a consumer fetches ahead must be free before it gives way to one that fetches more.
/// A change costs some round trips, and returns what was fetched ahead.
const WIDEN_FACTOR: usize = 2;

/// How long a message is kept whose claim failed. The batcher has been patient already, so the store is in trouble.
const CLAIM_FAILED_PAUSE: Duration = Duration::from_secs(1);

/// How long what is to run apart and is claimed waits for what was claimed with it. Well within the grace that a row's
/// deadline has beyond the timeout of its node.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(10);

/// How long a row that was deferred waits here for its turn: not longer than it is deferred for, after which others may
/// take it.
const TURN_MAX: Duration = Duration::from_secs(3);

/// Consumes the pool's queue under one lease.
pub(crate) struct Intake {
    pub(crate) engine: Engine,
    pub(crate) broker: Arc<dyn Broker>,
    /// The tasks of the activations.
    pub(crate) tasks: TaskTracker,
}

impl Intake {
    /// Consumes until `stop`, or until the broker is closed. A slot is taken before a delivery is. No more is fetched
    /// ahead than there are free slots when a consumer starts, so that one slot which gets free now and then does not
    /// have hundreds of messages come and go. What would find no slot soon goes back to the queue, for others.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let address = Arc::new(self.broker.address(DEFAULT_POOL));
        while let Some(slot) = stop.run_until_cancelled(self.engine.slots.take()).await {
            let ahead = (self.engine.slots.free() + 1).min(PREFETCH_MAX);
            let prefetch = u16::try_from(ahead).unwrap_or(u16::MAX);
            let mut consumer = self.broker.consume(DEFAULT_POOL, prefetch).await;
            let serving = self.serve(&mut *consumer, slot, ahead, &address);
            let is_over = stop.run_until_cancelled(serving).await.unwrap_or(true);
            consumer.stop().await;
            if is_over {
                return;
            }
        }
    }

    /// Hands out slots to deliveries for as long as this consumer is the right one, and says whether there is to be no
    /// other.
    async fn serve(
        &self,
        consumer: &mut dyn Consumer,
        mut slot: OwnedSemaphorePermit,
        ahead: usize,
        address: &Arc<Address>,
    ) -> bool {
        let slots = &self.engine.slots;
        let mut prefetched = Prefetch::new(ahead);
        loop {
            let delivery = tokio::select! {
                biased;
                // What runs apart needs this slot as well.
                () = slots.reserved() => return false,
                delivery = consumer.receive() => delivery,
            };
            // The broker is closed: there is nothing to come back to.
            let Some(delivery) = delivery else { return true };
            let engine = self.engine.clone();
            self.tasks.spawn(handle(engine, Arc::clone(address), delivery, slot));
            prefetched.note_handed_out(slots.free());
            let Ok(next) = tokio::time::timeout(PREFETCH_IDLE_MAX, slots.take()).await else {
                return false;
            };
            slot = next;
            if prefetched.is_too_large() || prefetched.is_too_small(slots) {
                return false;
            }
        }
    }
}

/// What a consumer fetches ahead, beside what finds slots.
struct Prefetch {
    /// Deliveries that it fetches ahead.
    ahead: usize,
    /// Since when it is watched how fast they find slots.
    since: Instant,
    /// How many have found one since then.
    handed_out: usize,
    /// Whether there was a free slot since then, so that nothing has waited for one.
    had_room: bool,
}

impl Prefetch {
    fn new(ahead: usize) -> Self {
        Self { ahead, since: Instant::now(), handed_out: 0, had_room: false }
    }

    /// A delivery has got its slot; `free` ones are left.
    fn note_handed_out(&mut self, free: usize) {
        self.handed_out += 1;
        self.had_room |= free > 0;
    }

    /// Whether the last of what was fetched ahead waits for too long, at the pace at which slots get free.
    fn is_too_large(&mut self) -> bool {
        if self.since.elapsed() < PREFETCH_IDLE_MAX {
            return false;
        }
        let watched = std::mem::replace(self, Self::new(self.ahead));
        !watched.had_room && watched.handed_out < watched.ahead
    }

    /// Whether so many slots are free that a round trip for each small window would hold things up.
    fn is_too_small(&self, slots: &Slots) -> bool {
        let widest = slots.count().min(PREFETCH_MAX);
        self.ahead < widest && slots.free() + 1 >= self.ahead * WIDEN_FACTOR
    }
}

/// What is known of a delivery, for its span.
struct Receipt {
    address: Arc<Address>,
    wakeup: Wakeup,
    tag: u64,
    redelivered: bool,
    body_bytes: usize,
    start: SystemTime,
    /// When the store had answered the claim.
    claimed_at: Option<SystemTime>,
}

/// What the row says of a delivery that led to it.
#[derive(Clone, Copy)]
struct Row<'a> {
    identity: &'a Identity,
    workflow: &'a str,
}

impl<'a> Row<'a> {
    fn of(run: &'a RunHeader) -> Self {
        Self { identity: &run.identity, workflow: &run.workflow }
    }
}

async fn handle(
    engine: Engine,
    address: Arc<Address>,
    delivery: Delivery,
    mut slot: OwnedSemaphorePermit,
) {
    let (start, begun) = (SystemTime::now(), Instant::now());
    metrics::consumed(&address);
    let wakeup = match &delivery.wakeup {
        Ok(wakeup) => wakeup.clone(),
        Err(error) => {
            tracing::warn!(%error, "a message cannot be read; it goes to the dead letters");
            settle(&address, "reject", Some("malformed"), delivery.reject()).await;
            metrics::processed(&address, Some("malformed"), begun.elapsed());
            return;
        }
    };
    let mut receipt = Receipt {
        address,
        tag: delivery.tag,
        redelivered: delivery.redelivered,
        body_bytes: delivery.body_bytes,
        wakeup,
        start,
        claimed_at: None,
    };
    let held = engine.lease.hold(&receipt.wakeup.key);
    let request = ClaimRequest { key: receipt.wakeup.key.clone(), span: new_span_id() };
    let claimed = engine.batchers.claims.submit(request).await;
    receipt.claimed_at = Some(SystemTime::now());
    let (mut claim, mut suspect) = match claimed {
        Ok(claimed) => claimed,
        Err(error) => {
            // In nobody's name: whose it is, nobody but the message has said.
            tracing::warn!(workflow.execution_id = %receipt.wakeup.key.run, node.id = %receipt.wakeup.key.node, %error, "a claim failed");
            // A broker without a delay of its own would bring it back at once, and again.
            tokio::select! {
                () = engine.lease.lost().cancelled() => {}
                () = engine.draining.cancelled() => {}
                () = tokio::time::sleep(CLAIM_FAILED_PAUSE) => {}
            }
            let error = Some("store_unavailable");
            settle(&receipt.address, "requeue", error, delivery.requeue()).await;
            metrics::processed(&receipt.address, error, begun.elapsed());
            export_span(&receipt, None, None, false, error);
            return;
        }
    };
    // The row says the rest: the message has done its work.
    settle(&receipt.address, "ack", None, delivery.ack()).await;
    metrics::processed(&receipt.address, None, begun.elapsed());
    let mut apart = None;
    match claim {
        Claim::Apart => {
            let Some((again, reserved)) = claim_apart(&engine, &receipt.wakeup.key).await else {
                return;
            };
            (claim, suspect) = again;
            receipt.claimed_at = Some(SystemTime::now());
            apart = Some(reserved);
        }
        Claim::Deferred => {
            // There may be many in line, and others have work for the slots meanwhile.
            drop(slot);
            let Some((again, new_slot)) = claim_in_turn(&engine, &receipt.wakeup.key).await else {
                return;
            };
            ((claim, suspect), slot) = (again, new_slot);
            receipt.claimed_at = Some(SystemTime::now());
        }
        _ => {}
    }
    if let Some(result) = result(&claim) {
        metrics::claimed(result);
    }
    match claim {
        Claim::Won(claimed) => {
            // Who published the message knows best; only one that says nothing of this trace is not believed.
            let publisher = receipt.wakeup.publisher;
            let publisher = publisher
                .filter(|publisher| publisher.trace == claimed.run.trace.trace)
                .unwrap_or_else(|| claimed.run.trace.context_of(claimed.publish_span));
            let row = Some(Row::of(&claimed.run));
            let process = export_span(&receipt, Some(publisher), row, true, None);
            let Some(sole) = suspect else {
                return engine.run(*claimed, held, process, None).await;
            };
            if apart.is_none() && is_to_run_apart(&claimed) {
                // The worker had nothing else, by chance, but for what was on its way.
                apart = engine.slots.reserve_within(ON_ITS_WAY_MAX).await;
            }
            let crashes = claimed.crashes;
            with_precautions(sole, apart, crashes, &engine.next_suspect, async |suspect| {
                engine.run(*claimed, held, process, Some(suspect)).await;
            })
            .await;
        }
        Claim::Skip(skipping) => {
            let run = &skipping.run;
            let publisher = receipt.wakeup.publisher;
            let publisher = publisher
                .filter(|publisher| publisher.trace == run.trace.trace)
                .unwrap_or_else(|| run.trace.root_context());
            export_span(&receipt, Some(publisher), Some(Row::of(run)), true, None);
            engine.skip(*skipping, &receipt.wakeup.key).await;
        }
        Claim::Cancelled => {
            export_span(&receipt, None, None, false, None);
            // It may have been the last open row of its run.
            engine.finish(receipt.wakeup.key.run).await;
        }
        Claim::Missed => {
            export_span(&receipt, None, None, false, None);
        }
        // It comes by every few seconds until it is its turn: that is no news.
        Claim::Deferred | Claim::Apart => {}
    }
    drop(slot);
}

/// Gives a delivery back, and counts that; `error` is why it is not done with.
async fn settle(
    address: &Address,
    operation: &'static str,
    error: Option<&'static str>,
    settling: impl Future<Output = ()>,
) {
    let begun = Instant::now();
    settling.await;
    metrics::settled(address, operation, error, begun.elapsed());
}

/// What came of a claim; `None` of one that is still to be made.
fn result(claim: &Claim) -> Option<ClaimResult> {
    match claim {
        Claim::Won(_) | Claim::Skip(_) => Some(ClaimResult::Claimed),
        Claim::Cancelled | Claim::Missed => Some(ClaimResult::Missed),
        Claim::Deferred | Claim::Apart => None,
    }
}

/// Lets what this worker holds end, as far as it does so soon, and claims a row that is to run apart. `None` if that
/// cannot be now: the row is deferred, and comes by again, here or elsewhere.
async fn claim_apart(engine: &Engine, key: &ActivationKey) -> Option<(ClaimReply, Reserved)> {
    let clearing = async {
        tokio::select! {
            () = engine.lease.lost().cancelled() => None,
            () = engine.draining.cancelled() => None,
            reserved = engine.slots.clear() => reserved,
        }
    };
    tracing::info!(workflow.execution_id = %key.run, node.id = %key.node, "letting all that runs end, to run what was in many crashes apart");
    let Some(reserved) = clearing.await else {
        tracing::info!(workflow.execution_id = %key.run, node.id = %key.node, "what was in many crashes cannot run apart here for now");
        return None;
    };
    let request = ClaimRequest { key: key.clone(), span: new_span_id() };
    match engine.batchers.claims.submit(request).await {
        Ok(claimed) => Some((claimed, reserved)),
        Err(error) => {
            tracing::warn!(workflow.execution_id = %key.run, node.id = %key.node, %error, "the claim of what is to run apart failed");
            None
        }
    }
}

/// Waits until the only suspect of this worker lets the next one start, and claims a row that was deferred for that
/// one.
/// `None` if it was not its turn within [`TURN_MAX`]: it comes by again, here or elsewhere.
async fn claim_in_turn(
    engine: &Engine,
    key: &ActivationKey,
) -> Option<(ClaimReply, OwnedSemaphorePermit)> {
    let until = Instant::now() + TURN_MAX;
    loop {
        tokio::select! {
            () = engine.lease.lost().cancelled() => return None,
            () = engine.draining.cancelled() => return None,
            () = tokio::time::sleep_until(until) => return None,
            () = engine.next_suspect.notified() => {}
        }
        // From here on to the end, as a claim whose reply nobody awaits would strand its row for a while.
        let slot = engine.slots.take().await;
        let request = ClaimRequest { key: key.clone(), span: new_span_id() };
        match engine.batchers.claims.submit(request).await {
            // Another one was quicker, and its turn ends as well.
            Ok((Claim::Deferred, _)) => {}
            Ok(claimed) => {
                if claimed.1.is_none() {
                    engine.next_suspect.notify_one();
                }
                return Some((claimed, slot));
            }
            Err(error) => {
                tracing::warn!(workflow.execution_id = %key.run, node.id = %key.node, %error, "the claim of a suspect failed");
                engine.next_suspect.notify_one();
                return None;
            }
        }
    }
}

/// Exports the span of the delivery and returns its context. `publisher` is what the row says; what the
/// message says is good enough where no row was read. Whose it is says the `row`, and nothing else.
fn export_span(
    receipt: &Receipt,
    publisher: Option<TraceContext>,
    row: Option<Row<'_>>,
    claimed: bool,
    error: Option<&'static str>,
) -> Option<TraceContext> {
    let wakeup = &receipt.wakeup;
    let received = database_time(receipt.start);
    if let Some(waited) = wakeup.queued_at.and_then(|at| received.duration_since(at).ok()) {
        metrics::queue_waited(receipt.address.system, waited);
    }
    let publisher = publisher.or(wakeup.publisher)?;
    let span = new_span_id();
    emit(Process {
        span,
        wakeup,
        identity: row.map(|row| row.identity),
        workflow: row.map(|row| row.workflow),
        publisher,
        address: &receipt.address,
        tag: receipt.tag,
        redelivered: receipt.redelivered,
        body_bytes: receipt.body_bytes,
        start: receipt.start,
        end: SystemTime::now(),
        claimed_at: receipt.claimed_at,
        claimed,
        error,
    });
    Some(publisher.with_span(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a consumer that fetches ten ahead gives way after a second in which so many found a slot.
    async fn gives_way(handed_out: usize, free: usize) -> bool {
        let mut prefetched = Prefetch::new(10);
        for _ in 0..handed_out {
            prefetched.note_handed_out(free);
        }
        assert!(!prefetched.is_too_large(), "nothing is known yet");
        tokio::time::advance(PREFETCH_IDLE_MAX).await;
        prefetched.is_too_large()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_fetched_ahead_waits_a_second_for_a_slot_at_most() {
        assert!(gives_way(9, 0).await);
        assert!(!gives_way(10, 0).await, "it is gone by now");
        assert!(!gives_way(1, 1).await, "nothing waits where there is a slot");
    }

    #[tokio::test]
    async fn a_window_grows_with_the_free_slots() {
        let slots = Slots::new(8);
        let mut taken = Vec::new();
        for free in (0..8).rev() {
            taken.push(slots.take().await);
            // One of those that are taken is the consumer's own.
            assert_eq!(Prefetch::new(2).is_too_small(&slots), free + 1 >= 4);
            assert!(!Prefetch::new(8).is_too_small(&slots));
        }
    }
}
