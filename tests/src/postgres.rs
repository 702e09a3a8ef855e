//! A database of its own for each test, on the server that `DATABASE_URL` names.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result};
use skein_shared::store::postgres::PostgresStore;
use skein_shared::store::{Admin, Store};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

/// Where the server is when `DATABASE_URL` does not say.
const DEFAULT_URL: &str = "postgres://root@127.0.0.1/postgres";
/// Connections of one test's store: enough for real concurrency, few enough that all tests which run
/// side by side stay far below the server's 100.
const CONNECTIONS_MAX: u32 = 12;

/// A migrated database that nobody else uses.
#[derive(Debug)]
pub struct TestDatabase {
    admin: PgConnectOptions,
    name: String,
    store: PostgresStore,
}

impl TestDatabase {
    /// Creates and migrates a database of a random name. A test that is killed leaves it behind, as
    /// `skein_test_*`.
    ///
    /// # Errors
    /// When the server is out of reach or the user may not create databases.
    pub async fn create() -> Result<Self> {
        let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| DEFAULT_URL.to_owned());
        let admin = PgConnectOptions::from_str(&url).context("DATABASE_URL")?;
        let name = format!("skein_test_{}", uuid::Uuid::new_v4().simple());
        execute(&admin, format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
        let store = PostgresStore::connect(&url_of(&admin, &name), CONNECTIONS_MAX)?;
        store.migrate().await?;
        Ok(Self { admin, name, store })
    }

    /// The store under test.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    /// What a process of its own would connect with.
    #[must_use]
    pub fn url(&self) -> String {
        url_of(&self.admin, &self.name)
    }

    /// The same past a proxy at another port of this machine.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        url_of(&self.admin.clone().host("127.0.0.1").port(port), &self.name)
    }

    /// The host and the port of the server.
    #[must_use]
    pub fn address(&self) -> (String, u16) {
        (self.admin.get_host().to_owned(), self.admin.get_port())
    }

    /// Connections past the store, for what its contract cannot show or bring about.
    ///
    /// # Errors
    /// When the server is out of reach.
    pub async fn raw(&self) -> Result<PgPool> {
        let options = self.admin.clone().database(&self.name);
        Ok(PgPoolOptions::new().max_connections(4).connect_with(options).await?)
    }

    /// Removes the database, whoever is still connected to it.
    ///
    /// # Errors
    /// When the server is out of reach.
    pub async fn remove(self) -> Result<()> {
        self.store.close().await;
        execute(&self.admin, format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }
}

/// Runs a case over a database of its own and removes that, whether the case passes or not.
///
/// # Panics
/// When the case does, or when there is no server.
pub async fn with_database<F, Fut>(case: F)
where
    F: FnOnce(Arc<TestDatabase>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let database = Arc::new(TestDatabase::create().await.expect("a server for tests"));
    // A task of its own, so that a panic comes back as a value.
    let outcome = tokio::spawn(case(Arc::clone(&database))).await;
    if let Some(database) = Arc::into_inner(database) {
        database.remove().await.expect("a server for tests");
    }
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}

/// [`with_database`] for a case that needs only the contract.
pub async fn with_store<F, Fut>(case: F)
where
    F: FnOnce(Arc<dyn Store>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    with_database(|database| case(database.store())).await;
}

fn url_of(admin: &PgConnectOptions, name: &str) -> String {
    admin.clone().database(name).to_url_lossy().to_string()
}

async fn execute(options: &PgConnectOptions, statement: String) -> Result<()> {
    let mut connection = options.connect().await?;
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(connection.close().await?)
}
