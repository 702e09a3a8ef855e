//! One database for all tests of this process.

use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::mpsc;

use skein_shared::store::Admin;
use skein_shared::store::postgres::PostgresStore;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};

/// Keeps two processes from clearing up after each other at the same time.
const LOCK: i64 = 0x736b_6569_6e61;
const PREFIX: &str = "skein_test_api_";

static URL: LazyLock<String> = LazyLock::new(|| {
    let (ready, url) = mpsc::channel();
    // A thread that lives as long as the process: tests end with their runtimes, and the database counts as
    // left behind once nobody is connected to it.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (url, _keeper) = create().await;
            ready.send(url).unwrap();
            std::future::pending::<()>().await;
        });
    });
    url.recv().expect("a PostgreSQL server for tests")
});

/// Where the database is. Created and migrated when first asked for.
pub(crate) fn url() -> &'static str {
    &URL
}

async fn create() -> (String, PgConnection) {
    let server = std::env::var("DATABASE_URL").expect("no DATABASE_URL: tests/run sets it");
    // A user before an empty host, as libpq takes it where a socket is meant, is no URL.
    let server = server.replacen("@/", "@localhost/", 1);
    let server = PgConnectOptions::from_str(&server).unwrap().database("postgres");
    let mut admin = server.connect().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut admin).await.unwrap();
    let stale = sqlx::query(
        "SELECT datname FROM pg_database d WHERE starts_with(datname, $1)
         AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.datname = d.datname)",
    )
    .bind(PREFIX)
    .fetch_all(&mut admin)
    .await
    .unwrap();
    for row in stale {
        let name: String = row.get(0);
        admin.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}"))).await.unwrap();
    }
    let name = format!("{PREFIX}{}", std::process::id());
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let options = server.database(&name);
    let keeper = options.connect().await.unwrap();
    let url = options.to_url_lossy().to_string();
    let store = PostgresStore::connect(&url, 2).unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    admin.close().await.unwrap();
    (url, keeper)
}
