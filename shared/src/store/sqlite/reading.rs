//! The connections that read, and what telemetry is told of them.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::sqlite::{SqlitePool, SqliteQueryResult, SqliteRow, SqliteStatement, SqliteTypeInfo};
use sqlx::{Either, Error, Execute, Executor, SqlStr, Sqlite};

use super::opening;
use crate::store::reason;
use crate::telemetry::metrics::{ObservedPool, PoolState, observe_pool};
use crate::telemetry::{Database, Statement};

/// Some connections that read.
#[derive(Debug)]
pub(super) struct Readers {
    name: String,
    pool: SqlitePool,
}

impl Readers {
    /// Up to `most` connections to a file, made when they are first needed; `what` is what they are for.
    pub(super) fn of(file: &Path, what: &str, most: u32) -> Arc<Self> {
        let name = format!("{}/{what}", file_name(file));
        let readers = Arc::new(Self { name, pool: opening::readers(file, most) });
        observe_pool(&(Arc::clone(&readers) as Arc<dyn ObservedPool>));
        readers
    }

    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }
}

impl ObservedPool for Readers {
    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> PoolState {
        let (open, idle) = (self.pool.size() as usize, self.pool.num_idle());
        PoolState {
            used: open.saturating_sub(idle),
            idle,
            max: self.pool.options().get_max_connections() as usize,
            // The driver does not say.
            pending: None,
            timeouts: None,
        }
    }
}

/// What a database is called: its path is nobody's business.
pub(super) fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Connections, for one statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) pool: &'a SqlitePool,
    pub(super) database: &'a Database,
    pub(super) statement: Statement,
}

type Item = Either<SqliteQueryResult, SqliteRow>;

impl Named<'_> {
    async fn run<'q>(self, query: impl Execute<'q, Sqlite> + 'q) -> Result<Vec<Item>, Error> {
        let running = self.database.begin(self.statement);
        let result = self.pool.fetch_many(query).try_collect().await;
        running.end(result.as_ref().map(|_: &Vec<Item>| ()).map_err(reason::of_statement));
        result
    }
}

/// Results are collected before any of them is handed on: what is asked here has few rows.
impl<'c> Executor<'c> for Named<'c> {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Item, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let items = async move {
            let items = self.run(query).await?;
            Ok::<_, Error>(stream::iter(items.into_iter().map(Ok)))
        };
        stream::once(items).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<SqliteRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        Box::pin(async move { Ok(self.run(query).await?.into_iter().find_map(Either::right)) })
    }

    fn prepare_with<'e>(
        self,
        _: SqlStr,
        _: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement, Error>>
    where
        'c: 'e,
    {
        // A statement belongs to one connection, and nobody here keeps one.
        Box::pin(async {
            Err(Error::Protocol("statements are prepared when they are run".to_owned()))
        })
    }
}
