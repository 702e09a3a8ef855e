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
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::{Admin, StoreError};

mod accept;
mod claim;
mod commit;
mod keys;
mod leases;
mod recovery;
mod rows;
mod runs;
mod workflows;

/// A statement that takes longer is ended by the server: nothing here should take a tenth of it, and
/// a stuck lane would hold up everybody.
const STATEMENT_TIMEOUT: &str = "5s";
/// How long a caller waits for a free connection before the store counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// The PostgreSQL store.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Prepares a pool; connects when first used, so that a process starts with the database down.
    ///
    /// # Errors
    /// When the URL is not one of PostgreSQL.
    pub fn connect(url: &str, connections_max: u32) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| StoreError::Unavailable(error.into()))?
            .application_name("skein")
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("idle_in_transaction_session_timeout", "10s"),
                // The statements are large and their arrays look alike to the planner: planning them
                // anew each time would cost more than running them.
                ("plan_cache_mode", "force_generic_plan"),
                // Such a plan may be made while a table is all but empty, and then read all of it for long
                // after it has grown. Every statement here has an index to go by.
                ("enable_seqscan", "off"),
                ("jit", "off"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }
}

#[async_trait]
impl Admin for PostgresStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        MIGRATIONS.run(&self.pool).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => store_error(error),
            other => StoreError::Corrupt(format!("migration failed: {other}")),
        })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map_err(store_error)?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Sorts an error of the driver by what can be done about it.
fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // Data exceptions, violated constraints, exceeded limits (a key too long for its index, JSON
            // nested too deeply): somebody's value.
            Some(code) if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
                StoreError::Data(error.into())
            }
            // Serialization failures and deadlocks, lost connections, shutdown and statement timeout,
            // no resources, lock timeouts, a read-only replica.
            Some(code)
                if ["40", "08", "57", "53", "55"].iter().any(|class| code.starts_with(class))
                    || code == "25006" =>
            {
                StoreError::Unavailable(error.into())
            }
            _ => StoreError::Corrupt(database.to_string()),
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
