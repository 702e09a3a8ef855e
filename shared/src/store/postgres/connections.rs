//! The connections to PostgreSQL: a pool in which no wait is without an end.
//!
//! A database that goes away without a word (a failover, a rescheduled pod, a firewall that forgets) leaves
//! connections that look alive and never answer. The server's own bound on a statement is of no use then, so
//! every statement has one here as well. A connection whose statement did not come to its end, because time was
//! up or because its caller was dropped, is closed: nobody knows what it would answer next. So is one whose answer
//! says that the session, and not the statement, is the trouble; and with one that takes no writes any more, all that
//! are as old: they lead to a server that was demoted.
//!
//! What requests read goes over a part of the connections. Writes can have all of them, so that no number of readers
//! keeps a run from being accepted or a node from being completed.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{
    self, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts,
};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::postgres::{
    PgConnectOptions, PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo,
};
use sqlx::{Either, Error, Execute, Executor, Postgres, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::session::Purpose;
use super::{nodelay, session};
use crate::store::reason;
use crate::telemetry::metrics::{ObservedPool, PoolState, observe_pool};
use crate::telemetry::{Database, Statement};

/// How long a caller waits for a connection before the store counts as unavailable.
const ACQUIRE_MAX: Duration = Duration::from_secs(5);
/// How long the answer to a statement may take. The server gives a statement 5 s, so what takes longer will
/// not come.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// How long the answer to a mere question may take.
const PING_MAX: Duration = Duration::from_secs(2);
/// A connection that has rested for longer is asked whether it is still of use before it is used.
const REST_MAX: Duration = Duration::from_secs(1);
/// A connection that nobody has needed for that long is closed.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// The age at which a connection is replaced: the server's process behind it only grows.
const AGE_MAX: Duration = Duration::from_secs(1_800);

/// Connections, opened when they are first needed.
#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool<Connector>,
    /// How many of them may be in use at a time, where that is not all.
    share: Option<Arc<Semaphore>>,
    observed: Arc<Observed>,
}

/// What telemetry is told of them.
struct Observed {
    database: Database,
    name: String,
    pool: Pool<Connector>,
    pending: AtomicUsize,
    timeouts: AtomicU64,
}

impl Observed {
    fn new(options: &PgConnectOptions, purpose: Purpose, pool: Pool<Connector>) -> Arc<Self> {
        let namespace = options.get_database().unwrap_or_else(|| options.get_username());
        let (host, port) = match options.get_socket() {
            Some(_) => ("localhost", options.get_port()),
            None => (options.get_host(), options.get_port()),
        };
        let name = match purpose {
            Purpose::Work => format!("{host}:{port}/{namespace}"),
            Purpose::Analysis => format!("{host}:{port}/{namespace}/analysis"),
        };
        let database = Database::new("postgresql", namespace, Some((host, port)));
        let (pending, timeouts) = Default::default();
        let observed = Arc::new(Self { database, name, pool, pending, timeouts });
        observe_pool(&(Arc::clone(&observed) as Arc<dyn ObservedPool>));
        observed
    }
}

impl ObservedPool for Observed {
    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> PoolState {
        let status = self.pool.status();
        PoolState {
            used: status.size.saturating_sub(status.available),
            idle: status.available,
            max: status.max_size,
            pending: Some(self.pending.load(Ordering::Relaxed)),
            timeouts: Some(self.timeouts.load(Ordering::Relaxed)),
        }
    }
}

/// One who waits for a connection.
struct Pending<'a>(&'a AtomicUsize);

impl<'a> Pending<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections, for one statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    connections: &'a Connections,
    statement: Statement,
}

/// Opens connections.
struct Connector {
    options: PgConnectOptions,
    purpose: Purpose,
    /// What was opened before this is not used any more.
    distrusted: Mutex<Option<Instant>>,
}

impl Connector {
    fn distrusts(&self, opened: Instant) -> bool {
        let since = *self.distrusted.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| opened <= since)
    }
}

impl managed::Manager for Connector {
    type Type = PgConnection;
    type Error = Error;

    async fn create(&self) -> Result<PgConnection, Error> {
        let connection = session::open_for(&self.options, self.purpose).await?;
        if let Err(error) = nodelay::set(self.options.get_port()) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set on the connections to the database");
        }
        Ok(connection)
    }

    async fn recycle(&self, connection: &mut PgConnection, used: &Metrics) -> RecycleResult<Error> {
        if used.age() > AGE_MAX || self.distrusts(used.created) {
            return Err(RecycleError::message("it is old"));
        }
        if used.last_used() > REST_MAX {
            session::check(connection, self.purpose).await?;
        }
        Ok(())
    }
}

impl Connections {
    /// Up to `most` connections; none yet.
    pub(super) fn new(options: &PgConnectOptions, purpose: Purpose, most: u32) -> Self {
        let timeouts = Timeouts {
            wait: Some(ACQUIRE_MAX),
            create: Some(ACQUIRE_MAX),
            recycle: Some(PING_MAX),
        };
        let connector =
            Connector { options: options.clone(), purpose, distrusted: Mutex::default() };
        let pool = Pool::builder(connector)
            .max_size(most as usize)
            .queue_mode(QueueMode::Lifo)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("only a pool without a runtime cannot be built");
        let observed = Observed::new(options, purpose, pool.clone());
        Self { pool, share: None, observed }
    }

    /// For the statement of this name, which is the one of its file, where it has one.
    pub(super) fn named(&self, name: &'static str) -> Named<'_> {
        Named { connections: self, statement: Statement::named(name) }
    }

    /// The same, for one that serves so many requests at a time.
    pub(super) fn serving(&self, requests: usize, name: &'static str) -> Named<'_> {
        Named { connections: self, statement: Statement::named(name).serving(requests) }
    }

    /// The same connections for reads, which may have half of them at a time. Of a single one, reads get it too.
    pub(super) fn for_reads(&self) -> Self {
        let most = (self.pool.status().max_size / 2).max(1);
        Self { share: Some(Arc::new(Semaphore::new(most))), ..self.clone() }
    }

    /// Closes them; whoever asks for one after this gets none.
    pub(super) fn close(&self) {
        self.pool.close();
    }

    async fn acquire(&self) -> Result<Lent, Error> {
        let _pending = Pending::begin(&self.observed.pending);
        let waited = tokio::time::timeout(ACQUIRE_MAX, async {
            let permit = match &self.share {
                // Nobody closes it.
                Some(share) => Arc::clone(share).acquire_owned().await.ok(),
                None => None,
            };
            Ok((self.pool.get().await?, permit))
        });
        let (connection, permit) = match waited.await {
            Ok(Ok(acquired)) => acquired,
            Ok(Err(PoolError::Backend(error))) => return Err(error),
            Ok(Err(PoolError::Closed)) => return Err(Error::PoolClosed),
            Ok(Err(_)) | Err(_) => {
                self.observed.timeouts.fetch_add(1, Ordering::Relaxed);
                return Err(Error::PoolTimedOut);
            }
        };
        if self.pool.status().available > 0 {
            self.pool.retain(|_, used| used.last_used() < IDLE_MAX);
        }
        Ok(Lent { connection: Some(connection), _permit: permit })
    }

    /// Whether a connection is to be had that can be written over.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let mut lent = self.acquire().await?;
        let checked = {
            let Some(connection) = &mut lent.connection else { return Err(Error::PoolClosed) };
            let checked = session::check(connection, self.pool.manager().purpose);
            tokio::time::timeout(ANSWER_MAX, checked).await
        };
        let result = checked.unwrap_or_else(|_| Err(silent()));
        match &result {
            Ok(()) => lent.give_back(),
            Err(_) => self.distrust(),
        }
        result
    }

    /// Closes what is open by now: at once what rests, and the rest when it is given back.
    fn distrust(&self) {
        let distrusted = &self.pool.manager().distrusted;
        *distrusted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.pool.retain(|_, _| false);
    }

    /// Runs a query to its end.
    async fn run<'q>(
        &self,
        statement: Statement,
        query: impl Execute<'q, Postgres> + 'q,
    ) -> Result<Vec<Item>, Error> {
        let running = self.observed.database.begin(statement);
        let result = self.answer(query).await;
        running.end(result.as_ref().map(|_| ()).map_err(reason::of_statement));
        result
    }

    async fn answer<'q>(&self, query: impl Execute<'q, Postgres> + 'q) -> Result<Vec<Item>, Error> {
        let mut lent = self.acquire().await?;
        let answered = {
            let Some(connection) = &mut lent.connection else { return Err(Error::PoolClosed) };
            let items = (&mut **connection).fetch_many(query).try_collect();
            tokio::time::timeout(ANSWER_MAX, items).await
        };
        let result = answered.unwrap_or_else(|_| Err(silent()));
        match &result {
            Err(error) if !leaves_it_usable(error) => {
                if takes_no_writes(error) {
                    self.distrust();
                }
            }
            _ => lent.give_back(),
        }
        result
    }
}

type Item = Either<PgQueryResult, PgRow>;

fn silent() -> Error {
    let seconds = ANSWER_MAX.as_secs();
    let message = format!("the database did not answer within {seconds} s");
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, message))
}

/// Whether the connection can be used after this error: the server found fault with the statement, its values or its
/// time, and with nothing that the next statement would meet as well.
fn leaves_it_usable(error: &Error) -> bool {
    // Values, constraints, conflicts, exceeded limits, locks that were not to be had, and the bound on a statement.
    const OF_THE_STATEMENT: [&str; 6] = ["22", "23", "40", "54", "55", "57014"];
    match error {
        Error::Database(error) => error
            .code()
            .is_some_and(|code| OF_THE_STATEMENT.iter().any(|class| code.starts_with(class))),
        Error::RowNotFound | Error::ColumnNotFound(_) | Error::ColumnDecode { .. } => true,
        _ => false,
    }
}

/// Whether the server is a standby, or was demoted.
fn takes_no_writes(error: &Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("25006"))
}

/// A connection in use. Closed when dropped, unless it was given back.
struct Lent {
    connection: Option<Object<Connector>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lent {
    fn give_back(mut self) {
        self.connection = None;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Object::take(connection));
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("pool", &self.pool.status()).finish()
    }
}

/// Each query takes a connection for itself. Results are collected before any of them is handed on: what is asked
/// here has few rows, and a reader that stops half-way holds no connection.
impl<'c> Executor<'c> for Named<'c> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Item, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let items = async move {
            let items = self.connections.run(self.statement, query).await?;
            Ok::<_, Error>(stream::iter(items.into_iter().map(Ok)))
        };
        stream::once(items).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let items = self.connections.run(self.statement, query).await?;
            Ok(items.into_iter().find_map(Either::right))
        })
    }

    fn prepare_with<'e>(
        self,
        _: SqlStr,
        _: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        // A statement belongs to one connection, and nobody here keeps one.
        Box::pin(async {
            Err(Error::Protocol("statements are prepared when they are run".to_owned()))
        })
    }
}
