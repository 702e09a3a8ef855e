//! SQLite, the embedded store: one process, one file, nothing to install.
//!
//! It makes the same promise as the production store: what a call has reported is on the disk. So it
//! runs in WAL mode with `synchronous = FULL`, and the one writer task ([`writer`]) lets all that is
//! waiting share a flush. Reads go over a few read-only connections and never wait for the writer.
//!
//! A lock file beside the database keeps a second process off. Since the process that opens the store is
//! the only owner, nothing that it finds `running` has a worker any more: opening takes it all back,
//! without waiting for leases to run out.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{Admin, StoreError};
use crate::domain::run::CrashedAttempt;
use writer::{Message, Tx, Write};

mod accept;
mod claim;
mod commit;
mod effects;
mod finish;
mod joins;
mod keys;
mod leases;
mod log;
mod nodes;
mod reap;
mod recovery;
mod resolve;
mod rows;
mod runs;
mod successors;
mod workflows;
mod writer;
mod written;

#[cfg(test)]
mod tests;

/// How long a statement waits for a lock that somebody else's tool (a shell, a backup) holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a reader waits for a free connection before the store counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Read-only connections. Each is a thread; reads are short.
const READERS_MAX: u32 = 4;
/// Prepared statements that a connection keeps: more than there are in this module.
const STATEMENTS_MAX: usize = 256;
/// Bytes of the write-ahead log that are kept on the disk after a burst of writes.
const JOURNAL_BYTES_MAX: &str = "67108864";
/// Writes that may wait; submitting more than that waits.
const WAITING_MAX: usize = 1_024;
/// What a node may overrun its timeout by before the reaper takes it away from its worker. The
/// worker enforces the timeout itself; this is for one that is stuck.
const DEADLINE_GRACE: Duration = Duration::from_secs(15);
/// When a queued row is due for the sweeper, should its message get lost.
const FIRST_WAKE: Duration = Duration::from_secs(30);
/// The longest pause between two repeated hints.
const WAKE_MAX: Duration = Duration::from_secs(300);

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// The SQLite store. Clones share everything; [`Admin::close`] on one closes all.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: mpsc::Sender<Message>,
    readers: SqlitePool,
    tasks: TaskTracker,
    /// Attempts that were taken back when the store was opened, for the first callers of `reap`.
    crashed_earlier: Mutex<Vec<CrashedAttempt>>,
}

impl SqliteStore {
    /// Opens the database at `path_or_url` (a path, or a `sqlite:` URL) as its only owner, creates it and
    /// its directory if need be, and brings its schema to the version of this program.
    ///
    /// Work that another process left behind is taken back: attempts that were running count as
    /// crashed and are returned by the first calls of [`super::RecoveryStore::reap`], and whatever is
    /// runnable is due for the sweeper at once. A crash in the middle changes nothing that the next
    /// opening does not do again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the file cannot be opened or written, or another process owns
    /// it; [`StoreError::Corrupt`] when it is no database of ours or its schema is of a later version.
    pub async fn open(path_or_url: &str) -> Result<Self, StoreError> {
        let file = database_file(path_or_url)?;
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory).map_err(|error| unusable(directory, &error))?;
        }
        let lock = lock(&file)?;
        let mut connection = connect_writer(&file).await?;
        MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(migrate_error)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options(&file).read_only(true));

        let (writer, waiting) = mpsc::channel(WAITING_MAX);
        let tasks = TaskTracker::new();
        tasks.spawn(writer::drive(connection, waiting, lock));
        tasks.close();
        let crashed_earlier = Mutex::default();
        let store = Self { inner: Arc::new(Inner { writer, readers, tasks, crashed_earlier }) };

        let crashed = store.write(reap::Boot).await?;
        *store.crashed_earlier().lock().unwrap_or_else(PoisonError::into_inner) = crashed;
        Ok(store)
    }

    /// Has the writer do something and waits until it is durable.
    async fn write<W: Write>(&self, write: W) -> Result<W::Reply, StoreError> {
        writer::submit(&self.inner.writer, write).await
    }

    fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }

    fn crashed_earlier(&self) -> &Mutex<Vec<CrashedAttempt>> {
        &self.inner.crashed_earlier
    }
}

#[async_trait]
impl Admin for SqliteStore {
    /// Opening has done it already.
    async fn migrate(&self) -> Result<(), StoreError> {
        self.ping().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.write(Ping).await?;
        sqlx::query("SELECT 1").execute(self.readers()).await.map_err(store_error)?;
        Ok(())
    }

    /// What has been submitted is still written; then the lock is given up.
    async fn close(&self) {
        self.inner.readers.close().await;
        // An error means that the writer has ended already.
        drop(self.inner.writer.send(Message::Close).await);
        self.inner.tasks.wait().await;
    }
}

struct Ping;

#[async_trait]
impl Write for Ping {
    type Reply = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.execute(sqlx::query("SELECT 1")).await?;
        Ok(())
    }
}

/// The file that a path or a `sqlite:` URL names.
fn database_file(path_or_url: &str) -> Result<PathBuf, StoreError> {
    let refuse = |reason: &str| {
        StoreError::Unavailable(format!("{path_or_url:?} names no database: {reason}").into())
    };
    let file = if path_or_url.starts_with("sqlite:") {
        let options = SqliteConnectOptions::from_str(path_or_url)
            .map_err(|error| refuse(&error.to_string()))?;
        options.get_filename().to_path_buf()
    } else {
        PathBuf::from(path_or_url)
    };
    // What is accepted must outlive the process, and readers have connections of their own.
    if path_or_url.contains(":memory:") || path_or_url.contains("mode=memory") {
        return Err(refuse("a database in memory would not be durable"));
    }
    if file.file_name().is_none() {
        return Err(refuse("a file name is missing"));
    }
    Ok(file)
}

/// Takes the lock that makes this process the only owner, for as long as the returned file is open.
fn lock(database: &Path) -> Result<File, StoreError> {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| unusable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(
            format!(
                "another process owns the database {} (it holds {})",
                database.display(),
                path.display()
            )
            .into(),
        )),
        Err(TryLockError::Error(error)) => Err(unusable(&path, &error)),
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()).into())
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false)
        .statement_cache_capacity(STATEMENTS_MAX)
        // Statements are logged by whoever makes them, if at all: they carry payloads.
        .disable_statement_logging()
}

/// Opens the one connection that writes and makes sure that it keeps the promise of durability: not
/// every file system can do WAL, and SQLite falls back silently.
async fn connect_writer(file: &Path) -> Result<SqliteConnection, StoreError> {
    let mut connection = options(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", JOURNAL_BYTES_MAX)
        .connect()
        .await
        .map_err(store_error)?;
    let (journal, synchronous) = durability(&mut connection).await?;
    if journal != "wal" || synchronous != SYNCHRONOUS_FULL {
        return Err(StoreError::Unavailable(
            format!(
                "{} cannot be written durably: journal_mode is {journal}, synchronous is {synchronous}",
                file.display()
            )
            .into(),
        ));
    }
    Ok(connection)
}

/// What `PRAGMA synchronous` says for `FULL`.
const SYNCHRONOUS_FULL: i64 = 2;

async fn durability(connection: &mut SqliteConnection) -> Result<(String, i64), StoreError> {
    let journal = sqlx::query("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
    let synchronous =
        sqlx::query("PRAGMA synchronous").fetch_one(connection).await.map_err(store_error)?;
    Ok((journal.try_get(0).map_err(store_error)?, synchronous.try_get(0).map_err(store_error)?))
}

fn migrate_error(error: sqlx::migrate::MigrateError) -> StoreError {
    match error {
        sqlx::migrate::MigrateError::Execute(error) => store_error(error),
        other => StoreError::Corrupt(format!("migration failed: {other}")),
    }
}

/// Sorts an error of the driver by what can be done about it.
#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
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

/// Milliseconds of a duration, as the tables hold them.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
