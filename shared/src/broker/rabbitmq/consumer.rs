//! Consuming a pool, across reconnects.
//!
//! A task subscribes on whatever session there is and hands deliveries over; the consumer's own future
//! only waits for them, so dropping it interrupts no handshake.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery as AmqpDelivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Acker, BasicProperties, Channel};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::connection::{Link, Session};
use super::returns::{Republish, Returns};
use super::topology::Topology;
use crate::broker::{Consumer, Delivery, Headers, Malformed, Settle, Settlement, message};
use crate::domain::wakeup::Wakeup;

/// How long it may take to declare the queue and to subscribe.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(10);
/// How long a cancellation or a settlement may take. Beyond it the connection is as good as gone, and
/// the message is redelivered.
const REPLY_MAX: Duration = Duration::from_secs(5);

/// What a subscription needs.
pub(super) struct Subscriber {
    pub(super) link: Link,
    pub(super) topology: Arc<Topology>,
    pub(super) returns: Returns,
    pub(super) prefetch: u16,
    /// When a subscription that is silent is made anew.
    pub(super) renew_after: Duration,
}

pub(super) struct RabbitConsumer {
    fetched: mpsc::Receiver<Fetched>,
    closing: CancellationToken,
    /// Stops the task when this consumer is dropped.
    stop: DropGuard,
    task: JoinHandle<()>,
}

/// A delivery that waits to be received.
struct Fetched {
    delivery: Delivery,
    acker: Acker,
}

impl Subscriber {
    pub(super) fn start(self, tasks: &TaskTracker, closing: &CancellationToken) -> RabbitConsumer {
        let stop = closing.child_token();
        // The broker sends no more than this many before some are settled.
        let (sender, fetched) = mpsc::channel(usize::from(self.prefetch));
        let task = tasks.spawn(self.run(sender, stop.clone()));
        RabbitConsumer { fetched, closing: closing.clone(), stop: stop.drop_guard(), task }
    }

    async fn run(self, fetched: mpsc::Sender<Fetched>, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        while let Some(Some(session)) = stop.run_until_cancelled(self.link.wait_open()).await {
            let subscribed =
                stop.run_until_cancelled(timeout(SUBSCRIBE_MAX, self.subscribe(&session))).await;
            let end = match subscribed {
                None => return,
                Some(Ok(Ok(subscription))) => {
                    backoff.reset();
                    subscription.forward(&fetched, &stop, self.renew_after).await
                }
                Some(Ok(Err(reason))) => End::Lost(reason),
                Some(Err(_)) => End::Lost(format!("no answer within {SUBSCRIBE_MAX:?}")),
            };
            let reason = match end {
                End::Stopped => return,
                End::Silent => continue,
                End::Lost(reason) => reason,
            };
            let (pool, generation, wait) =
                (self.returns.pool(), session.generation, backoff.wait());
            tracing::warn!(pool, generation, reason, ?wait, "consuming was interrupted");
            stop.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    async fn subscribe(&self, session: &Session) -> Result<Subscription, String> {
        let names = self.topology.pool(self.returns.pool()).map_err(|error| error.to_string())?;
        let subscribe = async {
            let channel = session.channel().await?;
            self.topology.declare_pool(&channel, &names).await?;
            // Per consumer: quorum queues know no other. Without it lapin would buffer the whole queue.
            channel.basic_qos(self.prefetch, BasicQosOptions { global: false }).await?;
            let stream = channel
                .basic_consume(
                    names.queue,
                    "".into(),
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                )
                .await?;
            let returns = self.returns.clone();
            lapin::Result::Ok(Subscription { channel: Arc::new(channel), stream, returns })
        };
        subscribe.await.map_err(|error| error.to_string())
    }
}

/// How a subscription ended.
enum End {
    /// Nobody wants it any more.
    Stopped,
    /// Nothing came for a while: the queue is empty, or the broker has forgotten us. A quorum queue that
    /// is deleted and declared again at once sends its old consumers neither a cancellation nor messages.
    Silent,
    Lost(String),
}

struct Subscription {
    channel: Arc<Channel>,
    stream: lapin::Consumer,
    returns: Returns,
}

impl Subscription {
    /// Hands deliveries over until the subscription ends.
    async fn forward(
        mut self,
        fetched: &mpsc::Sender<Fetched>,
        stop: &CancellationToken,
        renew_after: Duration,
    ) -> End {
        loop {
            match stop.run_until_cancelled(timeout(renew_after, self.stream.next())).await {
                Some(Ok(Some(Ok(delivery)))) => {
                    let next = self.fetch(delivery);
                    match stop.run_until_cancelled(fetched.reserve()).await {
                        Some(Ok(receiver)) => receiver.send(next),
                        // Nobody wants it any more. Not dropped: that would count as a failure.
                        _ => next.delivery.requeue().await,
                    }
                }
                Some(Ok(Some(Err(error)))) => return End::Lost(error.to_string()),
                // The queue was deleted, or its broker wants to be rid of us.
                Some(Ok(None)) => return End::Lost("the broker ended the subscription".to_owned()),
                // With something unsettled the silence may be this side's doing: the window is full.
                Some(Err(_)) if Arc::strong_count(&self.channel) > 1 => {}
                Some(Err(_)) => {
                    self.give_back().await;
                    return End::Silent;
                }
                None => {
                    self.give_back().await;
                    return End::Stopped;
                }
            }
        }
    }

    fn fetch(&self, delivery: AmqpDelivery) -> Fetched {
        let AmqpDelivery { delivery_tag, redelivered, properties, data, acker, .. } = delivery;
        let headers = string_headers(&properties);
        let wakeup = decode(&data, &properties, &headers);
        let anew = wakeup.as_ref().ok().and_then(|wakeup| {
            self.returns.anew(&properties, || (wakeup.clone(), headers.clone()))
        });
        let settlement = RabbitSettlement {
            acker: Some(acker.clone()),
            anew,
            _channel: Arc::clone(&self.channel),
        };
        let settlement = Box::new(settlement);
        let delivery =
            Delivery::new(wakeup, headers, delivery_tag, redelivered, data.len(), settlement);
        Fetched { delivery, acker }
    }

    /// Ends the subscription and returns what lapin holds. The channel lives on as long as deliveries
    /// that were received: they can still be settled.
    async fn give_back(mut self) {
        let tag = self.stream.tag();
        let returned = timeout(REPLY_MAX, async {
            self.channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
            while let Some(Ok(delivery)) = self.stream.next().await {
                self.fetch(delivery).delivery.requeue().await;
            }
            lapin::Result::Ok(())
        });
        if !matches!(returned.await, Ok(Ok(()))) {
            tracing::debug!("the connection went before the consumer did; its messages come again");
        }
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn receive(&mut self) -> Option<Delivery> {
        loop {
            let fetched = tokio::select! {
                biased;
                () = self.closing.cancelled() => return None,
                fetched = self.fetched.recv() => fetched?,
            };
            // What a lost session has fetched cannot be settled any more and comes again.
            if fetched.acker.usable() {
                return Some(fetched.delivery);
            }
        }
    }

    async fn stop(self: Box<Self>) {
        let Self { mut fetched, stop, task, .. } = *self;
        drop(stop);
        if timeout(REPLY_MAX * 2, task).await.is_err() {
            tracing::warn!("a consumer did not stop in time");
        }
        let left = std::iter::from_fn(|| fetched.try_recv().ok());
        // Together, as one that is published anew may take its time.
        join_all(left.map(|Fetched { delivery, .. }| delivery.requeue())).await;
    }
}

fn decode(
    body: &[u8],
    properties: &BasicProperties,
    headers: &Headers,
) -> Result<Wakeup, Malformed> {
    match properties.kind().as_ref().map(ShortString::as_str) {
        None | Some(message::MESSAGE_TYPE) => message::decode(body, headers),
        Some(other) => {
            Err(Malformed(format!("the type is {other:?}, not {:?}", message::MESSAGE_TYPE)))
        }
    }
}

/// The headers that are text. The broker adds others on its own (`x-delivery-count`, `x-death`).
fn string_headers(properties: &BasicProperties) -> Headers {
    let Some(table) = properties.headers() else { return Headers::new() };
    let text = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    };
    table.into_iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect()
}

struct RabbitSettlement {
    /// Taken when it is settled.
    acker: Option<Acker>,
    /// What it is published as, where it has come back too often to be returned.
    anew: Option<Republish>,
    /// lapin closes a channel with its last user, and with it everything unsettled goes back.
    _channel: Arc<Channel>,
}

#[async_trait]
impl Settle for RabbitSettlement {
    async fn settle(mut self: Box<Self>, settlement: Settlement) {
        let Some(acker) = self.acker.take() else { return };
        let settlement = match (settlement, self.anew.take()) {
            (Settlement::Requeue, Some(anew)) => anew.publish().await,
            (settlement, _) => settlement,
        };
        let settled = timeout(REPLY_MAX, async {
            match settlement {
                Settlement::Ack => acker.ack(BasicAckOptions::default()).await,
                // Not `reject`: from 4.3 on only that counts towards the delivery limit.
                Settlement::Requeue => {
                    acker.nack(BasicNackOptions { requeue: true, multiple: false }).await
                }
                Settlement::Reject => acker.reject(BasicRejectOptions { requeue: false }).await,
            }
        });
        if !matches!(settled.await, Ok(Ok(true))) {
            tracing::debug!(
                ?settlement,
                "the connection went before the settlement; the message comes again"
            );
        }
    }
}

impl Drop for RabbitSettlement {
    /// A task that panics or is cancelled must not keep its slot in the prefetch window for ever.
    /// `reject`, so that a message that does this every time reaches the delivery limit.
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take() {
            // The first poll hands the frame to lapin; nobody needs to wait until it is written.
            let _sent = acker.reject(BasicRejectOptions { requeue: true }).now_or_never();
        }
    }
}
