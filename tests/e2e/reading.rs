//! Commands that look into a database that is somebody else's.

use skein_tests::stack::{Setup, Stack, load, with_stack};
use sqlx::{AssertSqlSafe, Executor, PgPool};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_reads_leaves_no_key_behind() {
    with_stack(Setup::distributed("reading_key"), async |stack| {
        load::publish(stack).await;
        let database = stack.database().raw().await.expect("a server for tests");
        let before = count(&database, "SELECT count(*) FROM api_keys").await;
        let (code, log) = runs(stack, &stack.database().url()).await;
        assert_eq!((code, log.as_str()), (Some(0), "no runs\n"));
        assert_eq!(count(&database, "SELECT count(*) FROM api_keys").await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_reads_makes_no_schema() {
    with_stack(Setup::distributed("reading_schema"), async |stack| {
        let database = stack.database().raw().await.expect("a server for tests");
        let schema: String =
            sqlx::query_scalar("SELECT current_schema()").fetch_one(&database).await.unwrap();
        let empty = format!("{schema}_empty");
        database.execute(AssertSqlSafe(format!("CREATE SCHEMA {empty}"))).await.unwrap();
        let url = stack.database().url().replace(&schema, &empty);
        let (code, log) = runs(stack, &url).await;
        let tables = format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{empty}'");
        assert_eq!(count(&database, &tables).await, 0);
        database.execute(AssertSqlSafe(format!("DROP SCHEMA {empty} CASCADE"))).await.unwrap();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("skein migrate"), "{log}");
    })
    .await;
}

/// What `skein runs` ends with and prints over the database at `url`. It makes no directory either.
async fn runs(stack: &Stack, url: &str) -> (Option<i32>, String) {
    let mut reader = stack.program("reader", &["skein", "runs"]);
    let data = stack.data().join("reader");
    reader.unset("SKEIN_URL");
    reader.set("DATABASE_URL", url);
    reader.set("SKEIN_DATA", &data.to_string_lossy());
    reader.start();
    let code = reader.ended().await.code();
    assert!(!data.exists(), "a reader has made a directory");
    (code, reader.log())
}

async fn count(database: &PgPool, query: &str) -> i64 {
    let query = sqlx::query_scalar(AssertSqlSafe(query.to_owned()));
    query.fetch_one(database).await.expect("a count")
}
