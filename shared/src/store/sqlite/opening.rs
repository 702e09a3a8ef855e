//! Opening the file: where it is, who owns it, and the connections to it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row};

use super::store_error;
use crate::private::{self, PrivateError};
use crate::store::StoreError;

/// How long a statement waits for a lock that somebody else's tool (a shell, a backup) holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a reader waits for a free connection before the store counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Read-only connections of the engine, and of what is looked up on the way to a write. Each is a thread; reads are
/// short.
pub(super) const READERS_MAX: u32 = 4;
/// And those of requests that read, so that no number of them is in the way of the others.
pub(super) const LISTINGS_MAX: u32 = 2;
/// And those of what looks back at much, a part at a time.
pub(super) const ANALYSES_MAX: u32 = 1;
/// Prepared statements that a connection keeps: more than there are in this module.
const STATEMENTS_MAX: usize = 256;
/// Bytes of the write-ahead log that are kept on the disk after a burst of writes.
const JOURNAL_BYTES_MAX: &str = "67108864";
/// What `PRAGMA synchronous` says for `FULL`.
const SYNCHRONOUS_FULL: i64 = 2;

/// The file that a path or a `sqlite:` URL names.
pub(super) fn database_file(path_or_url: &str) -> Result<PathBuf, StoreError> {
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

/// What SQLite keeps beside a database, by the endings of the names.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Creates the directory and takes the lock that makes this process the only owner, for as long as the
/// returned file is open.
pub(super) fn lock(database: &Path) -> Result<File, StoreError> {
    let path = beside(database, ".lock");
    let file = private::file_or_new(&path).map_err(|error| unusable(&error))?;
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
        Err(TryLockError::Error(source)) => Err(unusable(&PrivateError::Io { path, source })),
    }
}

/// Makes sure that the database and what belongs to it is this user's alone, and that none of it is a link: through a
/// second name another process would be kept off by another lock. To be called under the lock, and before SQLite has
/// any of it open, whose locks go when a file is closed.
pub(super) fn shut_others_out(database: &Path) -> Result<(), StoreError> {
    // SQLite would make it for everybody to read, and what it makes beside it goes by its mode.
    private::file_or_new(database).map_err(|error| unusable(&error))?;
    for ending in BESIDE {
        private::file(&beside(database, ending)).map_err(|error| unusable(&error))?;
    }
    Ok(())
}

fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Without the name of the file the reason would be of little use, and sources are not always shown.
fn unusable(error: &PrivateError) -> StoreError {
    let reason = match error {
        PrivateError::Io { path, source } => format!("{}: {source}", path.display()),
        other => other.to_string(),
    };
    StoreError::Unavailable(reason.into())
}

pub(super) fn options(file: &Path) -> SqliteConnectOptions {
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
pub(super) async fn connect_writer(file: &Path) -> Result<SqliteConnection, StoreError> {
    let mut connection = options(file)
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

pub(super) async fn durability(
    connection: &mut SqliteConnection,
) -> Result<(String, i64), StoreError> {
    let journal = sqlx::query("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
    let synchronous =
        sqlx::query("PRAGMA synchronous").fetch_one(connection).await.map_err(store_error)?;
    Ok((journal.try_get(0).map_err(store_error)?, synchronous.try_get(0).map_err(store_error)?))
}

/// A few connections that read, made when they are first needed.
pub(super) fn readers(file: &Path, most: u32) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(most)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options(file).read_only(true))
}
