//! SQLite, the embedded store: one process, one file, nothing to install.
//!
//! It makes the same promise as the production store: what a call has reported is on the disk. So it
//! runs in WAL mode with `synchronous = FULL`, and the one writer task (`writer`) lets all that is
//! waiting share a flush. Reads go over a few read-only connections and never wait for the writer.
//!
//! A lock file beside the database keeps a second process off. Since the process that opens the store is
//! the only owner, nothing that it finds `running` has a worker any more: opening takes it all back,
//! without waiting for leases to run out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::sqlite::SqlitePool;
use tokio::sync::{OnceCell, mpsc};
use tokio_util::task::TaskTracker;

use super::{Admin, StoreError, migrations, schema};
use crate::domain::event_logs::EventLogSink;
use crate::domain::ids::{LeaseId, RunId};
use crate::domain::run::AbandonedAttempt;
use crate::telemetry::{Database, DatabaseError, Statement};
use reading::{Named, Readers};
use writer::{Message, Tx, Write};

mod accept;
mod analysis;
mod attempts;
mod claim;
mod commit;
mod effects;
mod engine;
mod finish;
mod fleet;
mod flipped;
mod joins;
mod keys;
mod leases;
mod listing;
mod log;
mod monitoring;
mod no_worker;
mod nodes;
mod opening;
mod publishing;
mod reading;
mod reap;
mod recovery;
mod resolve;
mod rows;
mod runs;
mod segments;
mod spending;
mod step_rows;
mod steps;
mod successors;
mod time;
mod totals;
mod traces;
mod workflows;
mod writer;

#[cfg(test)]
mod tests;

/// Writes that may wait; submitting more than that waits.
const WAITING_MAX: usize = 1_024;

/// The SQLite store. Clones share everything; [`Admin::close`] on one closes all.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: mpsc::Sender<Message>,
    /// What telemetry knows it by.
    database: Database,
    readers: Arc<Readers>,
    listings: Arc<Readers>,
    analyses: Arc<Readers>,
    tasks: TaskTracker,
    /// Set once what an earlier process left behind has been taken back.
    resumed: OnceCell<()>,
    /// Attempts that were taken back then, for the first callers of `reap`.
    crashed_earlier: Mutex<Vec<AbandonedAttempt>>,
    /// When each lease of this process was last heard of, and how long it lives without.
    heard: Mutex<HashMap<LeaseId, (Instant, Duration)>>,
}

impl SqliteStore {
    /// Opens the database at `path_or_url` (a path, or a `sqlite:` URL) as its only owner, creates it and
    /// its directory if need be, for this user only, and brings its schema to the version of this program.
    ///
    /// Work that another process left behind is taken back when the first lease is opened, so that a program which
    /// only reads leaves it to one that goes on with it: attempts that were running count as crashed and are
    /// returned by the first calls of [`super::RecoveryStore::reap`], and whatever is runnable is due for the
    /// sweeper at once. A crash in the middle changes nothing that is not done again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the file cannot be opened or written, is a link or another user's, or
    /// another process owns it; [`StoreError::Corrupt`] when it is no database of Skein's; [`StoreError::Setup`] when
    /// its schema is of a later version.
    pub async fn open(path_or_url: &str) -> Result<Self, StoreError> {
        Self::open_telling(path_or_url, None).await
    }

    /// [`Self::open`], for a store that tells of the rows that it writes to the log.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_telling(
        path_or_url: &str,
        event_logs: Option<Arc<dyn EventLogSink>>,
    ) -> Result<Self, StoreError> {
        let file = opening::database_file(path_or_url)?;
        let lock = opening::lock(&file)?;
        opening::shut_others_out(&file)?;
        let mut connection = opening::connect_writer(&file).await?;
        migrations::SQLITE
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|error| schema::migrate_error(error, &migrations::SQLITE, store_error))?;
        let database = Database::new("sqlite", &reading::file_name(&file), None);
        let readers = Readers::of(&file, "readers", opening::READERS_MAX);
        let listings = Readers::of(&file, "listings", opening::LISTINGS_MAX);
        let analyses = Readers::of(&file, "analyses", opening::ANALYSES_MAX);

        let (writer, waiting) = mpsc::channel(WAITING_MAX);
        let tasks = TaskTracker::new();
        tasks.spawn(writer::drive(connection, waiting, lock, event_logs));
        tasks.close();
        let crashed_earlier = Mutex::default();
        let resumed = OnceCell::new();
        let heard = Mutex::default();
        Ok(Self {
            inner: Arc::new(Inner {
                writer,
                database,
                readers,
                listings,
                analyses,
                tasks,
                resumed,
                crashed_earlier,
                heard,
            }),
        })
    }

    /// Takes back what an earlier process left behind, once.
    async fn resume(&self) -> Result<(), StoreError> {
        let resume = async || {
            let crashed = self.write(reap::Boot).await?;
            *self.crashed_earlier().lock().unwrap_or_else(PoisonError::into_inner) = crashed;
            Ok(())
        };
        self.inner.resumed.get_or_try_init(resume).await.map(drop)
    }

    /// Has the writer do something and waits until it is durable.
    async fn write<W: Write>(&self, write: W) -> Result<W::Reply, StoreError> {
        let statement = Statement { name: W::NAME, requests: write.requests() };
        self.watch(statement, writer::submit(&self.inner.writer, write)).await
    }

    /// Has telemetry take several statements for the one of this name.
    async fn watch<T>(
        &self,
        statement: Statement,
        statements: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let running = self.inner.database.begin(statement);
        let outcome = statements.await;
        let failed = |error: &StoreError| DatabaseError { word: error.reason(), is_code: false };
        running.end(outcome.as_ref().map(|_| ()).map_err(failed));
        outcome
    }

    fn readers(&self) -> &SqlitePool {
        self.inner.readers.pool()
    }

    /// The connections of requests that read.
    fn listings(&self) -> &SqlitePool {
        self.inner.listings.pool()
    }

    /// What reads, for the statement of this name.
    fn reading(&self, name: &'static str) -> Named<'_> {
        self.named(self.readers(), name)
    }

    /// What requests read over, for the statement of this name.
    fn listing(&self, name: &'static str) -> Named<'_> {
        self.named(self.listings(), name)
    }

    fn named<'a>(&'a self, pool: &'a SqlitePool, name: &'static str) -> Named<'a> {
        Named { pool, database: &self.inner.database, statement: Statement::named(name) }
    }

    /// What looks back at much reads over, for the statement of this name.
    fn analysis(&self, name: &'static str) -> Named<'_> {
        self.named(self.inner.analyses.pool(), name)
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<LeaseId, (Instant, Duration)>> {
        self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn crashed_earlier(&self) -> &Mutex<Vec<AbandonedAttempt>> {
        &self.inner.crashed_earlier
    }
}

#[async_trait]
impl Admin for SqliteStore {
    /// Opening has done it already.
    async fn migrate(&self) -> Result<(), StoreError> {
        self.ping().await
    }

    /// Opening has seen to it.
    async fn check_schema(&self) -> Result<(), StoreError> {
        self.ping().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.write(Ping).await?;
        sqlx::query("SELECT 1").execute(self.readers()).await.map_err(store_error)?;
        Ok(())
    }

    async fn make_due(&self, runs: &[RunId]) -> Result<u64, StoreError> {
        self.write(recovery::MakeDue(runs.to_vec())).await
    }

    /// What has been submitted is still written; then the lock is given up.
    async fn close(&self) {
        self.readers().close().await;
        self.listings().close().await;
        self.inner.analyses.pool().close().await;
        // An error means that the writer has ended already.
        drop(self.inner.writer.send(Message::Close).await);
        self.inner.tasks.wait().await;
    }
}

struct Ping;

#[async_trait]
impl Write for Ping {
    type Reply = ();
    const NAME: &'static str = "ping";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.execute(sqlx::query("SELECT 1")).await?;
        Ok(())
    }
}

/// Sorts an error of the driver by what can be done about it.
fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<u32>().ok());
            // The low byte of an extended code is the primary one: https://sqlite.org/rescode.html
            match code.map(|code| code & 0xff) {
                // TOOBIG, CONSTRAINT, MISMATCH: somebody's value.
                Some(18..=20) => StoreError::Data(error.into()),
                // PERM, ABORT, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
                Some(3..=10 | 13..=15) => StoreError::Unavailable(error.into()),
                _ => StoreError::Corrupt(database.to_string()),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.into()),
        _ => StoreError::Corrupt(error.to_string()),
    }
}
