//! PostgreSQL, the production store.
//!
//! Hot-path writes are single autocommit statements over `UNNEST` arrays. There is nothing to leave
//! open when a future is dropped, which matters with sqlx 0.9.0: a future that is dropped during
//! `BEGIN` returns its connection to the pool inside a transaction (launchbadge/sqlx#4393).
//!
//! Locks are taken in one order everywhere: nodes in key order, then runs in key order.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::{Admin, StoreError, schema};
use connections::Connections;

mod accept;
mod claim;
mod commit;
mod connections;
mod epochs;
mod keys;
mod leases;
pub mod listing;
mod nodelay;
mod recovery;
mod rows;
mod runs;
mod workflows;

/// A statement that takes longer is ended by the server: nothing here should take a tenth of it, and
/// a stuck lane would hold up everybody.
const STATEMENT_TIMEOUT: &str = "5s";
/// How long opening a connection for one errand may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What every connection is opened with.
pub const SESSION_OPTIONS: [(&str, &str); 5] = [
    ("statement_timeout", STATEMENT_TIMEOUT),
    ("idle_in_transaction_session_timeout", "10s"),
    // The statements are large and their arrays look alike to the planner: planning them
    // anew each time would cost more than running them.
    ("plan_cache_mode", "force_generic_plan"),
    // Such a plan may be made while a table is all but empty, and then read all of it for long
    // after it has grown. Every statement here has an index to go by.
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// The PostgreSQL store.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: Connections,
    options: PgConnectOptions,
}

impl PostgresStore {
    /// Prepares a pool; connects when first used, so that a process starts with the database down.
    ///
    /// # Errors
    /// [`StoreError::Setup`] when the URL is not one of PostgreSQL.
    pub fn connect(url: &str, connections_max: u32) -> Result<Self, StoreError> {
        let mut options = PgConnectOptions::from_str(url).map_err(|error| {
            StoreError::Setup(format!("the database's URL cannot be used: {}", root(&error)))
        })?;
        if options.get_application_name().is_none() {
            options = options.application_name("skein");
        }
        let options = options.options(SESSION_OPTIONS);
        let pool = Connections::new(options.clone(), connections_max);
        Ok(Self { pool, options })
    }
}

/// A connection of its own, and if there is none, the reason: the pool tries again until its time is up and
/// then says no more than that.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    match tokio::time::timeout(CONNECT_MAX, PgConnection::connect_with(options)).await {
        Ok(connected) => connected.map_err(store_error),
        Err(_) => Err(StoreError::Unavailable("the database does not answer".into())),
    }
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
        // An index on a table that has grown takes longer than any request may.
        let patient = self.options.clone().options([("statement_timeout", "0")]);
        let mut connection = connect(&patient).await?;
        let migrated = MIGRATIONS.run_direct(None, &mut connection, false).await;
        migrated.map_err(|error| schema::migrate_error(error, &MIGRATIONS, store_error))?;
        connection.close().await.map_err(store_error)?;
        epochs::note(&self.options).await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        let mut connection = connect(&self.options).await?;
        let known = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
        let found = match known.fetch_one(&mut connection).await.map_err(store_error)? {
            true => sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&mut connection)
                .await
                .map_err(store_error)?,
            false => None,
        };
        schema::check(found, &MIGRATIONS)?;
        connection.close().await.map_err(store_error)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map_err(store_error)?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close();
    }
}

/// What the server said, and its code for that. The driver would add a line number of the server's own source.
fn said(error: &dyn DatabaseError) -> String {
    match error.code() {
        Some(code) => format!("{} ({code})", error.message()),
        None => error.message().to_owned(),
    }
}

/// Sorts an error of the driver by what can be done about it.
fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // Data exceptions, violated constraints, exceeded limits (a key too long for its index, JSON
            // nested too deeply): somebody's value.
            Some(code) if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
                StoreError::Data(said(&**database).into())
            }
            // The server's bound on a statement, which has undone it.
            Some("57014") => StoreError::TooSlow(said(&**database).into()),
            // Serialization failures and deadlocks, lost connections, shutdown, no
            // resources, lock timeouts, a read-only replica; a password, role or database that is not
            // right (yet, or any more).
            Some(code)
                if ["40", "08", "57", "53", "55", "28", "3D"]
                    .iter()
                    .any(|class| code.starts_with(class))
                    || code == "25006" =>
            {
                StoreError::Unavailable(said(&**database).into())
            }
            _ => StoreError::Corrupt(said(&**database)),
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
