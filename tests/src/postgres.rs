//! Stores of their own for tests, on the server that `DATABASE_URL` names.
//!
//! All tests of a process share one database, which the first of them creates and the last one drops;
//! each has a schema of its own in it. A database for each test would cost most of the suite's time:
//! creating and dropping one flushes everything to disk.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use reqwest::Url;
use skein_shared::domain::event_logs::EventLogSink;
use skein_shared::store::postgres::PostgresStore;
use skein_shared::store::{Admin, Store};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::proxy::Far;

/// Connections of one test's store: enough for real concurrency, few enough that all tests which run
/// side by side stay far below the server's 100.
const CONNECTIONS_MAX: u32 = 12;

/// What the names of databases begin with; an id follows that shows when it was made.
const PREFIX: &str = "skein_test_";

/// The database of this process and how many tests use it.
static SHARED: Mutex<Option<Shared>> = Mutex::const_new(None);

struct Shared {
    name: String,
    users: usize,
}

/// A migrated schema that nobody else uses.
#[derive(Debug)]
pub struct TestDatabase {
    admin: PgConnectOptions,
    name: String,
    schema: String,
    store: PostgresStore,
}

impl TestDatabase {
    /// Creates and migrates a schema of a random name. Processes that are killed leave their database
    /// behind, as `skein_test_*`; one that starts a day later drops it.
    ///
    /// # Errors
    /// When the server is out of reach or the user may not create databases.
    pub async fn create() -> Result<Self> {
        let admin = server()?;
        let name = enter(&admin).await?;
        let schema = format!("t{}", Uuid::new_v4().simple());
        execute(&admin.clone().database(&name), format!("CREATE SCHEMA {schema}")).await?;
        let store = PostgresStore::connect(&url_of(&admin, &name, &schema), CONNECTIONS_MAX)?;
        store.migrate().await?;
        Ok(Self { admin, name, schema, store })
    }

    /// The store under test.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    /// The same, which tells of the rows that it writes to the log.
    #[must_use]
    pub fn store_telling(&self, event_logs: Arc<dyn EventLogSink>) -> Arc<dyn Store> {
        Arc::new(self.store.clone().telling(event_logs))
    }

    /// What a process of its own would connect with.
    #[must_use]
    pub fn url(&self) -> String {
        url_of(&self.admin, &self.name, &self.schema)
    }

    /// The same past a proxy at another port of this machine.
    ///
    /// # Panics
    /// Never: the address it is made of is one.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        // The options would keep the path of a socket.
        let mut url = Url::parse(&self.url()).expect("an address");
        url.set_host(Some("127.0.0.1")).expect("it has a host");
        url.set_port(Some(port)).expect("it has a host");
        url.to_string()
    }

    /// A store over the same rows, for which the server's clock goes wrong by so many seconds: what a process whose own
    /// clock is right sees of a server whose is not, and the other way round.
    ///
    /// # Errors
    /// When the server is out of reach.
    pub async fn store_with_clock_off_by(&self, seconds: i32) -> Result<PostgresStore> {
        let url = self.url_with_clock_off_by(seconds).await?;
        Ok(PostgresStore::connect(&url, CONNECTIONS_MAX)?)
    }

    /// What a process of its own would connect with, for which the server's clock goes wrong by so many seconds.
    ///
    /// # Errors
    /// When the server is out of reach.
    pub async fn url_with_clock_off_by(&self, seconds: i32) -> Result<String> {
        let raw = self.raw().await?;
        for clock in ["now", "clock_timestamp"] {
            raw.execute(AssertSqlSafe(format!(
                "CREATE FUNCTION {clock}() RETURNS timestamptz LANGUAGE sql STABLE
                 AS $$ SELECT pg_catalog.{clock}() + interval '{seconds} s' $$"
            )))
            .await?;
        }
        raw.close().await;
        // Searched last, the system's own functions are found only where there are no others.
        let path = format!("{},pg_catalog", self.schema);
        Ok(url_of(&self.admin, &self.name, &path))
    }

    /// Ends every connection of the programs to this schema, whatever they are at; says how many there were.
    ///
    /// # Errors
    /// When the server is out of reach.
    pub async fn end_connections(&self) -> Result<i64> {
        let query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
        let mut connection = self.admin.clone().connect().await?;
        let count = sqlx::query_scalar(query).bind(&self.schema).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(count)
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> Far {
        let port = self.admin.get_port();
        match self.admin.get_socket() {
            Some(directory) => Far::Unix(directory.join(format!(".s.PGSQL.{port}"))),
            None => Far::Tcp(self.admin.get_host().to_owned(), port),
        }
    }

    /// What the connections of this case, and of no other, are called.
    #[must_use]
    pub fn application_name(&self) -> &str {
        &self.schema
    }

    /// Connections past the store, for what its contract cannot show or bring about.
    ///
    /// # Errors
    /// When the server is out of reach.
    pub async fn raw(&self) -> Result<PgPool> {
        let options = PgConnectOptions::from_str(&self.url())?;
        Ok(PgPoolOptions::new().max_connections(4).connect_with(options).await?)
    }

    /// Removes the schema, and the database with the last of them.
    ///
    /// # Errors
    /// When the server is out of reach.
    pub async fn remove(self) -> Result<()> {
        self.store.close().await;
        let database = self.admin.clone().database(&self.name);
        execute(&database, format!("DROP SCHEMA {} CASCADE", self.schema)).await?;
        leave(&self.admin).await
    }
}

/// Runs a case over a schema of its own and removes that, whether the case passes or not.
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

/// A database of its own, empty, for a case that changes what holds for all of one.
#[derive(Debug)]
pub struct OwnDatabase {
    admin: PgConnectOptions,
    name: String,
}

impl OwnDatabase {
    async fn create() -> Result<Self> {
        let admin = server()?;
        let name = format!("{PREFIX}{}", Uuid::now_v7().simple());
        execute(&admin, format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
        Ok(Self { admin, name })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a process would connect with.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = self.admin.clone().database(&self.name).to_url_lossy();
        url.query_pairs_mut().append_pair("options[synchronous_commit]", "off");
        url.to_string()
    }

    /// The same as libpq's programs are given it.
    ///
    /// # Panics
    /// When `DATABASE_URL` is none any more.
    #[must_use]
    pub fn connection_string(&self) -> String {
        let url: Url =
            std::env::var("DATABASE_URL").ok().and_then(|url| url.parse().ok()).expect("a URL");
        let socket = self.admin.get_socket().map(|path| path.to_string_lossy().into_owned());
        let host = socket.unwrap_or_else(|| self.admin.get_host().to_owned());
        let (port, user) = (self.admin.get_port(), self.admin.get_username());
        let password = url.password().map(|it| format!(" password='{it}'")).unwrap_or_default();
        format!("host={host} port={port} dbname={} user={user}{password}", self.name)
    }

    /// A connection past the store.
    ///
    /// # Panics
    /// When the server is out of reach.
    pub async fn connect(&self) -> PgConnection {
        let options = self.admin.clone().database(&self.name);
        options.connect().await.expect("a server for tests")
    }

    /// Runs statements past the store.
    ///
    /// # Panics
    /// When they fail.
    pub async fn execute(&self, statements: &str) {
        let options = self.admin.clone().database(&self.name);
        // Whatever the database's own setting is by now.
        let options = options.options([("default_transaction_read_only", "off")]);
        execute(&options, statements.to_owned()).await.expect("statements that fit");
    }

    /// The server's processes behind the connections of stores.
    ///
    /// # Panics
    /// When the server is out of reach.
    pub async fn sessions(&self) -> Vec<i32> {
        let query =
            "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = 'skein'";
        let mut connection = self.admin.connect().await.expect("a server for tests");
        let query = sqlx::query_scalar(query).bind(&self.name).fetch_all(&mut connection);
        query.await.expect("a list")
    }
}

/// Runs a case over a database of its own and removes that, whether the case passes or not.
///
/// # Panics
/// When the case does, or when there is no server.
pub async fn with_own_database<F, Fut>(case: F)
where
    F: FnOnce(Arc<OwnDatabase>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let database = Arc::new(OwnDatabase::create().await.expect("a server for tests"));
    let outcome = tokio::spawn(case(Arc::clone(&database))).await;
    let drop = format!("DROP DATABASE {} WITH (FORCE)", database.name);
    execute(&database.admin, drop).await.expect("a server for tests");
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}

/// Where the server is, as a superuser or somebody who may create databases.
fn server() -> Result<PgConnectOptions> {
    let url = std::env::var("DATABASE_URL").context("no DATABASE_URL: tests/run sets it")?;
    // A user before an empty host, as libpq takes it where a socket is meant, is no URL.
    let url = url.replacen("@/", "@localhost/", 1);
    let options = PgConnectOptions::from_str(&url).context("DATABASE_URL")?;
    let host = options.get_host().to_owned();
    // What is no name of a host is the directory of a socket that the driver has found by itself.
    let is_found = options.get_socket().is_none() && host.starts_with('/');
    Ok(if is_found { options.socket(host) } else { options })
}

/// Names the database of this process; the first one creates it.
async fn enter(admin: &PgConnectOptions) -> Result<String> {
    let mut shared = SHARED.lock().await;
    if let Some(shared) = &mut *shared {
        shared.users += 1;
        return Ok(shared.name.clone());
    }
    remove_forgotten(admin).await?;
    let name = format!("{PREFIX}{}", Uuid::now_v7().simple());
    execute(admin, format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
    *shared = Some(Shared { name: name.clone(), users: 1 });
    Ok(name)
}

/// Drops what test processes have left behind that were killed: databases of more than a day ago that nobody uses.
async fn remove_forgotten(admin: &PgConnectOptions) -> Result<()> {
    let mut connection = admin.connect().await?;
    let names: Vec<String> = sqlx::query_scalar("SELECT datname::text FROM pg_database")
        .fetch_all(&mut connection)
        .await?;
    let a_day_ago = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    for name in names {
        let id = name.strip_prefix(PREFIX).and_then(|id| id.parse::<Uuid>().ok());
        let created = id.and_then(|id| id.get_timestamp()).map(|at| at.to_unix().0);
        let created = created.map(|at| SystemTime::UNIX_EPOCH + Duration::from_secs(at));
        if created.is_some_and(|at| at < a_day_ago) {
            // Somebody else may be at it, or still use it.
            drop(connection.execute(AssertSqlSafe(format!("DROP DATABASE {name}"))).await);
        }
    }
    Ok(connection.close().await?)
}

/// The last one drops the database. The lock is held meanwhile, so that nobody enters it.
async fn leave(admin: &PgConnectOptions) -> Result<()> {
    let mut shared = SHARED.lock().await;
    if let Some(Shared { users, .. }) = &mut *shared {
        *users -= 1;
    }
    match shared.take_if(|shared| shared.users == 0) {
        Some(Shared { name, .. }) => {
            execute(admin, format!("DROP DATABASE {name} WITH (FORCE)")).await
        }
        None => Ok(()),
    }
}

fn url_of(admin: &PgConnectOptions, name: &str, schema: &str) -> String {
    let mut url = admin.clone().database(name).to_url_lossy();
    url.query_pairs_mut()
        .append_pair("options[search_path]", schema)
        // Distinguishes the connections of one case from those of the others.
        .append_pair("application_name", schema)
        // What survives a power cut is the server's business; waiting for the disk is most of a test's
        // time.
        .append_pair("options[synchronous_commit]", "off");
    url.to_string()
}

async fn execute(options: &PgConnectOptions, statement: String) -> Result<()> {
    let mut connection = options.connect().await?;
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(connection.close().await?)
}
