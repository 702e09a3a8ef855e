//! Publishing with confirms.
//!
//! A batch has a channel to itself: its messages are in flight together, and every confirm that the
//! channel sees is one of the batch. Two traits of lapin shape the rest:
//!
//! - It pairs a returned message with whichever confirm completes next, not with its own. So returns are
//!   matched by `message_id`. On a channel of one batch none gets lost that way: a return comes before
//!   the confirm of the same message, so never are more returns waiting than confirms to come.
//! - It sends a channel's close before that channel's waiting publishes, which costs the connection. So a
//!   batch runs in a task of its own, which keeps the channel until the last confirm, whatever becomes
//!   of the caller.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use deadpool::managed::{Object, Pool};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::channels::{self, ConfirmChannels};
use super::connection::{Link, Session};
use super::envelope::{Envelope, Envelopes};
use super::topology::{PoolNames, Topology};
use crate::broker::tally::{self, PendingConfirm};
use crate::broker::{BrokerUnavailable, Outgoing, PublishError, Published};

/// Messages in flight on a channel. Confirms come in groups, and lapin walks all pending ones for each
/// group; beyond a thousand that costs more than it hides.
const IN_FLIGHT_MAX: usize = 1_000;
/// How long the next confirm of a late batch may take before its channel is given up, unless an alarm
/// explains the silence.
const LATE_MAX: Duration = Duration::from_secs(60);
/// Pools that are remembered as declared. Declaring again is cheap; a leak of names is not.
const DECLARED_MAX: usize = 1_000;
/// How long a channel's goodbye may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);

type PublishResult = Result<(), PublishError>;

/// Publishes batches over one connection. Clones share it.
#[derive(Clone)]
pub(super) struct Publisher {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

struct Shared {
    link: Link,
    channels: Pool<ConfirmChannels>,
    topology: Arc<Topology>,
    declared: Mutex<Declared>,
    /// One declares at a time: whoever comes second learns that the queue exists before it has a
    /// leader, and what he publishes then is not accepted.
    declaring: tokio::sync::Mutex<()>,
    /// Numbers messages. It starts at the clock's nanoseconds, so that two processes do not share ids.
    next_number: AtomicU64,
    publish_timeout: Duration,
}

/// The pools whose queues are known to exist, for one session.
#[derive(Default)]
struct Declared {
    generation: u64,
    pools: HashSet<String>,
}

/// What the caller of a batch waits for.
struct Caller {
    report: Report,
    deadline: Instant,
    /// Closed when the caller has gone, which a batch under way outlives.
    reply: oneshot::Sender<Vec<PublishResult>>,
}

/// What is known about the messages of a batch.
struct Report {
    outcomes: Vec<PublishResult>,
    /// Indexes of messages that came back.
    returned: Vec<(usize, String)>,
}

impl Publisher {
    /// A publisher whose calls end after `publish_timeout`, and whose batches run in `tasks`.
    pub(super) fn new(
        link: Link,
        topology: Arc<Topology>,
        publish_timeout: Duration,
        tasks: TaskTracker,
    ) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let shared = Shared {
            channels: channels::pool(link.clone()),
            link,
            topology,
            declared: Mutex::default(),
            declaring: tokio::sync::Mutex::default(),
            next_number: AtomicU64::new(u64::try_from(now.as_nanos()).unwrap_or_default()),
            publish_timeout,
        };
        Self { shared: Arc::new(shared), tasks }
    }

    /// Publishes a batch; see [`crate::broker::Broker::publish`].
    pub(super) async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<Published, PublishError>> {
        let first = self.shared.next_number.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let numbers = (0..).map(|index| first.wrapping_add(index));
        let outcomes = self.publish_from(batch, first).await.into_iter().zip(numbers);
        let published =
            outcomes.map(|(outcome, number)| outcome.map(|()| Published { number: Some(number) }));
        published.collect()
    }

    /// Publishes a batch whose messages are numbered from `first`.
    async fn publish_from(&self, batch: &[Outgoing], first: u64) -> Vec<PublishResult> {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.publish_timeout;
        let mut outcomes = vec![Err(shared.too_late()); batch.len()];
        let envelopes = Envelopes::encode(batch, &shared.topology, first, &mut outcomes);
        if envelopes.messages.is_empty() {
            return outcomes;
        }
        let (reply, replied) = oneshot::channel();
        let report = Report { outcomes, returned: Vec::new() };
        self.tasks.spawn(Arc::clone(shared).run(envelopes, Caller { report, deadline, reply }));
        let stopped =
            |_| vec![Err(PublishError::Unavailable("it stopped".to_owned())); batch.len()];
        replied.await.unwrap_or_else(stopped)
    }

    /// Whether its connection is open.
    pub(super) fn is_open(&self) -> bool {
        self.shared.link.is_open()
    }

    /// Drops the idle channels. Their connection is closed by its supervisor.
    pub(super) fn close(&self) {
        self.shared.channels.close();
    }
}

impl Shared {
    /// One batch, from a channel to the last confirm. Replies at the deadline at the latest.
    async fn run(self: Arc<Self>, envelopes: Envelopes, mut caller: Caller) {
        let preparing = self.prepare(&envelopes, &mut caller.report);
        match timeout_at(caller.deadline, preparing).await {
            Ok(Ok((mut pooled, sendable))) => {
                pooled.is_idle = false;
                let is_idle = self.send(&pooled, &envelopes, sendable, caller).await;
                pooled.is_idle = is_idle;
            }
            Ok(Err(BrokerUnavailable(reason))) => {
                let outcomes = &mut caller.report.outcomes;
                for message in &envelopes.messages {
                    outcomes[message.index] = Err(PublishError::Unavailable(reason.clone()));
                }
                let _is_listening = caller.reply.send(caller.report.outcomes);
            }
            Err(_) => {
                let _is_listening = caller.reply.send(caller.report.outcomes);
            }
        }
    }

    /// A channel, and the messages that have a queue to go to.
    async fn prepare<'a>(
        &self,
        envelopes: &'a Envelopes,
        report: &mut Report,
    ) -> Result<(Object<ConfirmChannels>, Vec<&'a Envelope>), BrokerUnavailable> {
        // Asked before anything is handed to lapin, which would keep it in memory until the alarm ends.
        if self.link.session().await?.is_blocked() {
            return Err(BrokerUnavailable("it takes no messages: an alarm".to_owned()));
        }
        let pooled = self.channels.get().await?;
        let sendable = self.declare(&pooled.session, envelopes, report).await;
        Ok((pooled, sendable))
    }

    /// Sends, collects confirms, replies, and goes on collecting what comes late. Says whether the
    /// channel is idle then.
    async fn send(
        &self,
        pooled: &Object<ConfirmChannels>,
        envelopes: &Envelopes,
        sendable: Vec<&Envelope>,
        caller: Caller,
    ) -> bool {
        let Caller { mut report, deadline, reply } = caller;
        let mut waiting = sendable.into_iter();
        let send = |message| self.send_one(&pooled.channel, envelopes, message);
        let mut in_flight: FuturesUnordered<_> =
            waiting.by_ref().take(IN_FLIGHT_MAX).map(send).collect();
        let mut deadline = std::pin::pin!(sleep_until(deadline));
        while !in_flight.is_empty() {
            tokio::select! {
                biased;
                Some((index, confirmation)) = in_flight.next() => {
                    self.note(index, confirmation, envelopes, &mut report);
                    if !reply.is_closed() {
                        in_flight.extend(waiting.next().map(send));
                    }
                }
                () = &mut deadline => break,
            }
        }
        let is_late = !in_flight.is_empty();
        let _is_listening = reply.send(report.finish(is_late.then(|| self.too_late())));
        while !in_flight.is_empty() {
            match timeout(LATE_MAX, in_flight.next()).await {
                Ok(_) => {}
                Err(_) if pooled.session.is_blocked() => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// One message and its confirm. Its first poll registers and queues it, so the futures of a channel
    /// belong into one task: two could interleave those steps, and lapin would count wrongly.
    async fn send_one(
        &self,
        channel: &Channel,
        envelopes: &Envelopes,
        message: &Envelope,
    ) -> (usize, lapin::Result<Confirmation>) {
        let _pending = PendingConfirm::new();
        // Mandatory: without a queue the broker would confirm a message that it has dropped.
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let published = channel.basic_publish(
            self.topology.work_exchange.clone(),
            message.names.routing_key.clone(),
            options,
            envelopes.body(message),
            message.properties.clone(),
        );
        let confirmation = match published.await {
            Ok(confirm) => confirm.await,
            Err(error) => Err(error),
        };
        (message.index, confirmation)
    }

    fn note(
        &self,
        index: usize,
        confirmation: lapin::Result<Confirmation>,
        envelopes: &Envelopes,
        report: &mut Report,
    ) {
        let returned = match confirmation {
            Ok(Confirmation::Nack(returned)) => {
                tally::count_nacked();
                let reason = "not accepted: the queue is full or has no leader".to_owned();
                report.outcomes[index] = Err(PublishError::Refused(reason));
                returned
            }
            Ok(confirmation) => {
                report.outcomes[index] = Ok(());
                confirmation.take_message()
            }
            Err(error) => {
                report.outcomes[index] = Err(PublishError::Unavailable(error.to_string()));
                None
            }
        };
        let Some(returned) = returned else { return };
        tally::count_returned();
        let Some(message) = envelopes.find(&returned.delivery.properties) else { return };
        report.returned.push((message.index, format!("returned: {}", returned.reply_text)));
        // The queue or its binding is gone, so the next publish declares them again.
        lock(&self.declared).pools.remove(message.names.routing_key.as_str());
    }

    /// Declares the queues that this session has not seen yet. Returns the messages that have one.
    async fn declare<'a>(
        &self,
        session: &Session,
        envelopes: &'a Envelopes,
        report: &mut Report,
    ) -> Vec<&'a Envelope> {
        let mut sendable = Vec::with_capacity(envelopes.messages.len());
        let mut failed: HashMap<&str, PublishError> = HashMap::new();
        for message in &envelopes.messages {
            let pool = message.names.routing_key.as_str();
            if !failed.contains_key(pool)
                && let Err(error) = self.declare_one(session, &message.names).await
            {
                failed.insert(pool, error);
            }
            match failed.get(pool) {
                None => sendable.push(message),
                Some(error) => report.outcomes[message.index] = Err(error.clone()),
            }
        }
        sendable
    }

    /// On a channel of its own: a refusal closes the channel that it comes on.
    async fn declare_one(&self, session: &Session, names: &PoolNames) -> Result<(), PublishError> {
        let pool = names.routing_key.as_str();
        if self.is_declared(session.generation, pool) {
            return Ok(());
        }
        let _alone = self.declaring.lock().await;
        if self.is_declared(session.generation, pool) {
            return Ok(());
        }
        let declared = async {
            let channel = session.channel().await?;
            self.topology.declare_pool(&channel, names).await?;
            let _closed = timeout(CLOSE_MAX, channel.close(200, "".into())).await;
            lapin::Result::Ok(())
        };
        declared.await.map_err(|error| {
            if error.is_amqp_soft_error() {
                PublishError::Refused(error.to_string())
            } else {
                PublishError::Unavailable(error.to_string())
            }
        })?;
        self.note_declared(session.generation, pool);
        Ok(())
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

    fn too_late(&self) -> PublishError {
        PublishError::Unavailable(format!("no confirm within {:?}", self.publish_timeout))
    }
}

impl Report {
    /// The outcomes, of a batch that is complete or `late`.
    fn finish(self, late: Option<PublishError>) -> Vec<PublishResult> {
        let Self { mut outcomes, returned } = self;
        // Confirms carry returns of one another. With a return among those that came, which of them were
        // routed is not known before all have come.
        if let Some(late) = late.filter(|_| !returned.is_empty()) {
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                *outcome = Err(late.clone());
            }
        }
        for (index, reason) in returned {
            outcomes[index] = Err(PublishError::Refused(reason));
        }
        outcomes
    }
}

/// Nothing panics while the lock is held, so a poisoned one still guards whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_batch_with_a_return_vouches_for_nothing() {
        let late = PublishError::Unavailable("late".to_owned());
        let full = Err(PublishError::Refused("full".to_owned()));
        let report = |returned| Report {
            outcomes: vec![Ok(()), Ok(()), full.clone(), Err(late.clone())],
            returned,
        };
        let back = vec![(1, "no route".to_owned())];
        let refused = Err(PublishError::Refused("no route".to_owned()));
        let unknown = Err(late.clone());
        assert_eq!(
            report(back.clone()).finish(Some(late.clone())),
            [unknown.clone(), refused.clone(), full.clone(), unknown.clone()]
        );
        assert_eq!(report(back).finish(None), [Ok(()), refused, full.clone(), unknown.clone()]);
        assert_eq!(report(vec![]).finish(Some(late)), [Ok(()), Ok(()), full.clone(), unknown]);
    }
}
