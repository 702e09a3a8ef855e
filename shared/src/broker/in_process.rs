//! A queue within the process, for the embedded mode and for tests.
//!
//! It keeps the bytes that RabbitMQ would carry, so both brokers read and refuse the same messages. It
//! lives and dies with its process: what was accepted is gone after a crash, and the sweeper repeats it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::announcements::Announcements;
use super::live::Hub;
use super::message;
use super::{
    Address, Broker, BrokerUnavailable, Connections, Consumer, Delivery, Headers,
    LIVE_TEXT_BYTES_MAX, Listener, LiveEvent, LiveListener, Outgoing, PublishError, Published,
    Settle, Settlement,
};
use crate::domain::ids::RunId;
use crate::domain::open_work::QueueDepth;

/// Ready messages that one pool holds: some 50 MB. Beyond it the rows wait in the store, and the sweeper
/// publishes them when there is room.
pub const READY_MAX: usize = 100_000;

/// The queues of one process. Clones share them.
#[derive(Clone)]
pub struct InProcess {
    pools: Arc<Mutex<HashMap<String, Arc<Queue>>>>,
    announcements: Announcements,
    live: Hub,
    closing: CancellationToken,
    ready_max: usize,
}

impl Default for InProcess {
    fn default() -> Self {
        Self::with_capacity(READY_MAX)
    }
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess").field("ready_max", &self.ready_max).finish_non_exhaustive()
    }
}

impl InProcess {
    /// An empty broker that holds [`READY_MAX`] messages a pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty broker that holds `ready_max` messages a pool and refuses more.
    #[must_use]
    pub fn with_capacity(ready_max: usize) -> Self {
        let closing = CancellationToken::new();
        Self {
            pools: Arc::default(),
            announcements: Announcements::new(closing.clone()),
            live: Hub::new(closing.clone()),
            closing,
            ready_max,
        }
    }

    /// Queues bytes as they are, readable or not: what a publisher of another version may send.
    ///
    /// # Errors
    /// When the broker is closed or the pool is full.
    pub fn publish_raw(
        &self,
        pool: &str,
        body: &[u8],
        headers: Headers,
    ) -> Result<(), PublishError> {
        if self.closing.is_cancelled() {
            return Err(PublishError::Unavailable("it is closed".to_owned()));
        }
        let message = Message { body: body.into(), headers, redelivered: false };
        self.queue(pool).push(message, self.ready_max)
    }

    fn publish_one(&self, outgoing: &Outgoing) -> Result<(), PublishError> {
        let mut body = Vec::with_capacity(message::BODY_BYTES_MAX / 2);
        message::encode(outgoing, &mut body)
            .map_err(|error| PublishError::Refused(error.to_string()))?;
        let mut headers = Headers::new();
        message::each_header(outgoing, |name, value| {
            headers.insert(name.to_owned(), value.to_owned());
        });
        self.publish_raw(&outgoing.pool, &body, headers)
    }

    fn queue(&self, pool: &str) -> Arc<Queue> {
        let mut pools = lock(&self.pools);
        if let Some(queue) = pools.get(pool) {
            return Arc::clone(queue);
        }
        let queue = Arc::new(Queue::default());
        pools.insert(pool.to_owned(), Arc::clone(&queue));
        queue
    }

    fn open(&self) -> Result<(), BrokerUnavailable> {
        if self.closing.is_cancelled() {
            Err(BrokerUnavailable("it is closed".to_owned()))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Broker for InProcess {
    fn address(&self, pool: &str) -> Address {
        Address {
            system: "in_process",
            exchange: "skein.work.v1".to_owned(),
            routing_key: pool.to_owned(),
            queue: format!("skein.work.v1.{pool}"),
            server: None,
        }
    }

    fn connections(&self) -> Connections {
        let is_open = !self.closing.is_cancelled();
        Connections { publishing: is_open, consuming: is_open }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<Published, PublishError>> {
        let published = |()| Published { number: None };
        batch.iter().map(|outgoing| self.publish_one(outgoing).map(published)).collect()
    }

    async fn consume(&self, pool: &str, prefetch: u16) -> Box<dyn Consumer> {
        Box::new(LocalConsumer {
            queue: self.queue(pool),
            window: Arc::new(Semaphore::new(usize::from(prefetch.max(1)))),
            closing: self.closing.clone(),
        })
    }

    async fn depth(&self, pool: &str) -> Result<u64, BrokerUnavailable> {
        self.open()?;
        Ok(lock(&self.queue(pool).ready).len() as u64)
    }

    /// There are no dead letters: what is rejected is dropped.
    async fn backlog(&self, pools: &[&str]) -> Result<Vec<QueueDepth>, BrokerUnavailable> {
        self.open()?;
        let queues = lock(&self.pools);
        let found = pools.iter().filter_map(|pool| {
            let ready = lock(&queues.get(*pool)?.ready).len() as u64;
            Some(QueueDepth { queue: self.address(pool).queue, ready })
        });
        Ok(found.collect())
    }

    async fn announce(&self, ended: &[RunId]) {
        if !ended.is_empty() && !self.closing.is_cancelled() {
            self.announcements.deliver(ended.into());
        }
    }

    async fn listen(&self) -> Box<dyn Listener> {
        self.announcements.listen()
    }

    fn publish_live(&self, event: LiveEvent) -> bool {
        if self.closing.is_cancelled() || event.text.len() > LIVE_TEXT_BYTES_MAX {
            return false;
        }
        self.live.deliver(event);
        true
    }

    async fn listen_live(&self, run: RunId) -> LiveListener {
        self.live.listen(run).0
    }

    async fn close(&self) {
        self.closing.cancel();
    }
}

struct Message {
    body: Box<[u8]>,
    headers: Headers,
    redelivered: bool,
}

#[derive(Default)]
struct Queue {
    ready: Mutex<VecDeque<Message>>,
    arrived: Notify,
    deliveries: AtomicU64,
}

impl Queue {
    fn push(&self, message: Message, ready_max: usize) -> Result<(), PublishError> {
        {
            let mut ready = lock(&self.ready);
            if ready.len() >= ready_max {
                return Err(PublishError::Refused(format!("the queue holds {ready_max} messages")));
            }
            ready.push_back(message);
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes back what was delivered, whatever the limit: it was accepted once, and prefetch windows
    /// bound how much that can be. In front, because it has waited longest.
    fn take_back(&self, message: Message) {
        lock(&self.ready).push_front(Message { redelivered: true, ..message });
        self.arrived.notify_one();
    }

    /// The next message. Nothing is lost when the future is dropped: there is no `await` after the pop,
    /// and a dropped waiter passes its notification on.
    async fn pop(&self) -> Message {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            // Waiting since before the check, or two arrivals between two checks would wake only one.
            arrived.as_mut().enable();
            if let Some(message) = lock(&self.ready).pop_front() {
                return message;
            }
            arrived.await;
        }
    }
}

struct LocalConsumer {
    queue: Arc<Queue>,
    window: Arc<Semaphore>,
    closing: CancellationToken,
}

impl LocalConsumer {
    async fn next(&self) -> Option<(Message, OwnedSemaphorePermit)> {
        let slot = Arc::clone(&self.window).acquire_owned().await.ok()?;
        Some((self.queue.pop().await, slot))
    }
}

#[async_trait]
impl Consumer for LocalConsumer {
    async fn receive(&mut self) -> Option<Delivery> {
        let (message, slot) = tokio::select! {
            biased;
            () = self.closing.cancelled() => return None,
            next = self.next() => next?,
        };
        let wakeup = message::decode(&message.body, &message.headers);
        let headers = message.headers.clone();
        let tag = self.queue.deliveries.fetch_add(1, Ordering::Relaxed) + 1;
        let (redelivered, body_bytes) = (message.redelivered, message.body.len());
        let settlement =
            LocalSettlement { message: Some(message), queue: Arc::clone(&self.queue), _slot: slot };
        Some(Delivery::new(wakeup, headers, tag, redelivered, body_bytes, Box::new(settlement)))
    }

    /// Nothing is fetched ahead, so there is nothing to give back.
    async fn stop(self: Box<Self>) {}
}

struct LocalSettlement {
    /// Taken when it is settled; what is left when this is dropped goes back.
    message: Option<Message>,
    queue: Arc<Queue>,
    /// A slot in the consumer's prefetch window, free again when this is dropped.
    _slot: OwnedSemaphorePermit,
}

#[async_trait]
impl Settle for LocalSettlement {
    async fn settle(mut self: Box<Self>, settlement: Settlement) {
        match settlement {
            Settlement::Ack => drop(self.message.take()),
            // Dropping takes the message back.
            Settlement::Requeue => {}
            Settlement::Reject => {
                if let Some(message) = self.message.take() {
                    tracing::warn!(bytes = message.body.len(), "a rejected message was dropped");
                }
            }
        }
    }
}

impl Drop for LocalSettlement {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            self.queue.take_back(message);
        }
    }
}

/// Nothing panics while a lock is held, so a poisoned one still guards whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_pool_refuses_and_takes_again_when_there_is_room() {
        let broker = InProcess::with_capacity(2);
        assert_eq!(broker.publish_raw("a", b"1", Headers::new()), Ok(()));
        assert_eq!(broker.publish_raw("a", b"2", Headers::new()), Ok(()));
        let refused = broker.publish_raw("a", b"3", Headers::new());
        assert!(matches!(refused, Err(PublishError::Refused(_))), "{refused:?}");
        assert_eq!(broker.publish_raw("b", b"3", Headers::new()), Ok(()));
        broker.consume("a", 1).await.receive().await.unwrap().ack().await;
        assert_eq!(broker.publish_raw("a", b"3", Headers::new()), Ok(()));
    }

    #[tokio::test]
    async fn a_cancelled_receive_loses_no_message_and_no_slot_in_the_window() {
        let broker = InProcess::new();
        let mut consumer = broker.consume("a", 1).await;
        for _ in 0..10 {
            let cancelled =
                tokio::time::timeout(std::time::Duration::from_millis(1), consumer.receive()).await;
            assert!(cancelled.is_err());
        }
        assert_eq!(broker.publish_raw("a", b"1", Headers::new()), Ok(()));
        let delivery = consumer.receive().await.expect("it is there");
        assert_eq!(delivery.body_bytes, 1);
        delivery.ack().await;
        assert_eq!(broker.depth("a").await, Ok(0));
    }
}
