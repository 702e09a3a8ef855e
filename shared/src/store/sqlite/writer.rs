//! The one task that writes, on the one connection that may.
//!
//! Whatever waits when the task is free goes into one transaction, each request behind a savepoint of
//! its own: the flush to disk, which costs more than everything else together, is shared, and a request
//! that fails takes back only what it did itself. A caller learns of its outcome only after the commit.
//!
//! A caller that is dropped cannot leave a transaction open: it holds no part of one.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Connection, Sqlite};
use tokio::sync::{mpsc, oneshot};

use super::store_error;
use super::time::instant;
use crate::domain::event_logs::{EventLogSink, WrittenLog};
use crate::store::StoreError;

/// Requests in one transaction. Enough to share a flush among all batchers of a process, few enough that
/// nobody waits long for strangers.
const GROUP_MAX: usize = 32;

/// A step that happens as a whole or not at all. It owns what it writes, because its caller may be gone
/// by the time that it runs.
#[async_trait]
pub(super) trait Write: Send + Sync + 'static {
    /// What the caller learns.
    type Reply: Send + 'static;

    /// What it is called in spans and metrics: as the same step is on PostgreSQL.
    const NAME: &'static str;

    /// How many requests share it, where it is a step that serves many at a time.
    fn requests(&self) -> Option<usize> {
        None
    }

    /// Does it. Whatever was written before an error is taken back.
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError>;
}

/// The open transaction that a [`Write`] happens in.
pub(super) struct Tx<'c> {
    connection: &'c mut SqliteConnection,
    /// The time of the whole transaction, in microseconds since 1970.
    pub(super) now: i64,
    /// The rows of the log so far, if somebody is to be told.
    told: Option<Vec<WrittenLog>>,
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

impl Tx<'_> {
    /// The time of the whole transaction.
    pub(super) fn time(&self) -> Result<DateTime<Utc>, StoreError> {
        instant(self.now)
    }

    /// The time so much later, in microseconds since 1970.
    pub(super) fn after(&self, pause: Duration) -> i64 {
        self.now.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))
    }

    /// Runs a statement and returns how many rows it touched.
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let done = statement.execute(&mut *self.connection).await.map_err(store_error)?;
        Ok(done.rows_affected())
    }

    /// Runs a statement that inserts a row, and returns the id of that.
    pub(super) async fn insert(&mut self, statement: Statement<'_>) -> Result<i64, StoreError> {
        let done = statement.execute(&mut *self.connection).await.map_err(store_error)?;
        Ok(done.last_insert_rowid())
    }

    /// Keeps a row of the log until it is durable. It is made only if somebody is to be told.
    pub(super) fn tell(&mut self, row: impl FnOnce() -> WrittenLog) {
        if let Some(told) = &mut self.told {
            told.push(row());
        }
    }

    /// Runs a query.
    pub(super) async fn fetch_all(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        statement.fetch_all(&mut *self.connection).await.map_err(store_error)
    }

    /// Runs a query that finds one row at most.
    pub(super) async fn fetch_optional(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Option<SqliteRow>, StoreError> {
        statement.fetch_optional(&mut *self.connection).await.map_err(store_error)
    }
}

/// What the writer is sent.
pub(super) enum Message {
    /// Something to write.
    Write(Box<dyn Job>),
    /// Finish what is waiting, then end.
    Close,
}

/// A [`Write`] with its caller, whatever its reply is.
#[async_trait]
pub(super) trait Job: Send {
    /// Applies the write, keeps the outcome and says whether it is a good one.
    async fn run(&mut self, tx: &mut Tx<'_>) -> bool;

    /// Answers the caller: the outcome, or `failure` if the transaction failed around it.
    fn settle(self: Box<Self>, failure: Option<Arc<sqlx::Error>>);
}

struct Pending<W: Write> {
    write: W,
    outcome: Option<Result<W::Reply, StoreError>>,
    caller: oneshot::Sender<Result<W::Reply, StoreError>>,
}

#[async_trait]
impl<W: Write> Job for Pending<W> {
    async fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let outcome = self.write.apply(tx).await;
        self.outcome.insert(outcome).is_ok()
    }

    fn settle(self: Box<Self>, failure: Option<Arc<sqlx::Error>>) {
        let outcome = match (self.outcome, failure) {
            (Some(Err(error)), _) => Err(error),
            (_, Some(failure)) => Err(StoreError::Unavailable(failure.into())),
            (Some(reply), None) => reply,
            (None, None) => Err(StoreError::Unavailable("the write was not tried".into())),
        };
        // A caller that is gone does not want its reply any more.
        drop(self.caller.send(outcome));
    }
}

/// Sends a write and waits until it is durable. Dropping the future does not take the write back.
pub(super) async fn submit<W: Write>(
    writer: &mpsc::Sender<Message>,
    write: W,
) -> Result<W::Reply, StoreError> {
    let closed = || StoreError::Unavailable("the store is closed".into());
    let (caller, reply) = oneshot::channel();
    let job = Box::new(Pending { write, outcome: None, caller });
    writer.send(Message::Write(job)).await.map_err(|_| closed())?;
    reply.await.map_err(|_| closed())?
}

/// Writes until it is asked to close or nobody can send any more. `lock` keeps other processes off the
/// database for as long as this runs.
pub(super) async fn drive(
    mut connection: SqliteConnection,
    mut waiting: mpsc::Receiver<Message>,
    lock: File,
    event_logs: Option<Arc<dyn EventLogSink>>,
) {
    let mut messages = Vec::with_capacity(GROUP_MAX);
    while waiting.recv_many(&mut messages, GROUP_MAX).await > 0 {
        let mut jobs = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            match message {
                Message::Write(job) => jobs.push(job),
                Message::Close => waiting.close(),
            }
        }
        if !jobs.is_empty() {
            apply_group(&mut connection, jobs, event_logs.as_deref()).await;
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the database was not closed in good order");
    }
    drop(lock);
}

async fn apply_group(
    connection: &mut SqliteConnection,
    mut jobs: Vec<Box<dyn Job>>,
    event_logs: Option<&dyn EventLogSink>,
) {
    let mut told = event_logs.map(|_| Vec::new());
    let failure = match in_transaction(connection, &mut jobs, &mut told).await {
        Ok(()) => {
            if let (Some(event_logs), Some(told)) = (event_logs, told)
                && !told.is_empty()
            {
                event_logs.written(told);
            }
            None
        }
        Err(error) => {
            // Some errors (a full disk) have rolled back already; then there is nothing to roll back.
            drop(run(connection, "ROLLBACK").await);
            Some(Arc::new(error))
        }
    };
    for job in jobs {
        job.settle(failure.clone());
    }
}

async fn in_transaction(
    connection: &mut SqliteConnection,
    jobs: &mut [Box<dyn Job>],
    told: &mut Option<Vec<WrittenLog>>,
) -> Result<(), sqlx::Error> {
    run(connection, "BEGIN IMMEDIATE").await?;
    let now = Utc::now().timestamp_micros();
    for job in &mut *jobs {
        run(connection, "SAVEPOINT request").await?;
        let so_far = told.as_ref().map(Vec::len);
        let mut tx = Tx { connection: &mut *connection, now, told: told.take() };
        let is_good = job.run(&mut tx).await;
        *told = tx.told;
        if !is_good {
            run(connection, "ROLLBACK TO request").await?;
            if let (Some(told), Some(so_far)) = (&mut *told, so_far) {
                told.truncate(so_far);
            }
        }
        run(connection, "RELEASE request").await?;
    }
    run(connection, "COMMIT").await
}

async fn run(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(connection).await.map(drop)
}
