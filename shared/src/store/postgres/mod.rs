//! PostgreSQL, the production store.
//!
//! Hot-path writes are single autocommit statements over `UNNEST` arrays. There is nothing to leave
//! open when a future is dropped, which matters with sqlx 0.9.0: a future that is dropped during
//! `BEGIN` returns its connection to the pool inside a transaction (launchbadge/sqlx#4393).
//!
//! Locks are taken in one order everywhere: nodes in key order, then runs in key order. What sweeps and finishes waits for
//! no lock: it leaves what somebody holds for the next time, and so needs no order.

use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::reason::Said;
use super::{Admin, StoreError, migrations, schema};
use crate::domain::event_logs::EventLogSink;
use crate::domain::ids::RunId;
use connections::Connections;
use session::{Purpose, connect};

mod abandoned;
mod accept;
pub mod analysis;
mod claim;
mod commit;
mod commit_rows;
mod connections;
mod encode;
mod engine;
mod epochs;
mod event_logs;
mod fleet;
pub mod inspect;
mod keys;
mod leases;
pub mod listing;
mod migrate;
mod monitoring;
mod nodelay;
mod pooling;
mod rates;
mod recovery;
mod resolve;
mod rows;
mod runs;
mod session;
pub mod spending;
mod statement;
mod step_rows;
mod steps;
mod traces;
mod workflows;

/// A statement that takes longer is ended by the server: nothing here should take a tenth of it, and
/// a stuck batcher would hold up everybody.
const STATEMENT_TIMEOUT: &str = "5s";
/// A statement that waits longer for a lock is ended by the server. Those of other processes let go of theirs within
/// milliseconds, or after a stall of the disk; whoever does not is about something else, and a batcher splits what
/// needs it.
const LOCK_TIMEOUT: &str = "1s";

/// The same for a statement that looks back at much, of which each reads a part: one that takes longer meets a server
/// that has no time for this.
const ANALYSIS_TIMEOUT: &str = "3s";
/// Connections of those: as many as there are such questions at a time in a process.
pub const ANALYSIS_CONNECTIONS_MAX: u32 = 2;

/// What every session is set to.
pub const SESSION_OPTIONS: [(&str, &str); 6] = [
    ("statement_timeout", STATEMENT_TIMEOUT),
    ("lock_timeout", LOCK_TIMEOUT),
    ("idle_in_transaction_session_timeout", "10s"),
    // The statements are large and their arrays look alike to the planner: planning them
    // anew each time would cost more than running them.
    ("plan_cache_mode", "force_generic_plan"),
    // Such a plan may be made while a table is all but empty, and then read all of it for long
    // after it has grown. Every statement here has an index to go by.
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

/// The PostgreSQL store.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: Connections,
    /// The same ones for what requests read, which may have a part of them at most.
    reads: Connections,
    /// Others, for what looks back at much; none until then.
    analysis: Connections,
    options: PgConnectOptions,
    /// Who is told of the rows that are written to the log.
    event_logs: Option<Arc<dyn EventLogSink>>,
}

impl PostgresStore {
    /// Prepares a pool; connects when first used, so that a process starts with the database down.
    ///
    /// # Errors
    /// [`StoreError::Setup`] when the URL is not one of PostgreSQL.
    pub fn connect(url: &str, connections_max: u32) -> Result<Self, StoreError> {
        let options = options(url)?;
        let pool = Connections::new(&options, Purpose::Work, connections_max);
        let reads = pool.for_reads();
        let analysis = Connections::new(&options, Purpose::Analysis, ANALYSIS_CONNECTIONS_MAX);
        Ok(Self { pool, reads, analysis, options, event_logs: None })
    }
}

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let mut options = PgConnectOptions::from_str(url).map_err(|error| {
        StoreError::Setup(format!("the database's URL cannot be used: {}", root(&error)))
    })?;
    if options.get_application_name().is_none() {
        options = options.application_name("skein");
    }
    // The driver's default; poolers refuse to hear of it at the start.
    Ok(options.extra_float_digits(None))
}

/// Whether the schema of the database is this program's.
async fn check_schema(session: &mut PgConnection) -> Result<(), StoreError> {
    let known = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
    let found = match known.fetch_one(&mut *session).await.map_err(store_error)? {
        true => sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(session)
            .await
            .map_err(store_error)?,
        false => None,
    };
    schema::check(found, &migrations::POSTGRES)
}

/// The innermost cause: the outer ones say the same in general terms.
fn root(error: &sqlx::Error) -> &dyn std::error::Error {
    std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
        .last()
        .unwrap_or(error)
}

#[async_trait]
impl Admin for PostgresStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        let mut session = connect(&self.options).await?;
        pooling::check(&self.options, &mut session).await?;
        migrate::check_encoding(&mut session).await?;
        let migrated = migrate::run(&mut session, &migrations::POSTGRES).await;
        migrated.map_err(|error| {
            let denied = migrate::denied(&error);
            denied
                .unwrap_or_else(|| schema::migrate_error(error, &migrations::POSTGRES, store_error))
        })?;
        session.close().await.map_err(store_error)?;
        epochs::note(&self.options).await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        let mut session = connect(&self.options).await?;
        pooling::check(&self.options, &mut session).await?;
        check_schema(&mut session).await?;
        session.close().await.map_err(store_error)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.pool.check().await.map_err(store_error)
    }

    async fn make_due(&self, runs: &[RunId]) -> Result<u64, StoreError> {
        let due = sqlx::query(
            "WITH locked AS MATERIALIZED (
                 SELECT run_id, node_key, scope FROM node_runs
                 WHERE run_id = ANY($1) AND wake_at > now() AND state IN ('queued', 'retry', 'waiting', 'skipping')
                 ORDER BY run_id, node_key, scope
                 FOR UPDATE
             )
             UPDATE node_runs n SET wake_at = now()
             FROM locked l
             WHERE n.run_id = l.run_id AND n.node_key = l.node_key AND n.scope = l.scope",
        )
        .bind(runs.iter().map(|run| run.0).collect::<Vec<_>>())
        .execute(self.pool.named("make_due"))
        .await
        .map_err(store_error)?;
        Ok(due.rows_affected())
    }

    async fn close(&self) {
        self.pool.close();
        self.analysis.close();
    }
}

/// What the server said. The driver would add a line number of the server's own source.
fn said(error: &dyn DatabaseError) -> Said {
    let code = error.code().map(std::borrow::Cow::into_owned);
    Said { message: error.message().to_owned(), code }
}

/// Sorts an error of the driver by what can be done about it.
fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // Data exceptions, violated constraints, exceeded limits (a key too long for its index, JSON
            // nested too deeply): somebody's value.
            Some(code) if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
                StoreError::Data(Box::new(said(&**database)))
            }
            // The server's bound on a statement, which has undone it.
            Some("57014") => StoreError::TooSlow(Box::new(said(&**database))),
            // Its bound on the wait for a lock.
            Some("55P03") => StoreError::Locked(Box::new(said(&**database))),
            // Serialization failures and deadlocks, lost connections, shutdown, no
            // resources, a read-only server or another state that a session must not be in; a password,
            // role or database that is not right (yet, or any more); prepared statements that are another
            // session's, are gone, or no longer fit the schema. What ails a session is over with it.
            Some(code)
                if ["40", "08", "57", "53", "55", "25", "28", "3D", "42P05", "26", "0A"]
                    .iter()
                    .any(|class| code.starts_with(class)) =>
            {
                StoreError::Unavailable(Box::new(said(&**database)))
            }
            _ => StoreError::Corrupt(said(&**database).to_string()),
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.into()),
        _ => StoreError::Corrupt(error.to_string()),
    }
}
