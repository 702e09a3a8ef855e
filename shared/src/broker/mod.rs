//! The broker: carries wake-ups from whoever made a row runnable to whoever has a free slot.
//!
//! A message is a hint ([`Wakeup`]); the store is the truth. So a broker MAY lose, double, delay or
//! reorder messages, and a purge of the work queue loses no run. What it MUST do is be quick about it
//! and be honest about what it has accepted.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::domain::ids::RunId;
use crate::domain::open_work::QueueDepth;
use crate::domain::wakeup::Wakeup;

mod announcements;
pub mod in_process;
mod live;
pub mod message;
mod open;
pub mod rabbitmq;
pub(crate) mod tally;

pub use live::{
    LISTENER_BYTES_MAX, LISTENER_EVENTS_MAX, LIVE_TEXT_BYTES_MAX, LiveEnd, LiveEvent, LiveKind,
    LiveListener, LiveLoss,
};
pub use message::Malformed;
pub use open::open;

/// The pool that workers serve when nothing else is configured.
pub const DEFAULT_POOL: &str = "default";

/// String headers as they travel with a message; carried unchanged.
pub type Headers = BTreeMap<String, String>;

/// What a broker is called in spans and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `messaging.system`: `rabbitmq` or `in_process`.
    pub system: &'static str,
    /// The exchange that wake-ups are published to.
    pub exchange: String,
    /// The routing key of the pool.
    pub routing_key: String,
    /// The queue that workers of the pool consume.
    pub queue: String,
    /// The host and the port of the broker, where it is elsewhere.
    pub server: Option<(String, u16)>,
}

/// A message that a broker has taken responsibility for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The number in what it is called (`message::id`); absent where messages have no names.
    pub number: Option<u64>,
}

/// Why a wake-up was not accepted. Either way the row is durable, so nothing is lost: the publisher
/// retries, and the sweeper repeats the hint later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No connection, or it broke before the confirmation came: the message may or may not be queued.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// The broker said no: queue full, or no route to a queue.
    #[error("the broker refused the message: {0}")]
    Refused(String),
}

impl PublishError {
    /// A low-cardinality word, for spans and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
        }
    }
}

/// Which ways to the broker are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// That on which messages are sent.
    pub publishing: bool,
    /// That on which they are received.
    pub consuming: bool,
}

/// The broker is out of reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker is unavailable: {0}")]
pub struct BrokerUnavailable(pub String);

/// A wake-up on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The pool that is to take it.
    pub pool: String,
    /// What is sent.
    pub wakeup: Wakeup,
    /// Headers besides those that the wake-up's own fields become, its trace context among them; these go before.
    pub headers: Headers,
}

/// A broker connection, shared by all tasks of a process.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// The names of a pool's exchange and queue.
    fn address(&self, pool: &str) -> Address;

    /// Which connections are open, for probes. MUST answer at once, from what is known.
    fn connections(&self) -> Connections;

    /// Publishes a batch and returns one outcome for each message, in order.
    ///
    /// `Ok` MUST mean that the broker has taken responsibility: a publisher confirm of a quorum
    /// queue, after which the message survives a restart of the broker (the in-process one lives
    /// and dies with its process, and says so). Messages of a batch are in flight together. The call
    /// MUST end within a bounded time, whatever the broker does; a dropped call MAY have published.
    /// It does not retry.
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<Published, PublishError>>;

    /// Starts to consume a pool. At most `prefetch` deliveries are unsettled at a time.
    ///
    /// Returns at once, even with the broker down: the consumer reconnects by itself, for ever, with
    /// jittered back-off.
    async fn consume(&self, pool: &str, prefetch: u16) -> Box<dyn Consumer>;

    /// Messages that are ready in the pool's queue.
    ///
    /// # Errors
    /// When the broker is out of reach; callers take that as "publish nothing now".
    async fn depth(&self, pool: &str) -> Result<u64, BrokerUnavailable>;

    /// Messages that are ready in the queues of these pools, and, where there is such a queue, among those that nobody
    /// could use. For people to see: a queue that is missing MUST be left out, and MUST NOT be made.
    ///
    /// # Errors
    /// When the broker is out of reach.
    async fn backlog(&self, pools: &[&str]) -> Result<Vec<QueueDepth>, BrokerUnavailable>;

    /// Announces to every listener in every process that runs have ended. Best effort: MAY be lost, nothing
    /// depends on it.
    async fn announce(&self, ended: &[RunId]);

    /// Listens to announcements from now on. Survives reconnects; what is announced meanwhile is lost.
    /// MAY wait up to 2 s until it is connected, so that it misses nothing while the broker is up.
    async fn listen(&self) -> Box<dyn Listener>;

    /// Publishes a live event to whoever listens to its run, in whichever process. MUST return at once, whatever the
    /// broker does: what there is no room for is dropped. `false` when it is known to be lost; otherwise it MAY get
    /// lost on the way as well. Those of one process and run that arrive do so in the order in which they were
    /// published. One whose text is longer than [`LIVE_TEXT_BYTES_MAX`] is refused.
    fn publish_live(&self, event: LiveEvent) -> bool;

    /// Listens to the live events of a run from now on. Survives reconnects; what is published meanwhile is lost. MAY
    /// wait up to 2 s until the events come here, so that it misses none while the broker is up. Only those of runs
    /// that somebody listens to MAY be sent to a process. Callers check first whose run it is.
    async fn listen_live(&self, run: RunId) -> LiveListener;

    /// Closes all connections, so that unsettled deliveries go back to their queue. Idempotent.
    async fn close(&self);
}

/// The receiving end of a pool.
#[async_trait]
pub trait Consumer: Send {
    /// The next delivery. `None` only after [`Broker::close`]. Cancel-safe: a delivery is not lost
    /// when the future is dropped.
    async fn receive(&mut self) -> Option<Delivery>;

    /// Stops consuming and gives back what was prefetched and not received, as [`Delivery::requeue`] does.
    async fn stop(self: Box<Self>);
}

/// The receiving end of announcements.
#[async_trait]
pub trait Listener: Send {
    /// Runs that have ended, according to some process. `None` only after [`Broker::close`].
    async fn receive(&mut self) -> Option<Vec<RunId>>;
}

/// A message that was received and must be settled, once: settling consumes it. One that is dropped
/// unsettled (its task panicked or was cancelled) goes back to its queue and is redelivered, so that
/// it cannot occupy a slot of the prefetch window for ever.
#[must_use]
pub struct Delivery {
    /// What it says, if it can be read.
    pub wakeup: Result<Wakeup, Malformed>,
    /// The headers as they came.
    pub headers: Headers,
    /// The broker's number for this delivery.
    pub tag: u64,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// Size of the body in bytes.
    pub body_bytes: usize,
    settlement: Box<dyn Settle>,
}

impl Delivery {
    pub(crate) fn new(
        wakeup: Result<Wakeup, Malformed>,
        headers: Headers,
        tag: u64,
        redelivered: bool,
        body_bytes: usize,
        settlement: Box<dyn Settle>,
    ) -> Self {
        Self { wakeup, headers, tag, redelivered, body_bytes, settlement }
    }

    /// Done with it: the store knows. A lost acknowledgement costs a duplicate, which the claim guard drops.
    pub async fn ack(self) {
        self.settlement.settle(Settlement::Ack).await;
    }

    /// Somebody else should have it, soon. However often: a message that is given back never ends in the dead letters
    /// for that. It MAY come twice, and come later than those that were published after it.
    pub async fn requeue(self) {
        self.settlement.settle(Settlement::Requeue).await;
    }

    /// Nobody can use it. It goes to the dead-letter queue where there is one.
    pub async fn reject(self) {
        self.settlement.settle(Settlement::Reject).await;
    }
}

/// How a delivery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settlement {
    Ack,
    Requeue,
    Reject,
}

/// The broker's half of a settlement. Errors are not reported: the connection is gone then, and the
/// message is redelivered.
#[async_trait]
pub(crate) trait Settle: Send + Sync {
    async fn settle(self: Box<Self>, settlement: Settlement);
}
