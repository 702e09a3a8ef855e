//! What can be found out about a broker over AMQP without changing anything: for whoever looks into an installation by
//! hand.
//!
//! Policies, queue types of others and free memory are not to be seen over AMQP; the broker's own tools show them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueDeclareOptions,
};
use lapin::types::parsing::parse_field_table;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ErrorKind, ExchangeKind};
use tokio::time::timeout;
use uuid::Uuid;

use super::connection::Dialer;
use super::topology::Topology;
use super::{InvalidOptions, parse_url};
use crate::config::Amqp;

/// How long a goodbye may take. Nothing depends on it.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Bytes of the broker's first frame that are read at most: RabbitMQ's takes less than 1 KiB.
const GREETING_BYTES_MAX: u32 = 64 * 1024;
/// What a client of AMQP 0-9-1 says first.
const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// The method with which a broker answers that, as class and method: connection.start.
const CONNECTION_START: [u8; 4] = [0, 10, 0, 10];
/// The code of what is not there.
const NOT_FOUND: u16 = 404;

/// What a broker says of itself before anybody has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// `RabbitMQ`.
    pub product: String,
    /// `3.13.7`.
    pub version: String,
}

/// Why nothing more was found out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// There is no connection, by TCP or by TLS, or it broke off.
    #[error("{0}")]
    Unreachable(String),
    /// Something else listens there.
    #[error("what listens there does not speak AMQP 0-9-1")]
    Foreign,
    /// The broker said no.
    #[error("{text} ({code})")]
    Refused {
        /// The code of AMQP.
        code: u16,
        /// The broker's words. They hold no password.
        text: String,
    },
    /// No answer in time.
    #[error("it does not answer within {} s", .0.as_secs())]
    Late(Duration),
}

/// How a question ended that the broker may refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// It may be done.
    Granted,
    /// Why not.
    Refused(Obstacle),
    /// It could not be tried without changing something.
    Untried,
}

/// A queue as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Messages that are ready.
    pub messages: u32,
    /// Who takes them.
    pub consumers: u32,
}

/// What there is in a namespace, and what its user may do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Exchanges and queues that are not there. Every process makes them at its start.
    pub missing: Vec<String>,
    /// The pool's queue.
    pub waiting: Option<Backlog>,
    /// The dead letters.
    pub dead: Option<Backlog>,
    /// To declare all of it as it is to be: permissions to configure, and the arguments of what is there.
    pub declaring: Trial,
    /// To publish a wake-up: the permission to write. Nobody gets what is published.
    pub publishing: Trial,
    /// To take wake-ups and announcements: the permission to read.
    pub consuming: Trial,
    /// Whether the broker takes no messages now: an alarm of memory or disk.
    pub is_blocked: bool,
}

/// Looks into a broker.
#[derive(Debug)]
pub struct Inspector {
    dialer: Dialer,
    topology: Arc<Topology>,
    /// How long each answer may take.
    answer_max: Duration,
}

impl Inspector {
    /// An inspector that waits so long for each answer. Connects to nothing yet.
    ///
    /// # Errors
    /// When the URL or the namespace is malformed.
    pub fn new(amqp: Amqp<'_>, answer_max: Duration) -> Result<Self, InvalidOptions> {
        let uri = parse_url(amqp.url.expose())?;
        let topology = Topology::new(amqp.namespace);
        let topology = Arc::new(topology.map_err(|error| InvalidOptions(error.to_string()))?);
        let name = format!("skein doctor {}", amqp.namespace);
        let dialer = Dialer::new(uri, name, Arc::clone(&topology));
        Ok(Self { dialer, topology, answer_max })
    }

    /// Asks who is there, without logging in.
    ///
    /// # Errors
    /// See [`Obstacle`].
    pub async fn greeting(&self) -> Result<Greeting, Obstacle> {
        bounded(self.answer_max, async {
            let unreachable = |error: std::io::Error| Obstacle::Unreachable(error.to_string());
            let mut stream = self.dialer.stream().await.map_err(unreachable)?;
            greeted(&mut stream).await
        })
        .await
    }

    /// Logs in.
    ///
    /// # Errors
    /// When the broker or the way to it says no: see [`Obstacle`].
    pub async fn login(&self) -> Result<Session<'_>, Obstacle> {
        let dialed = async { self.dialer.dial().await.map_err(|error| said(&error)) };
        let connection = bounded(self.answer_max, dialed).await?;
        Ok(Session { connection, topology: &self.topology, answer_max: self.answer_max })
    }
}

/// A connection that has logged in.
pub struct Session<'a> {
    connection: Connection,
    topology: &'a Topology,
    answer_max: Duration,
}

impl Session<'_> {
    /// Looks at what there is for a pool, and tries what may be done with it. Makes nothing that outlives the connection,
    /// and ends that.
    ///
    /// # Errors
    /// When the connection breaks off, or an answer does not come.
    pub async fn survey(self, pool: &str) -> Result<Survey, Obstacle> {
        let surveyed = self.look(pool).await;
        // A blocked connection cannot even say goodbye.
        let _closed = timeout(CLOSE_MAX, self.connection.close(200, "".into())).await;
        surveyed
    }

    async fn look(&self, pool: &str) -> Result<Survey, Obstacle> {
        let topology = self.topology;
        let names =
            topology.pool(pool).map_err(|error| Obstacle::Unreachable(error.to_string()))?;
        let mut missing = Vec::new();
        for exchange in topology.exchanges() {
            if !self.is_there(exchange).await? {
                missing.push(exchange.to_string());
            }
        }
        let waiting = self.backlog(&names.queue).await?;
        let dead = self.backlog(topology.dead_queue()).await?;
        for (queue, backlog) in [(&names.queue, waiting), (topology.dead_queue(), dead)] {
            if backlog.is_none() {
                missing.push(queue.to_string());
            }
        }
        let is_there = |name: &ShortString| !missing.iter().any(|it| it == name.as_str());

        let declaring = if missing.is_empty() {
            self.tried(async |channel: &Channel| {
                // What every process does at its start; where all is there it changes nothing.
                topology.declare_shared(channel).await?;
                topology.declare_pool(channel, &names).await?;
                Ok(())
            })
            .await?
        } else {
            Trial::Untried
        };
        let consuming = if is_there(&topology.events_exchange) && waiting.is_some() {
            let is_empty = waiting.is_some_and(|backlog| backlog.messages == 0);
            self.tried(async |channel: &Channel| {
                topology.declare_listener(channel).await?;
                if is_empty {
                    // What has come in between goes back when the channel is closed.
                    channel.basic_get(names.queue.clone(), BasicGetOptions::default()).await?;
                }
                Ok(())
            })
            .await?
        } else {
            Trial::Untried
        };
        // Last, because a broker with an alarm hears nothing more from a connection that publishes.
        let publishing = if is_there(&topology.work_exchange) {
            let tried = self
                .tried(async |channel: &Channel| publish(channel, &topology.work_exchange).await);
            match tried.await {
                Err(late @ Obstacle::Late(_)) => Trial::Refused(late),
                tried => tried?,
            }
        } else {
            Trial::Untried
        };
        let is_blocked = self.connection.status().blocked();
        Ok(Survey { missing, waiting, dead, declaring, publishing, consuming, is_blocked })
    }

    async fn is_there(&self, name: &ShortString) -> Result<bool, Obstacle> {
        let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let found = self.found(async |channel: &Channel| {
            let (name, kind) = (name.clone(), ExchangeKind::Direct);
            channel.exchange_declare(name, kind, options, FieldTable::default()).await
        });
        Ok(found.await?.is_some())
    }

    async fn backlog(&self, queue: &ShortString) -> Result<Option<Backlog>, Obstacle> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        self.found(async |channel: &Channel| {
            let queue =
                channel.queue_declare(queue.clone(), options, FieldTable::default()).await?;
            let (messages, consumers) = (queue.message_count(), queue.consumer_count());
            Ok(Backlog { messages, consumers })
        })
        .await
    }

    /// The answer to a question about something that may not be there.
    async fn found<T>(
        &self,
        question: impl AsyncFnOnce(&Channel) -> lapin::Result<T>,
    ) -> Result<Option<T>, Obstacle> {
        match self.asked(question).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Obstacle::Refused { code: NOT_FOUND, .. }) => Ok(None),
            Err(obstacle) => Err(obstacle),
        }
    }

    /// Whether something may be done.
    async fn tried(
        &self,
        attempt: impl AsyncFnOnce(&Channel) -> lapin::Result<()>,
    ) -> Result<Trial, Obstacle> {
        match self.asked(attempt).await {
            Ok(()) => Ok(Trial::Granted),
            Err(refused @ Obstacle::Refused { .. }) => Ok(Trial::Refused(refused)),
            Err(obstacle) => Err(obstacle),
        }
    }

    /// Asks over a channel of its own: a refusal closes it.
    async fn asked<T>(
        &self,
        question: impl AsyncFnOnce(&Channel) -> lapin::Result<T>,
    ) -> Result<T, Obstacle> {
        bounded(self.answer_max, async {
            let channel = self.connection.create_channel().await.map_err(|error| said(&error))?;
            let answer = question(&channel).await.map_err(|error| said(&error))?;
            // It is of no use any more either way.
            let _closed = channel.close(200, "".into()).await;
            Ok(answer)
        })
        .await
    }
}

async fn bounded<T>(
    most: Duration,
    asked: impl Future<Output = Result<T, Obstacle>>,
) -> Result<T, Obstacle> {
    timeout(most, asked).await.unwrap_or(Err(Obstacle::Late(most)))
}

/// Publishes what nobody gets: no queue is bound by such a key, so it comes back.
async fn publish(channel: &Channel, exchange: &ShortString) -> lapin::Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let key = format!("doctor.{}", Uuid::new_v4());
    let properties = BasicProperties::default();
    let published = channel.basic_publish(exchange.clone(), key.into(), options, b"", properties);
    published.await?.await?;
    Ok(())
}

/// Says hello as a client does and reads the answer.
async fn greeted(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<Greeting, Obstacle> {
    // Whoever hangs up now has taken it for something else.
    let foreign = |_| Obstacle::Foreign;
    stream.write_all(PROTOCOL_HEADER).await.map_err(foreign)?;
    stream.flush().await.map_err(foreign)?;
    // Kind of frame, channel and size.
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.map_err(foreign)?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    if head[0] != 1 || size > GREETING_BYTES_MAX {
        return Err(Obstacle::Foreign);
    }
    let mut frame = vec![0; size as usize];
    stream.read_exact(&mut frame).await.map_err(foreign)?;
    read_greeting(&frame).ok_or(Obstacle::Foreign)
}

/// Reads the method connection.start.
fn read_greeting(frame: &[u8]) -> Option<Greeting> {
    // Behind the method come two bytes for the version of AMQP.
    let properties = frame.strip_prefix(&CONNECTION_START)?.get(2..)?;
    let (_, properties) = parse_field_table(properties).ok()?;
    let text = |name: &str| match properties.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        _ => String::new(),
    };
    Some(Greeting { product: text("product"), version: text("version") })
}

/// What the broker or the way to it said.
fn said(error: &lapin::Error) -> Obstacle {
    match error.kind() {
        ErrorKind::ProtocolError(error) => {
            Obstacle::Refused { code: error.get_id(), text: error.get_message().to_string() }
        }
        _ => Obstacle::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The method connection.start with these server properties.
    fn start(properties: &[(&str, &str)]) -> Vec<u8> {
        let mut table = Vec::new();
        for (name, value) in properties {
            table.push(u8::try_from(name.len()).expect("a short name"));
            table.extend(name.bytes());
            table.push(b'S');
            table.extend(u32::try_from(value.len()).expect("a short value").to_be_bytes());
            table.extend(value.bytes());
        }
        let size = u32::try_from(table.len()).expect("a small table").to_be_bytes();
        [&CONNECTION_START[..], &[0, 9], &size, &table].concat()
    }

    #[test]
    fn a_broker_says_what_it_is() {
        let rabbit = start(&[("product", "RabbitMQ"), ("version", "4.0.5"), ("platform", "x")]);
        let greeting = read_greeting(&rabbit).unwrap();
        assert_eq!((&*greeting.product, &*greeting.version), ("RabbitMQ", "4.0.5"));
        let silent = read_greeting(&start(&[])).unwrap();
        assert_eq!((&*silent.product, &*silent.version), ("", ""));
    }

    #[test]
    fn what_is_no_greeting_is_none() {
        let rabbit = start(&[("product", "RabbitMQ")]);
        for frame in [&b""[..], b"HTTP/1.1 400", &rabbit[..5], &rabbit[..rabbit.len() - 1]] {
            assert_eq!(read_greeting(frame), None, "{frame:?}");
        }
    }

    #[test]
    fn an_inspector_shows_no_password() {
        let url = "amqp://user:hunter2@broker/%2f".parse().unwrap();
        let amqp = Amqp { url: &url, namespace: "skein" };
        let inspector = Inspector::new(amqp, CLOSE_MAX).unwrap();
        assert!(!format!("{inspector:?}").contains("hunter2"));
    }
}
