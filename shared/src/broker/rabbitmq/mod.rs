//! RabbitMQ, 3.10 to 4.3.
//!
//! Two connections a process: one publishes, one consumes. The broker blocks connections that publish
//! when it runs out of memory or disk, and a blocked connection cannot acknowledge. Each has a supervisor
//! (`connection`) that reconnects for ever.

mod backoff;
mod channels;
mod connection;
mod consumer;
mod envelope;
mod events;
pub mod inspect;
mod live;
mod permission;
mod publisher;
mod returns;
mod topology;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::uri::AMQPUri;
use lapin::{Channel, ErrorKind};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::{Dialer, Link};
use self::consumer::Subscriber;
use self::events::Events;
use self::live::Live;
use self::publisher::Publisher;
use self::returns::Returns;
use self::topology::{PoolNames, Topology};
use super::announcements::Announcements;
use super::live::Hub;
use super::{
    Address, Broker, BrokerUnavailable, Connections, Consumer, Listener, LiveEvent, LiveListener,
    Outgoing, PublishError, Published,
};
use crate::domain::ids::RunId;
use crate::domain::open_work::QueueDepth;

/// The prefix of all names when none is given.
pub const DEFAULT_NAMESPACE: &str = "skein";
/// How long a batch may take when nothing else is said. A confirm takes some milliseconds; seconds mean a
/// broker in trouble, and the sweeper repeats the hint.
pub const DEFAULT_PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// After how much silence a subscription is made anew when nothing else is said. Three round trips a
/// minute on an idle pool, against a consumer that is deaf for ever; see `consumer.rs`.
pub const DEFAULT_RENEW_AFTER: Duration = Duration::from_secs(60);
/// How long a question about a queue may take.
const ASK_MAX: Duration = Duration::from_secs(5);
/// The largest frame that is negotiated, unless the URL says otherwise. lapin keeps buffers of 32 frames
/// for each direction of each connection, so the server's 128 KiB would cost some 17 MB; a wake-up with
/// its headers takes less than 2 KiB. RabbitMQ refuses less than 8 KiB from 4.1 on.
const FRAME_BYTES: u32 = 16 * 1024;
/// How long [`Broker::close`] waits for its tasks. They need two round trips.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How to reach RabbitMQ.
#[derive(Clone)]
pub struct RabbitMqOptions {
    /// `amqp://user:password@host:port/vhost`, or `amqps://`. Never shown.
    pub url: String,
    /// The prefix of the names of all exchanges and queues.
    pub namespace: String,
    /// What the broker's tools call the connections of this process.
    pub connection_name: String,
    /// The bound of [`Broker::publish`].
    pub publish_timeout: Duration,
    /// After how much silence a consumer subscribes anew.
    pub renew_after: Duration,
}

impl RabbitMqOptions {
    /// The defaults, for a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: DEFAULT_NAMESPACE.to_owned(),
            connection_name: DEFAULT_NAMESPACE.to_owned(),
            publish_timeout: DEFAULT_PUBLISH_TIMEOUT,
            renew_after: DEFAULT_RENEW_AFTER,
        }
    }
}

impl fmt::Debug for RabbitMqOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqOptions")
            .field("namespace", &self.namespace)
            .field("connection_name", &self.connection_name)
            .field("publish_timeout", &self.publish_timeout)
            .field("renew_after", &self.renew_after)
            .finish_non_exhaustive()
    }
}

/// Options that no broker could ever be reached with. The text repeats nothing of the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker's options are invalid: {0}")]
pub struct InvalidOptions(String);

fn parse_url(url: &str) -> Result<AMQPUri, InvalidOptions> {
    let mut uri: AMQPUri =
        url.parse().map_err(|_| InvalidOptions("the URL is not an AMQP one".to_owned()))?;
    uri.query.frame_max.get_or_insert(FRAME_BYTES);
    Ok(uri)
}

/// A process's two connections to RabbitMQ.
pub struct RabbitMq {
    server: (String, u16),
    topology: Arc<Topology>,
    publisher: Publisher,
    events: Arc<Events>,
    live: Arc<Live>,
    consuming: Link,
    renew_after: Duration,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMq").field("topology", &self.topology).finish_non_exhaustive()
    }
}

impl RabbitMq {
    /// Starts to connect and returns at once, whether there is a broker or not. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When the URL or the namespace is malformed.
    pub fn connect(options: RabbitMqOptions) -> Result<Self, InvalidOptions> {
        let RabbitMqOptions { url, namespace, connection_name, publish_timeout, renew_after } =
            options;
        let uri = parse_url(&url)?;
        let topology =
            Arc::new(Topology::new(&namespace).map_err(|error| InvalidOptions(error.to_string()))?);
        let tasks = TaskTracker::new();
        let closing = CancellationToken::new();
        let link = |role: &str| {
            Dialer::new(uri.clone(), format!("{connection_name} {role}"), Arc::clone(&topology))
                .supervise(&tasks, closing.clone())
        };
        let (publishing, consuming) = (link("publish"), link("consume"));
        let local = Announcements::new(closing.clone());
        Ok(Self {
            server: (uri.authority.host.clone(), uri.authority.port),
            publisher: Publisher::new(
                publishing.clone(),
                Arc::clone(&topology),
                publish_timeout,
                tasks.clone(),
            ),
            live: Arc::new(Live::start(
                publishing.clone(),
                consuming.clone(),
                Arc::clone(&topology),
                Hub::new(closing.clone()),
                &tasks,
                &closing,
            )),
            events: Arc::new(Events::new(
                publishing,
                consuming.clone(),
                Arc::clone(&topology),
                local,
            )),
            topology,
            consuming,
            renew_after,
            tasks,
            closing,
        })
    }

    fn names(&self, pool: &str) -> Result<PoolNames, BrokerUnavailable> {
        self.topology.pool(pool).map_err(|error| BrokerUnavailable(error.to_string()))
    }

    /// Opens a channel for one question. On the consuming connection, which an alarm does not block. `None` when there is
    /// no such thing as was asked about.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Channel) -> lapin::Result<T>,
    ) -> Result<Option<T>, BrokerUnavailable> {
        let answer = timeout(ASK_MAX, async {
            let session = self.consuming.session().await?;
            let asked = async {
                let channel = session.channel().await?;
                let answer = question(&channel).await?;
                channel.close(200, "".into()).await?;
                lapin::Result::Ok(answer)
            };
            match asked.await {
                Ok(answer) => Ok(Some(answer)),
                // The broker has closed the channel with that.
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(BrokerUnavailable(error.to_string())),
            }
        });
        answer
            .await
            .unwrap_or_else(|_| Err(BrokerUnavailable(format!("no answer within {ASK_MAX:?}"))))
    }
}

/// Whether the broker says that there is no such queue.
fn is_missing(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

#[async_trait]
impl Broker for RabbitMq {
    fn address(&self, pool: &str) -> Address {
        let exchange = self.topology.work_exchange.to_string();
        let queue = format!("{exchange}.{pool}");
        let server = Some(self.server.clone());
        Address { system: "rabbitmq", exchange, routing_key: pool.to_owned(), queue, server }
    }

    fn connections(&self) -> Connections {
        Connections { publishing: self.publisher.is_open(), consuming: self.consuming.is_open() }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<Published, PublishError>> {
        self.publisher.publish(batch).await
    }

    async fn consume(&self, pool: &str, prefetch: u16) -> Box<dyn Consumer> {
        let subscriber = Subscriber {
            link: self.consuming.clone(),
            topology: Arc::clone(&self.topology),
            returns: Returns::new(pool, self.publisher.clone()),
            // Zero means no limit in AMQP.
            prefetch: prefetch.max(1),
            renew_after: self.renew_after,
        };
        Box::new(subscriber.start(&self.tasks, &self.closing))
    }

    async fn depth(&self, pool: &str) -> Result<u64, BrokerUnavailable> {
        let names = self.names(pool)?;
        // Declaring answers with the number of ready messages, and a deleted queue is back.
        let ready = self.ask(async |channel| self.topology.declare_pool(channel, &names).await);
        ready.await?.ok_or_else(|| BrokerUnavailable(format!("{} is gone again", names.queue)))
    }

    async fn backlog(&self, pools: &[&str]) -> Result<Vec<QueueDepth>, BrokerUnavailable> {
        let mut queues = Vec::with_capacity(pools.len() + 1);
        for pool in pools {
            queues.push(self.names(pool)?.queue);
        }
        queues.push(self.topology.dead_queue.clone());
        let mut backlog = Vec::with_capacity(queues.len());
        for queue in queues {
            let ready = self.ask(async |channel| self.topology.ready(channel, &queue).await);
            if let Some(ready) = ready.await? {
                backlog.push(QueueDepth { queue: queue.to_string(), ready });
            }
        }
        Ok(backlog)
    }

    async fn announce(&self, ended: &[RunId]) {
        self.events.announce(ended).await;
    }

    async fn listen(&self) -> Box<dyn Listener> {
        self.events.listen(&self.tasks, &self.closing).await
    }

    fn publish_live(&self, event: LiveEvent) -> bool {
        self.live.publish(event)
    }

    async fn listen_live(&self, run: RunId) -> LiveListener {
        self.live.listen(run, &self.tasks, &self.closing).await
    }

    async fn close(&self) {
        self.closing.cancel();
        self.publisher.close();
        self.tasks.close();
        if timeout(CLOSE_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!("the connections to the broker did not close in time");
        }
    }
}

impl Drop for RabbitMq {
    /// Without [`Broker::close`] the supervisors would reconnect for nobody.
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_options_nor_their_errors_show_the_password() {
        let options = RabbitMqOptions::new("amqp://user:hunter2@host:notaport/");
        assert!(!format!("{options:?}").contains("hunter2"));
        let error = RabbitMq::connect(options).expect_err("no port");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
