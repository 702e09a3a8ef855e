//! Publishing with confirms.
//!
//! Confirm channels are pooled over one connection, and a batch has a channel to itself: its messages are
//! in flight together, and every confirm that the channel sees is one of the batch.
//!
//! lapin pairs a returned message with whichever confirm completes next, not with its own. So returns are
//! told apart by `message_id`. On a channel of one batch none gets lost that way: a return comes before
//! the confirm of the same message, so there are never more returns waiting than confirms to come.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use deadpool::managed::{Manager, Metrics, Pool, PoolError, RecycleError, RecycleResult};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::{Link, Session};
use super::topology::{PoolNames, Topology};
use crate::broker::{BrokerUnavailable, Outgoing, PublishError, message};

/// Confirm channels, that is batches in flight at a time. They share one connection and its thread, so
/// more of them only share the same bandwidth.
const CHANNELS_MAX: usize = 4;
/// Messages in flight on a channel. Confirms come in groups, and lapin walks all pending ones for each
/// group; beyond a thousand that costs more than it hides.
const IN_FLIGHT_MAX: usize = 1_000;
/// Pools that are remembered as declared. Declaring again is cheap; a leak of names is not.
const DECLARED_MAX: usize = 1_000;
/// How long the channel's goodbye may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// AMQP's number for a message that is to survive a restart of the broker.
const PERSISTENT: u8 = 2;
/// Who sends: `app_id`.
const APP_ID: &str = concat!("skein/", env!("CARGO_PKG_VERSION"));

type Outcome = Result<(), PublishError>;

/// A channel in confirm mode, one batch at a time.
pub(super) struct ConfirmChannel {
    channel: Channel,
    session: Arc<Session>,
    /// No confirm is outstanding. Not so after a batch that ran out of time or was dropped: the late
    /// confirms would swallow the returns of the next batch.
    is_idle: bool,
}

pub(super) struct ConfirmChannels {
    link: Link,
}

impl Manager for ConfirmChannels {
    type Type = ConfirmChannel;
    type Error = BrokerUnavailable;

    async fn create(&self) -> Result<ConfirmChannel, BrokerUnavailable> {
        let session = self.link.session().await?;
        let channel = session.channel().await.map_err(|error| unavailable(&error))?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(ConfirmChannel { channel, session, is_idle: true })
    }

    async fn recycle(
        &self,
        pooled: &mut ConfirmChannel,
        _: &Metrics,
    ) -> RecycleResult<BrokerUnavailable> {
        let is_open = pooled.session.is_open() && pooled.channel.status().connected();
        if pooled.is_idle && is_open {
            Ok(())
        } else {
            Err(RecycleError::message("it cannot be used again"))
        }
    }
}

/// The pools whose queues are known to exist, for one session.
#[derive(Default)]
struct Declared {
    generation: u64,
    pools: HashSet<String>,
}

pub(super) struct Publisher {
    link: Link,
    channels: Pool<ConfirmChannels>,
    topology: Arc<Topology>,
    declared: Mutex<Declared>,
    /// Numbers messages. It starts at the clock's nanoseconds, so that two processes do not share ids.
    next_number: AtomicU64,
    deadline: Duration,
}

/// A batch, encoded: the bodies one after another in one buffer.
struct Encoded {
    bodies: Vec<u8>,
    messages: Vec<Message>,
    /// The number of the message that belongs to index 0 of the batch.
    first_number: u64,
}

struct Message {
    index: usize,
    body: std::ops::Range<usize>,
    names: PoolNames,
    properties: BasicProperties,
}

impl Publisher {
    pub(super) fn new(link: Link, topology: Arc<Topology>, deadline: Duration) -> Self {
        let nanos =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let channels = Pool::builder(ConfirmChannels { link: link.clone() })
            .max_size(CHANNELS_MAX)
            .build()
            .expect(
                "a pool without time limits needs no runtime, which is all that can be missing",
            );
        Self {
            link,
            channels,
            topology,
            declared: Mutex::default(),
            next_number: AtomicU64::new(u64::try_from(nanos).unwrap_or_default()),
            deadline,
        }
    }

    /// Publishes a batch; see [`crate::broker::Broker::publish`].
    pub(super) async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        let late = PublishError::Unavailable(format!("no confirm within {:?}", self.deadline));
        let mut outcomes = vec![Err(late.clone()); batch.len()];
        let encoded = self.encode(batch, &mut outcomes);
        let mut returned = Vec::new();
        let deadline = Instant::now() + self.deadline;
        let sent =
            timeout_at(deadline, self.send(batch, &encoded, &mut outcomes, &mut returned)).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(BrokerUnavailable(reason))) => {
                for message in &encoded.messages {
                    outcomes[message.index] = Err(PublishError::Unavailable(reason.clone()));
                }
            }
            // The confirms that did come may have carried returns of one another. With a return among
            // them, which message was routed is not known before all have come.
            Err(_) if !returned.is_empty() => {
                for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                    *outcome = Err(late.clone());
                }
            }
            Err(_) => {}
        }
        self.mark_returned(batch, &encoded, &returned, &mut outcomes);
        outcomes
    }

    /// Drops the pooled channels. Their connection is closed by its supervisor.
    pub(super) fn close(&self) {
        self.channels.close();
    }

    fn encode(&self, batch: &[Outgoing], outcomes: &mut [Outcome]) -> Encoded {
        let first_number = self.next_number.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut encoded =
            Encoded { bodies: Vec::new(), messages: Vec::with_capacity(batch.len()), first_number };
        for (index, outgoing) in batch.iter().enumerate() {
            let start = encoded.bodies.len();
            let names = self.topology.pool(&outgoing.pool).map_err(|error| error.to_string());
            let body =
                message::encode(outgoing, &mut encoded.bodies).map_err(|error| error.to_string());
            match names.and_then(|names| body.map(|()| names)) {
                Ok(names) => encoded.messages.push(Message {
                    index,
                    body: start..encoded.bodies.len(),
                    names,
                    properties: properties(outgoing, first_number.wrapping_add(index as u64), now),
                }),
                Err(reason) => outcomes[index] = Err(PublishError::Refused(reason)),
            }
        }
        encoded
    }

    /// Sends what was encoded and notes each outcome as its confirm comes. An error means that nothing
    /// was sent.
    async fn send(
        &self,
        batch: &[Outgoing],
        encoded: &Encoded,
        outcomes: &mut [Outcome],
        returned: &mut Vec<BasicReturnMessage>,
    ) -> Result<(), BrokerUnavailable> {
        if encoded.messages.is_empty() {
            return Ok(());
        }
        // Asked before anything is handed to lapin, which would keep it in memory until the alarm ends.
        if self.link.session().await?.is_blocked() {
            return Err(BrokerUnavailable("it takes no messages: an alarm".to_owned()));
        }
        let mut pooled = self.channels.get().await.map_err(pool_unavailable)?;
        let sendable = self.declare(&pooled.session, batch, encoded, outcomes).await;
        pooled.is_idle = false;
        {
            let mut waiting = sendable.into_iter();
            let mut in_flight: FuturesUnordered<_> = waiting
                .by_ref()
                .take(IN_FLIGHT_MAX)
                .map(|message| self.send_one(&pooled.channel, encoded, message))
                .collect();
            while let Some((index, confirmation)) = in_flight.next().await {
                outcomes[index] = match confirmation {
                    Ok(Confirmation::Nack(returning)) => {
                        returned.extend(returning);
                        Err(PublishError::Refused("not accepted: the queue is full".to_owned()))
                    }
                    Ok(confirmation) => {
                        returned.extend(confirmation.take_message());
                        Ok(())
                    }
                    Err(error) => Err(PublishError::Unavailable(error.to_string())),
                };
                in_flight.extend(
                    waiting.next().map(|message| self.send_one(&pooled.channel, encoded, message)),
                );
            }
        }
        pooled.is_idle = true;
        Ok(())
    }

    /// One message and its confirm. Both halves happen in the task of the batch: lapin numbers a publish
    /// and queues its frames in two steps, which two tasks on one channel could interleave.
    async fn send_one(
        &self,
        channel: &Channel,
        encoded: &Encoded,
        message: &Message,
    ) -> (usize, lapin::Result<Confirmation>) {
        // Mandatory: without a queue the broker would confirm a message that it has dropped.
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let published = channel.basic_publish(
            self.topology.work_exchange.clone(),
            message.names.routing_key.clone(),
            options,
            &encoded.bodies[message.body.clone()],
            message.properties.clone(),
        );
        let confirmation = match published.await {
            Ok(confirm) => confirm.await,
            Err(error) => Err(error),
        };
        (message.index, confirmation)
    }

    /// Declares the queues that this session has not seen yet. Returns the messages that have one.
    async fn declare<'a>(
        &self,
        session: &Session,
        batch: &[Outgoing],
        encoded: &'a Encoded,
        outcomes: &mut [Outcome],
    ) -> Vec<&'a Message> {
        let mut sendable = Vec::with_capacity(encoded.messages.len());
        let mut failed: Option<(&str, PublishError)> = None;
        for message in &encoded.messages {
            let pool = batch[message.index].pool.as_str();
            if let Some((failed_pool, error)) = &failed
                && *failed_pool == pool
            {
                outcomes[message.index] = Err(error.clone());
                continue;
            }
            if !self.is_declared(session.generation, pool) {
                if let Err(error) = self.declare_one(session, &message.names).await {
                    outcomes[message.index] = Err(error.clone());
                    failed = Some((pool, error));
                    continue;
                }
                self.note_declared(session.generation, pool);
            }
            sendable.push(message);
        }
        sendable
    }

    /// On a channel of its own: a refusal closes the channel that it comes on.
    async fn declare_one(&self, session: &Session, names: &PoolNames) -> Result<(), PublishError> {
        let lost = |error: lapin::Error| PublishError::Unavailable(error.to_string());
        let channel = session.channel().await.map_err(lost)?;
        match self.topology.declare_pool(&channel, names).await {
            Ok(_) => {
                let _closed = timeout(CLOSE_MAX, channel.close(200, "".into())).await;
                Ok(())
            }
            Err(error) if error.is_amqp_soft_error() => {
                Err(PublishError::Refused(error.to_string()))
            }
            Err(error) => Err(lost(error)),
        }
    }

    fn mark_returned(
        &self,
        batch: &[Outgoing],
        encoded: &Encoded,
        returned: &[BasicReturnMessage],
        outcomes: &mut [Outcome],
    ) {
        for message in returned {
            let id = message.delivery.properties.message_id().as_ref().map(ShortString::as_str);
            let Some(index) = id.and_then(|id| index_of(id, encoded.first_number)) else {
                continue;
            };
            let Some(outcome) = outcomes.get_mut(index) else { continue };
            *outcome = Err(PublishError::Refused(format!("returned: {}", message.reply_text)));
            // The queue or its binding is gone, so the next publish declares them again.
            lock(&self.declared).pools.remove(&batch[index].pool);
        }
    }

    fn is_declared(&self, generation: u64, pool: &str) -> bool {
        let declared = lock(&self.declared);
        declared.generation == generation && declared.pools.contains(pool)
    }

    fn note_declared(&self, generation: u64, pool: &str) {
        let mut declared = lock(&self.declared);
        if declared.generation != generation || declared.pools.len() >= DECLARED_MAX {
            *declared = Declared { generation, pools: HashSet::new() };
        }
        declared.pools.insert(pool.to_owned());
    }
}

fn properties(outgoing: &Outgoing, number: u64, now_seconds: u64) -> BasicProperties {
    let mut headers = FieldTable::default();
    message::each_header(outgoing, |name, value| {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    });
    BasicProperties::default()
        .with_message_id(message_id(outgoing, number))
        .with_type(message::MESSAGE_TYPE.into())
        .with_content_type(message::CONTENT_TYPE.into())
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(now_seconds)
        .with_app_id(APP_ID.into())
        .with_headers(headers)
}

/// `{run}:{node}:{scope}:{number}`, for whoever looks at a queue. Without the middle where a node's id of
/// wide characters would not fit into an AMQP short string.
fn message_id(outgoing: &Outgoing, number: u64) -> ShortString {
    let key = &outgoing.wakeup.key;
    let run = key.run;
    ShortString::try_new(format!("{run}:{}:{}:{number}", key.node, key.scope))
        .unwrap_or_else(|_| format!("{run}:{number}").into())
}

fn index_of(message_id: &str, first_number: u64) -> Option<usize> {
    let (_, number) = message_id.rsplit_once(':')?;
    usize::try_from(number.parse::<u64>().ok()?.wrapping_sub(first_number)).ok()
}

fn unavailable(error: &lapin::Error) -> BrokerUnavailable {
    BrokerUnavailable(error.to_string())
}

fn pool_unavailable(error: PoolError<BrokerUnavailable>) -> BrokerUnavailable {
    match error {
        PoolError::Backend(error) => error,
        other => BrokerUnavailable(other.to_string()),
    }
}

/// Nothing panics while the lock is held, so a poisoned one still guards whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
