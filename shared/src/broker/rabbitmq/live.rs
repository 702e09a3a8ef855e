//! Live events over a topic exchange: transient, unconfirmed, on channels of their own.
//!
//! A process publishes from one task behind a bounded queue, and subscribes once for all who listen in it: one
//! exclusive queue, to which a run is bound as long as somebody listens to it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::connection::{Link, Session};
use super::events::open_channel;
use super::permission::OwnQueue;
use super::topology::Topology;
use crate::broker::live::Hub;
use crate::broker::{LIVE_TEXT_BYTES_MAX, LiveEvent, LiveKind, LiveListener, LiveLoss, message};
use crate::domain::ids::{NodeKey, RunId, Scope};

/// Events of a process that wait to be written. A second of what a busy worker publishes, some 2 MB.
const OUTGOING_MAX: usize = 2_048;
/// How long writing one may take. The broker reads at once, or is in trouble; nobody waits for the event.
const WRITE_MAX: Duration = Duration::from_secs(1);
/// How long a new listener waits for its run to be bound.
const READY_MAX: Duration = Duration::from_secs(2);
/// How long it may take to subscribe, or to bind the runs that are wanted.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(10);
/// Events that the broker sends ahead of what was taken: lapin keeps them, whatever their number.
const PREFETCH: u16 = 512;
/// Events that are acknowledged together. Fewer than are sent ahead, so that the flow never stops.
const ACK_EVERY: u64 = 64;
/// Bytes of a message that is read. Escaped as JSON, a text may be six times as long.
const BODY_BYTES_MAX: usize = 8 * LIVE_TEXT_BYTES_MAX;
/// The AMQP `type` of a live event.
const MESSAGE_TYPE: &str = "live.v1";
/// AMQP's number for a message that need not survive anything.
const TRANSIENT: u8 = 1;

/// An event as it is written. Kinds that a process does not know are of a later version: it passes them over.
#[derive(Serialize, Deserialize)]
struct Body<Text> {
    v: u64,
    run: RunId,
    node: Text,
    scope: Text,
    step: u32,
    seq: u64,
    kind: Text,
    text: Text,
}

/// The live events of one process.
pub(super) struct Live {
    outgoing: mpsc::Sender<LiveEvent>,
    consuming: Link,
    topology: Arc<Topology>,
    hub: Hub,
    is_started: AtomicBool,
    dropped: AtomicU64,
}

impl Live {
    /// Starts the task that publishes. It ends when `closing` is cancelled.
    pub(super) fn start(
        publishing: Link,
        consuming: Link,
        topology: Arc<Topology>,
        hub: Hub,
        tasks: &TaskTracker,
        closing: &CancellationToken,
    ) -> Self {
        let (outgoing, waiting) = mpsc::channel(OUTGOING_MAX);
        let writer = Writer { publishing, topology: Arc::clone(&topology), slot: None };
        tasks.spawn(closing.clone().run_until_cancelled_owned(writer.run(waiting)));
        Self {
            outgoing,
            consuming,
            topology,
            hub,
            is_started: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        }
    }

    /// See [`crate::broker::Broker::publish_live`].
    pub(super) fn publish(&self, event: LiveEvent) -> bool {
        if event.text.len() > LIVE_TEXT_BYTES_MAX {
            return false;
        }
        let is_taken = self.outgoing.try_send(event).is_ok();
        if !is_taken {
            LiveLoss::QueueFull.add(1);
            // Logged at each doubling: often enough to be seen, too seldom to hurt.
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "live events were dropped: the broker does not keep up");
            }
        }
        is_taken
    }

    /// See [`crate::broker::Broker::listen_live`].
    pub(super) async fn listen(
        self: &Arc<Self>,
        run: RunId,
        tasks: &TaskTracker,
        closing: &CancellationToken,
    ) -> LiveListener {
        let (listener, mut is_bound) = self.hub.listen(run);
        if !self.is_started.swap(true, Ordering::SeqCst) {
            tasks.spawn(Arc::clone(self).subscribed(closing.clone()));
        }
        let bound = timeout(READY_MAX, is_bound.wait_for(|is_bound| *is_bound));
        let _bound = closing.run_until_cancelled(bound).await;
        listener
    }

    /// Keeps a subscription for as long as the process has the broker open.
    async fn subscribed(self: Arc<Self>, closing: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut queue = OwnQueue::new("live events");
        while let Some(Some(session)) =
            closing.run_until_cancelled(self.consuming.wait_open()).await
        {
            let subscribed =
                closing.run_until_cancelled(timeout(SUBSCRIBE_MAX, self.subscribe(&session))).await;
            if let Some(Ok(Err(error))) = &subscribed {
                queue.failed(error);
            }
            if let Some(Ok(Ok(subscription))) = subscribed {
                backoff.reset();
                queue.succeeded();
                let heard = self.hear(subscription);
                if let Some(Err(error)) = closing.run_until_cancelled(heard).await {
                    tracing::debug!(%error, "live events are subscribed to anew");
                }
                self.hub.bound(|_| false);
            }
            closing.run_until_cancelled(tokio::time::sleep(backoff.wait())).await;
        }
    }

    async fn subscribe(&self, session: &Session) -> lapin::Result<Subscription> {
        let channel = session.channel().await?;
        // Bounds what lapin keeps. Without acknowledgements the broker would send however much there is.
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let queue = self.topology.declare_live(&channel).await?;
        let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
        let events =
            channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default()).await?;
        Ok(Subscription { channel, queue, events, bound: HashSet::new(), unacknowledged: 0 })
    }

    /// Binds what is wanted and hands on what comes, until the subscription ends.
    async fn hear(&self, mut subscription: Subscription) -> lapin::Result<()> {
        // Those who listened before are as good as new.
        self.bind(&mut subscription).await?;
        loop {
            tokio::select! {
                biased;
                () = self.hub.changed() => self.bind(&mut subscription).await?,
                delivery = subscription.events.next() => match delivery {
                    Some(delivery) => self.take(&mut subscription, delivery?).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Brings the bindings in line with what is wanted. One task does that for all, so that whoever comes and whoever
    /// goes do not overtake each other.
    async fn bind(&self, subscription: &mut Subscription) -> lapin::Result<()> {
        let Subscription { channel, queue, bound, .. } = subscription;
        let wanted: HashSet<_> = self.hub.wanted().into_iter().collect();
        let binding = async {
            for run in wanted.iter().filter(|run| !bound.contains(run)).copied().collect::<Vec<_>>()
            {
                self.topology.bind_live(channel, queue, run).await?;
                bound.insert(run);
                self.hub.bound(|run| bound.contains(run));
            }
            for run in bound.difference(&wanted).copied().collect::<Vec<_>>() {
                self.topology.unbind_live(channel, queue, run).await?;
                bound.remove(&run);
            }
            lapin::Result::Ok(())
        };
        let late = |_| lapin::Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        timeout(SUBSCRIBE_MAX, binding).await.map_err(late)??;
        // Also for whoever came while another one had the run bound already.
        self.hub.bound(|run| bound.contains(run));
        Ok(())
    }

    async fn take(&self, subscription: &mut Subscription, delivery: Delivery) -> lapin::Result<()> {
        if let Some(event) = read(&delivery.data) {
            self.hub.deliver(event);
        }
        subscription.unacknowledged += 1;
        if subscription.unacknowledged >= ACK_EVERY {
            subscription.unacknowledged = 0;
            delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
        }
        Ok(())
    }
}

/// One subscription and the runs that are bound to its queue.
struct Subscription {
    channel: Channel,
    queue: ShortString,
    events: lapin::Consumer,
    bound: HashSet<RunId>,
    unacknowledged: u64,
}

fn read(body: &[u8]) -> Option<LiveEvent> {
    if body.len() > BODY_BYTES_MAX {
        return None;
    }
    // Of a later version, or not Skein's: nothing depends on it.
    let Body { v, run, node, scope, step, seq, kind, text } =
        serde_json::from_slice::<Body<String>>(body).ok()?;
    let kind: LiveKind = kind.parse().ok()?;
    let is_readable = v == message::VERSION && text.len() <= LIVE_TEXT_BYTES_MAX;
    let (node, scope) = (NodeKey::from(node), Scope::from(scope));
    is_readable.then_some(LiveEvent { run, node, scope, step, seq, kind, text })
}

fn write(event: &LiveEvent) -> Option<Vec<u8>> {
    let LiveEvent { run, node, scope, step, seq, kind, text } = event;
    let body = Body {
        v: message::VERSION,
        run: *run,
        node: &**node,
        scope: &**scope,
        step: *step,
        seq: *seq,
        kind: kind.as_str(),
        text: text.as_str(),
    };
    serde_json::to_vec(&body).ok()
}

/// Writes what waits, one after another, so that the order is kept.
struct Writer {
    publishing: Link,
    topology: Arc<Topology>,
    slot: Option<(u64, Channel)>,
}

impl Writer {
    async fn run(mut self, mut waiting: mpsc::Receiver<LiveEvent>) {
        while let Some(event) = waiting.recv().await {
            match timeout(WRITE_MAX, self.write(&event)).await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => {
                    LiveLoss::BrokerUnavailable.add(1);
                    tracing::debug!(reason, "a live event was lost");
                }
                Err(_) => {
                    LiveLoss::BrokerUnavailable.add(1);
                    // Half of it may be written.
                    self.slot = None;
                    tracing::debug!("a live event took too long");
                }
            }
        }
    }

    async fn write(&mut self, event: &LiveEvent) -> Result<(), String> {
        let session = self.publishing.session().await.map_err(|error| error.to_string())?;
        if session.is_blocked() {
            return Err("the broker takes no messages".to_owned());
        }
        let body = write(event).ok_or("it cannot be written")?;
        let properties = BasicProperties::default()
            .with_type(MESSAGE_TYPE.into())
            .with_content_type(message::CONTENT_TYPE.into())
            .with_delivery_mode(TRANSIENT);
        let published = async {
            let channel = open_channel(&mut self.slot, &session).await?;
            let (exchange, key) =
                (self.topology.live_exchange.clone(), event.run.to_string().into());
            channel
                .basic_publish(exchange, key, BasicPublishOptions::default(), &body, properties)
                .await
        };
        published.await.map(drop).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RabbitMq, RabbitMqOptions};
    use super::*;
    use crate::broker::Broker;

    /// Nobody waits for a broker that takes nothing, and what is lost by that is counted.
    #[tokio::test]
    async fn what_there_is_no_room_for_is_lost_and_counted() {
        let broker = RabbitMq::connect(RabbitMqOptions::new("amqp://127.0.0.1:1")).unwrap();
        let event = LiveEvent {
            run: RunId::generate(),
            node: "write".into(),
            scope: "".into(),
            step: 0,
            seq: 0,
            kind: LiveKind::Delta,
            text: "x".to_owned(),
        };
        let [full, unavailable] = [LiveLoss::QueueFull, LiveLoss::BrokerUnavailable];
        let before = [full, unavailable].map(LiveLoss::count);
        // The task that writes has no turn in between.
        let taken = (0..OUTGOING_MAX + 3).filter(|_| broker.publish_live(event.clone())).count();
        assert_eq!((taken, full.count() - before[0]), (OUTGOING_MAX, 3));
        // The first of the others ends as soon as it is known that there is no connection.
        while unavailable.count() == before[1] {
            tokio::task::yield_now().await;
        }
        broker.close().await;
    }

    #[test]
    fn what_is_written_is_read_and_what_is_of_a_later_version_is_passed_over() {
        let event = LiveEvent {
            run: RunId::generate(),
            node: "write".into(),
            scope: "3/0".into(),
            step: 7,
            seq: u64::MAX,
            kind: LiveKind::Delta,
            text: "\u{1}".repeat(LIVE_TEXT_BYTES_MAX),
        };
        let body = write(&event).unwrap();
        assert_eq!(read(&body), Some(event));
        let body = String::from_utf8(body).unwrap();
        for (part, other) in [("\"v\":1", "\"v\":2"), ("llm.delta", "llm.other"), ("{", "[")] {
            assert!(body.contains(part));
            assert_eq!(read(body.replacen(part, other, 1).as_bytes()), None, "{other}");
        }
        let longer = body.replacen("\"text\":\"", "\"text\":\"x", 1);
        assert_eq!(read(longer.as_bytes()), None);
    }
}
