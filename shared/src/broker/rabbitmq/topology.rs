//! Exchanges and queues: their names and arguments, with the reason beside each.
//!
//! One topology serves RabbitMQ 3.10 to 4.3, so it uses only arguments that all of them know. Declaring
//! a queue again with other arguments is refused by the broker (406): whoever changes one here gives
//! the name a new version.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::domain::ids::RunId;

/// Returns of a message before it counts as poison and is dead-lettered. Up to 3.13 the default is
/// never, from 4.0 it is 20; and up to 4.2 every requeue counts, so a worker that cannot use a message now
/// publishes it anew long before: see `returns.rs`.
pub(super) const DELIVERY_LIMIT: i64 = 100;
/// Messages that a pool's queue holds: some gigabytes. Beyond it publishes are refused and the rows wait
/// in the store.
const QUEUE_MESSAGES_MAX: i64 = 1_000_000;
/// How long a dead message is kept for a person to look at: a week with a holiday in it.
const DEAD_TTL_MILLIS: i64 = 7 * 24 * 3600 * 1000;
/// Dead messages that are kept. A broken publisher must not fill the disk with what nobody reads.
const DEAD_MESSAGES_MAX: i64 = 100_000;
/// Live events that wait at the broker for one process: some megabytes.
const LIVE_MESSAGES_MAX: i64 = 10_000;
/// How long one may wait there. What is older interests nobody: the text stands in the node's output soon.
const LIVE_TTL_MILLIS: i64 = 30 * 1000;
/// Bytes of a pool's name: with the prefix it stays far below the 255 of an AMQP name.
const POOL_BYTES_MAX: usize = 128;
/// Bytes of the namespace, likewise.
const NAMESPACE_BYTES_MAX: usize = 64;

/// A name that cannot be one of the broker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must have 1 to {max} bytes, none of them a control character")]
pub(super) struct InvalidName {
    what: &'static str,
    max: usize,
}

/// What a pool is called.
#[derive(Debug, Clone)]
pub(super) struct PoolNames {
    pub(super) routing_key: ShortString,
    pub(super) queue: ShortString,
}

/// The names of one namespace.
#[derive(Debug, Clone)]
pub(super) struct Topology {
    pub(super) work_exchange: ShortString,
    pub(super) events_exchange: ShortString,
    pub(super) live_exchange: ShortString,
    dead_exchange: ShortString,
    pub(super) dead_queue: ShortString,
}

impl Topology {
    pub(super) fn new(namespace: &str) -> Result<Self, InvalidName> {
        check("the namespace", namespace, NAMESPACE_BYTES_MAX)?;
        Ok(Self {
            work_exchange: format!("{namespace}.work.v1").into(),
            events_exchange: format!("{namespace}.events.v1").into(),
            live_exchange: format!("{namespace}.live.v1").into(),
            dead_exchange: format!("{namespace}.dlx.v1").into(),
            dead_queue: format!("{namespace}.dead.v1").into(),
        })
    }

    /// The names of a pool.
    pub(super) fn pool(&self, pool: &str) -> Result<PoolNames, InvalidName> {
        check("a pool's name", pool, POOL_BYTES_MAX)?;
        let queue = format!("{}.{pool}", self.work_exchange);
        Ok(PoolNames { routing_key: pool.into(), queue: queue.into() })
    }

    /// The exchanges.
    pub(super) fn exchanges(&self) -> [&ShortString; 4] {
        [&self.work_exchange, &self.dead_exchange, &self.events_exchange, &self.live_exchange]
    }

    /// The queue of dead letters.
    pub(super) fn dead_queue(&self) -> &ShortString {
        &self.dead_queue
    }

    /// Declares what all pools share. Done with every new connection: the broker may be a fresh one.
    pub(super) async fn declare_shared(&self, channel: &Channel) -> lapin::Result<()> {
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        // Direct: the routing key is the pool, and nothing needs patterns.
        self.exchange(channel, &self.work_exchange, ExchangeKind::Direct, durable).await?;
        // Fanout: dead messages of all pools go to one queue, whatever their routing key.
        self.exchange(channel, &self.dead_exchange, ExchangeKind::Fanout, durable).await?;
        // Not durable: it carries nothing that outlives a connection, and each one declares it again.
        let transient = ExchangeDeclareOptions::default();
        self.exchange(channel, &self.events_exchange, ExchangeKind::Fanout, transient).await?;
        // Topic: the routing key is the run, and each process binds those that somebody there listens to.
        self.exchange(channel, &self.live_exchange, ExchangeKind::Topic, transient).await?;
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(self.dead_queue.clone(), options, dead_arguments()).await?;
        let (queue, exchange) = (self.dead_queue.clone(), self.dead_exchange.clone());
        channel
            .queue_bind(
                queue,
                exchange,
                "".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
    }

    /// Declares and binds a pool's queue and says how many messages are ready in it.
    pub(super) async fn declare_pool(
        &self,
        channel: &Channel,
        pool: &PoolNames,
    ) -> lapin::Result<u64> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let declared =
            channel.queue_declare(pool.queue.clone(), options, self.work_arguments()).await?;
        let (queue, exchange, key) =
            (pool.queue.clone(), self.work_exchange.clone(), pool.routing_key.clone());
        channel
            .queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default())
            .await?;
        Ok(u64::from(declared.message_count()))
    }

    /// How many messages are ready in a queue, which is not made if it is missing.
    pub(super) async fn ready(&self, channel: &Channel, queue: &ShortString) -> lapin::Result<u64> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = channel.queue_declare(queue.clone(), options, FieldTable::default()).await?;
        Ok(u64::from(found.message_count()))
    }

    /// Declares a queue that dies with this connection and hears every announcement. Returns its name.
    pub(super) async fn declare_listener(&self, channel: &Channel) -> lapin::Result<ShortString> {
        // Exclusive and auto-delete: transient queues that are neither are refused from 4.3 on.
        let options =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let queue =
            channel.queue_declare("".into(), options, listener_arguments()).await?.name().clone();
        let (bound, exchange) = (queue.clone(), self.events_exchange.clone());
        channel
            .queue_bind(
                bound,
                exchange,
                "".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(queue)
    }

    /// Declares a queue that dies with this connection and hears nothing until runs are bound to it. Returns its name.
    pub(super) async fn declare_live(&self, channel: &Channel) -> lapin::Result<ShortString> {
        let options =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let queue = channel.queue_declare("".into(), options, live_arguments()).await?;
        Ok(queue.name().clone())
    }

    /// Has the live events of a run come to a queue of [`Self::declare_live`].
    pub(super) async fn bind_live(
        &self,
        channel: &Channel,
        queue: &ShortString,
        run: RunId,
    ) -> lapin::Result<()> {
        let (queue, exchange, key) =
            (queue.clone(), self.live_exchange.clone(), run.to_string().into());
        channel
            .queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default())
            .await
    }

    /// Has them come no longer.
    pub(super) async fn unbind_live(
        &self,
        channel: &Channel,
        queue: &ShortString,
        run: RunId,
    ) -> lapin::Result<()> {
        let (queue, exchange, key) =
            (queue.clone(), self.live_exchange.clone(), run.to_string().into());
        channel.queue_unbind(queue, exchange, key, FieldTable::default()).await
    }

    async fn exchange(
        &self,
        channel: &Channel,
        name: &ShortString,
        kind: ExchangeKind,
        options: ExchangeDeclareOptions,
    ) -> lapin::Result<()> {
        channel.exchange_declare(name.clone(), kind, options, FieldTable::default()).await
    }

    fn work_arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        // A confirm of a quorum queue means fsync on a majority; a classic queue confirms before fsync.
        text(&mut arguments, "x-queue-type", "quorum");
        number(&mut arguments, "x-delivery-limit", DELIVERY_LIMIT);
        text(&mut arguments, "x-dead-letter-exchange", self.dead_exchange.as_str());
        // The default strategy may lose a dead message on its way. This one needs reject-publish.
        text(&mut arguments, "x-dead-letter-strategy", "at-least-once");
        // A full queue says no to the publisher; the default silently drops the oldest message.
        text(&mut arguments, "x-overflow", "reject-publish");
        number(&mut arguments, "x-max-length", QUEUE_MESSAGES_MAX);
        arguments
    }
}

fn dead_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    text(&mut arguments, "x-queue-type", "quorum");
    number(&mut arguments, "x-message-ttl", DEAD_TTL_MILLIS);
    // Drops the oldest when full (the default): refusing would pile the dead up in the work queues.
    number(&mut arguments, "x-max-length", DEAD_MESSAGES_MAX);
    arguments
}

fn listener_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    // Said explicitly, because a virtual host may have another default type, which cannot be exclusive.
    text(&mut arguments, "x-queue-type", "classic");
    arguments
}

fn live_arguments() -> FieldTable {
    let mut arguments = listener_arguments();
    // The oldest are dropped when the process does not keep up: its listeners see the gap.
    number(&mut arguments, "x-max-length", LIVE_MESSAGES_MAX);
    number(&mut arguments, "x-message-ttl", LIVE_TTL_MILLIS);
    arguments
}

fn text(arguments: &mut FieldTable, name: &str, value: &str) {
    arguments.insert(name.into(), AMQPValue::LongString(value.into()));
}

fn number(arguments: &mut FieldTable, name: &str, value: i64) {
    arguments.insert(name.into(), AMQPValue::LongLongInt(value));
}

fn check(what: &'static str, name: &str, max: usize) -> Result<(), InvalidName> {
    let legal = (1..=max).contains(&name.len()) && !name.chars().any(char::is_control);
    if legal { Ok(()) } else { Err(InvalidName { what, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_versioned_and_carry_the_namespace() {
        let topology = Topology::new("skein").expect("a legal name");
        let pool = topology.pool("default").expect("a legal name");
        assert_eq!(topology.work_exchange.as_str(), "skein.work.v1");
        assert_eq!(topology.events_exchange.as_str(), "skein.events.v1");
        assert_eq!(topology.live_exchange.as_str(), "skein.live.v1");
        assert_eq!(pool.queue.as_str(), "skein.work.v1.default");
        assert_eq!(pool.routing_key.as_str(), "default");
    }

    #[test]
    fn names_that_amqp_cannot_carry_are_refused() {
        let topology = Topology::new(&"n".repeat(NAMESPACE_BYTES_MAX)).expect("the longest");
        assert!(topology.pool(&"p".repeat(POOL_BYTES_MAX)).is_ok());
        for pool in ["", "a\nb", &"p".repeat(POOL_BYTES_MAX + 1)] {
            assert!(topology.pool(pool).is_err(), "{pool:?}");
        }
        assert!(Topology::new("").is_err());
    }
}
