//! The schema is brought up to date while the fleet works, by many processes at once, after one was killed at it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_shared::domain::ids::RunId;
use skein_shared::store::Admin;
use skein_shared::store::postgres::PostgresStore;
use skein_tests::postgres::{TestDatabase, with_database};
use skein_tests::store_suite::world::{PATIENCE, World};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction, raw_sql};
use tokio::task::JoinHandle;

/// A process of its own that migrates.
fn migrating(database: &TestDatabase) -> JoinHandle<()> {
    let url = database.url();
    tokio::spawn(async move {
        let store = PostgresStore::connect(&url, 2).expect("an address");
        store.migrate().await.expect("it succeeds in the end");
        store.close().await;
    })
}

/// Waits until so many sessions of a case wait for others with a statement of this kind.
pub(crate) async fn wait_for_waiting(
    pool: &PgPool,
    database: &TestDatabase,
    statement: &str,
    sessions: i64,
) {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = $1 AND wait_event_type = 'Lock' AND query LIKE '%' || $2 || '%'";
    let until = Instant::now() + PATIENCE;
    loop {
        let query = sqlx::query_scalar(WAITING).bind(database.application_name()).bind(statement);
        let count: i64 = query.fetch_one(pool).await.expect("a count");
        if count >= sessions {
            return;
        }
        assert!(Instant::now() < until, "{count} wait with {statement}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A transaction that writes to the table and does not end: a build waits for it.
async fn write(pool: &PgPool, run: RunId) -> Transaction<'static, Postgres> {
    let mut writing = pool.begin().await.expect("a connection");
    let write = sqlx::query("UPDATE runs SET user_id = user_id WHERE id = $1").bind(run.0);
    write.execute(&mut *writing).await.expect("a row");
    writing
}

async fn execute(pool: &PgPool, statements: &str) {
    raw_sql(AssertSqlSafe(statements.to_owned())).execute(pool).await.expect("a statement");
}

async fn is_valid(pool: &PgPool, index: &str) -> Option<bool> {
    let query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
    sqlx::query_scalar(query).bind(index).fetch_optional(pool).await.expect("an answer")
}

/// A process was killed while it built an index; two more start and migrate. One of them builds it anew, and runs are
/// accepted all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_is_built_beside_writes_by_one_of_many() {
    const BUILD: &str = "CREATE INDEX CONCURRENTLY runs_of_workflow ON runs (organization_id, workspace_id, workflow, id)";
    with_database(async |database: Arc<TestDatabase>| {
        let world = World::new(database.store()).await;
        let run = world.accept(&["a"]).await;
        let pool = database.raw().await.unwrap();
        execute(
            &pool,
            "DROP INDEX runs_of_workflow; DELETE FROM _sqlx_migrations WHERE description = 'runs of workflow'",
        )
        .await;
        let writing = write(&pool, run).await;
        let mut builder = pool.acquire().await.unwrap();
        raw_sql("SET statement_timeout = '200ms'").execute(&mut *builder).await.unwrap();
        raw_sql(BUILD).execute(&mut *builder).await.expect_err("it is aborted");
        builder.close_on_drop();
        drop(builder);
        assert_eq!(is_valid(&pool, "runs_of_workflow").await, Some(false));
        writing.rollback().await.unwrap();

        let writing = write(&pool, run).await;
        let both = [migrating(&database), migrating(&database)];
        // First it has to get rid of what the other one has left.
        wait_for_waiting(&pool, &database, "INDEX CONCURRENTLY runs_of_workflow", 1).await;
        world.accept(&["a"]).await;
        writing.rollback().await.unwrap();
        for process in both {
            process.await.unwrap();
        }
        assert_eq!(is_valid(&pool, "runs_of_workflow").await, Some(true));
        database.store().check_schema().await.unwrap();

        // The same without a wreck: it is the build that waits.
        execute(
            &pool,
            "DROP INDEX runs_of_workflow; DELETE FROM _sqlx_migrations WHERE description = 'runs of workflow'",
        )
        .await;
        let writing = write(&pool, run).await;
        let both = [migrating(&database), migrating(&database)];
        wait_for_waiting(&pool, &database, "CREATE INDEX CONCURRENTLY runs_of_workflow", 1).await;
        world.accept(&["a"]).await;
        writing.rollback().await.unwrap();
        for process in both {
            process.await.unwrap();
        }
        assert_eq!(is_valid(&pool, "runs_of_workflow").await, Some(true));

        // Built, and killed before it was noted down.
        execute(&pool, "DELETE FROM _sqlx_migrations WHERE description = 'runs of workflow'").await;
        database.store().migrate().await.unwrap();
        database.store().check_schema().await.unwrap();
        pool.close().await;
    })
    .await;
}

/// A change of a table that somebody holds waits for it, but not with everybody else behind it for longer than they can
/// bear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_table_keeps_nobody_waiting() {
    with_database(async |database: Arc<TestDatabase>| {
        let world = World::new(database.store()).await;
        let pool = database.raw().await.unwrap();
        execute(
            &pool,
            "ALTER TABLE runs DROP COLUMN finish_id; DELETE FROM _sqlx_migrations WHERE version = 5",
        )
        .await;
        let mut reading = pool.begin().await.unwrap();
        raw_sql("SELECT count(*) FROM runs").execute(&mut *reading).await.unwrap();
        let process = migrating(&database);
        wait_for_waiting(&pool, &database, "ADD COLUMN finish_id", 1).await;
        world.accept(&["a"]).await;
        reading.rollback().await.unwrap();
        process.await.unwrap();
        database.store().check_schema().await.unwrap();
        pool.close().await;
    })
    .await;
}
