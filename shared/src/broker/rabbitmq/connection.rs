//! A connection that is always on its way back.
//!
//! lapin's own recovery is off: it gives up after a number of attempts and does not recover channels.
//! A supervisor task dials, publishes the open connection as a numbered [`Session`], waits for its end
//! and dials again, for ever. Whatever belonged to the old session is dropped with it: deliveries come
//! again, publishes in flight have an unknown outcome.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::{Stream, StreamExt};
use lapin::auth::AuthProvider;
use lapin::tcp::{AMQPUriTcpExt, TLSConfig};
use lapin::types::{LongString, ShortString};
use lapin::uri::{AMQPUri, SASLMechanism};
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::topology::Topology;
use crate::broker::{BrokerUnavailable, tally};

/// How long TCP and TLS may take.
const DIAL_MAX: Duration = Duration::from_secs(10);
/// How long the whole way to a usable session may take: dial, login, topology. Declaring quorum queues
/// waits for elections and disks.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// How long a goodbye may take. A blocked connection cannot even say that.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// A session that lived this long was a good one: the next failure is the first again.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// How often the state is polled besides the events, which do not cover every way to end.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Seconds between heartbeats when the URL names none: a dead peer is noticed after twice that.
const HEARTBEAT_SECONDS: u16 = 15;

/// One open connection. The generation distinguishes it from the ones before and after.
pub(super) struct Session {
    pub(super) generation: u64,
    connection: Connection,
}

impl Session {
    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether the broker has stopped reading from us: an alarm. lapin then writes no frame at all, so
    /// whatever is sent only piles up in memory.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    pub(super) async fn channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }
}

#[derive(Clone)]
enum State {
    /// The first attempt is still under way.
    Connecting,
    Open(Arc<Session>),
    /// Between attempts, and why.
    Down(Arc<str>),
    Closed,
}

/// The users' end of a supervised connection.
#[derive(Clone)]
pub(super) struct Link {
    state: watch::Receiver<State>,
}

impl Link {
    /// The session, if there is one. Waits only for the very first attempt, which callers bound.
    pub(super) async fn session(&self) -> Result<Arc<Session>, BrokerUnavailable> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match settled.as_deref() {
            Ok(State::Open(session)) if session.is_open() => Ok(Arc::clone(session)),
            Ok(State::Open(_) | State::Connecting) => {
                Err(BrokerUnavailable("the connection was lost".into()))
            }
            Ok(State::Down(reason)) => Err(BrokerUnavailable(reason.to_string())),
            Ok(State::Closed) | Err(_) => Err(BrokerUnavailable("it is closed".into())),
        }
    }

    /// Whether there is a session now.
    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.state.borrow(), State::Open(session) if session.is_open())
    }

    /// Waits for a session, however long it takes. `None` once the connection is closed for good.
    pub(super) async fn wait_open(&self) -> Option<Arc<Session>> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| matches!(state, State::Open(_) | State::Closed)).await;
        match settled.as_deref() {
            Ok(State::Open(session)) => Some(Arc::clone(session)),
            _ => None,
        }
    }
}

/// What a supervisor needs to dial.
pub(super) struct Dialer {
    uri: AMQPUri,
    credentials: Option<Credentials>,
    name: String,
    topology: Arc<Topology>,
}

impl Dialer {
    pub(super) fn new(mut uri: AMQPUri, name: String, topology: Arc<Topology>) -> Self {
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        // lapin's crates print the whole address at trace level, so they never get to see the password.
        let is_plain = matches!(uri.query.auth_mechanism, None | Some(SASLMechanism::Plain));
        let credentials = is_plain.then(|| Credentials {
            username: uri.authority.userinfo.username.clone(),
            password: std::mem::take(&mut uri.authority.userinfo.password),
        });
        Self { uri, credentials, name, topology }
    }

    /// Starts the supervisor of one connection. It ends when `closing` is cancelled.
    pub(super) fn supervise(self, tasks: &TaskTracker, closing: CancellationToken) -> Link {
        let (sender, state) = watch::channel(State::Connecting);
        tasks.spawn(supervise(self, sender, closing));
        Link { state }
    }

    async fn open(&self) -> Result<Connection, String> {
        let opened = timeout(OPEN_MAX, async {
            let connection = self.dial().await?;
            let channel = connection.create_channel().await?;
            self.topology.declare_shared(&channel).await?;
            channel.close(200, "".into()).await?;
            lapin::Result::Ok(connection)
        });
        match opened.await {
            Ok(opened) => opened.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", OPEN_MAX.as_secs())),
        }
    }

    /// Dials and logs in.
    pub(super) async fn dial(&self) -> lapin::Result<Connection> {
        let mut properties =
            ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        if let Some(credentials) = &self.credentials {
            properties = properties.with_auth_provider(credentials.clone());
        }
        let runtime = lapin::runtime::default_runtime()?;
        // The time limit is inside, because lapin dials on a thread of its own that nobody could stop.
        let dial = async move |uri: AMQPUri, runtime| match timeout(
            DIAL_MAX,
            uri.connect_with_config_async(TLSConfig::default(), &runtime),
        )
        .await
        {
            Ok(stream) => stream.map_err(lapin::Error::from),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        Connection::connector(self.uri.clone(), runtime, dial, properties).await
    }

    /// Dials without a word of AMQP.
    pub(super) async fn stream(&self) -> io::Result<impl AsyncRead + AsyncWrite + Unpin> {
        let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
        self.uri.connect_with_config_async(TLSConfig::default(), &runtime).await
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Credentials {
    username: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl AuthProvider for Credentials {
    fn mechanism(&self) -> ShortString {
        SASLMechanism::Plain.name().into()
    }

    fn auth_starter(&self) -> Result<LongString, String> {
        Ok(format!("\0{}\0{}", self.username, self.password).into())
    }
}

async fn supervise(dialer: Dialer, state: watch::Sender<State>, closing: CancellationToken) {
    let name = dialer.name.clone();
    let mut backoff = Backoff::default();
    let mut generation = 0;
    while let Some(attempt) = closing.run_until_cancelled(dialer.open()).await {
        let reason = match attempt {
            Ok(connection) => {
                generation += 1;
                tracing::info!(connection = name, generation, "connected to the broker");
                let opened = Instant::now();
                let reason = serve(connection, generation, &state, &closing).await;
                if opened.elapsed() >= STABLE_AFTER {
                    backoff.reset();
                }
                reason
            }
            Err(reason) => reason,
        };
        if closing.is_cancelled() {
            break;
        }
        let wait = backoff.wait();
        tracing::warn!(connection = name, reason, ?wait, "no connection to the broker");
        state.send_replace(State::Down(reason.into()));
        closing.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
    state.send_replace(State::Closed);
}

/// Offers the session until it ends and says why it did.
async fn serve(
    connection: Connection,
    generation: u64,
    state: &watch::Sender<State>,
    closing: &CancellationToken,
) -> String {
    let events = connection.events_listener();
    let session = Arc::new(Session { generation, connection });
    state.send_replace(State::Open(Arc::clone(&session)));
    let ended = closing.run_until_cancelled(ended(&session, events)).await;
    // Errors when it has ended already; a goodbye otherwise, which returns unsettled deliveries.
    let _closed = timeout(CLOSE_MAX, session.connection.close(200, "".into())).await;
    ended.unwrap_or_default()
}

async fn ended(session: &Session, events: impl Stream<Item = Event>) -> String {
    let mut events = std::pin::pin!(events);
    let mut reason = "the connection was lost".to_owned();
    let mut blocked = None;
    while session.is_open() {
        match timeout(POLL_INTERVAL, events.next()).await {
            // Errors of single channels come this way, too: then the connection is still open.
            Ok(Some(Event::Error(error))) => reason = error.to_string(),
            Ok(Some(Event::ConnectionBlocked(alarm))) => {
                tracing::warn!(alarm, "the broker takes no messages");
            }
            Ok(Some(Event::ConnectionUnblocked)) => {
                tracing::info!("the broker takes messages again");
            }
            Ok(None) => break,
            Ok(Some(_)) | Err(_) => {}
        }
        if session.is_blocked() {
            blocked.get_or_insert_with(tally::Blocked::new);
        } else {
            blocked = None;
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_is_dialed_holds_no_password() {
        let uri: AMQPUri = "amqp://user:hunter2@broker:5672/%2f".parse().expect("a legal URL");
        let topology = Arc::new(Topology::new("skein").expect("a legal name"));
        let dialer = Dialer::new(uri, "test".to_owned(), topology);
        assert!(!format!("{:?} {:?}", dialer.uri, dialer.credentials).contains("hunter2"));
        let credentials = dialer.credentials.expect("plain is the default");
        assert_eq!(credentials.auth_starter(), Ok("\0user\0hunter2".into()));
        assert_eq!(dialer.uri.query.heartbeat, Some(HEARTBEAT_SECONDS));
    }
}
