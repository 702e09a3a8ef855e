//! What programs say that are started for the first time, where something is not there yet.

use std::future::Future;
use std::sync::Arc;

use reqwest::{Client, StatusCode};
use serde_json::Value;
use skein_shared::broker::DEFAULT_POOL;
use skein_shared::store::Admin;
use skein_shared::store::postgres::PostgresStore;
use skein_tests::postgres::{OwnDatabase, with_own_database};
use skein_tests::rabbitmq;
use skein_tests::stack::Program;
use uuid::Uuid;

/// Nobody listens there.
const NOWHERE: &str = "postgres://127.0.0.1:9/skein";
/// What an API says that lets nobody in.
const NOBODY: &str = "nobody can use this API";

/// How a program ends, and what it says.
fn ended(
    label: &str,
    command: &[&str],
    environment: &[(&str, &str)],
) -> impl Future<Output = (i32, String)> + use<> {
    let mut program = Program::apart(label, command, environment);
    program.start();
    async move {
        let code = program.ended().await.code();
        (code.expect("it ends by itself"), program.log())
    }
}

/// Runs a case over an empty database and a namespace in which nothing is.
async fn with_nothing_made<F, Fut>(case: F)
where
    F: FnOnce(Arc<OwnDatabase>, String) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let namespace = format!("first-{}", Uuid::now_v7().simple());
    let of_case = namespace.clone();
    with_own_database(move |database| case(database, of_case)).await;
    rabbitmq::delete_namespace(&namespace, &[DEFAULT_POOL]).await.expect("a broker for tests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_is_missing_is_named_before_anything_is_dialled() {
    let (all, both) = (&["DATABASE_URL"][..], &["DATABASE_URL", "AMQP_URL"][..]);
    let programs =
        [(&["skein-api"][..], both), (&["skein-worker"][..], both), (&["skein", "migrate"], all)];
    for (command, required) in programs {
        for variable in required {
            let there = match *variable {
                "AMQP_URL" => vec![("DATABASE_URL", NOWHERE)],
                _ => Vec::new(),
            };
            for (value, told) in
                [(None, "is not set"), (Some(""), "is empty"), (Some(" "), "is empty")]
            {
                let set = value.map(|value| (*variable, value));
                let environment: Vec<_> = there.iter().copied().chain(set).collect();
                let label = format!(
                    "missing_{}_{variable}_{}",
                    command.join("_"),
                    value.map_or(0, str::len)
                );
                let label = format!("{label}_{}", u8::from(value.is_some()));
                let (code, log) = ended(&label, command, &environment).await;
                assert!(
                    code != 0 && log.contains(&format!("{variable} {told}: ")),
                    "{command:?}: {log}"
                );
                for noise in ["refused", "panicked", "backtrace", "unknown scheme"] {
                    assert!(!log.contains(noise), "{command:?}: {log}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_out_of_reach_is_named_without_its_password() {
    let url = [("DATABASE_URL", "postgres://ada:s3cret@127.0.0.1:9/skein")];
    for command in [&["skein", "migrate"][..], &["skein", "keys", "create", "a", "--scope", "read"]]
    {
        let label = format!("unreachable_{}", command[1]);
        let (code, log) = ended(&label, command, &url).await;
        assert_eq!(code, 1, "{log}");
        assert!(log.contains("postgres://127.0.0.1:9/skein") && log.contains("refused"), "{log}");
        assert!(!log.contains("s3cret"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_hold_a_schema_is_told_with_what_it_takes() {
    with_own_database(async |database: Arc<OwnDatabase>| {
        let latin = format!("{}_latin1", database.name());
        database
            .execute(&format!(
                "CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
            ))
            .await;
        let url = database.url().replace(database.name(), &latin);
        let (code, log) = ended("latin1", &["skein", "migrate"], &[("DATABASE_URL", &*url)]).await;
        database.execute(&format!("DROP DATABASE {latin} WITH (FORCE)")).await;
        assert_eq!(code, 1, "{log}");
        let told = format!("the database {latin} has the encoding LATIN1; Skein needs UTF8: ");
        assert!(log.contains(&told), "{log}");

        database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
        let url = format!("{}&options[role]=pg_monitor", database.url());
        let (code, log) = ended("denied", &["skein", "migrate"], &[("DATABASE_URL", &*url)]).await;
        assert_eq!(code, 1, "{log}");
        let told =
            "permission denied for schema public (42501): the role of DATABASE_URL is to own";
        assert!(log.contains(told), "{log}");
    })
    .await;
}

/// API and workers may be started at once: a worker is patient, and says for what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_for_the_schema_and_goes_on_under_a_later_one() {
    with_nothing_made(async |database: Arc<OwnDatabase>, namespace: String| {
        let (url, amqp) = (database.url(), rabbitmq::amqp_url());
        let environment = [
            ("DATABASE_URL", &*url),
            ("AMQP_URL", &*amqp),
            ("SKEIN_NAMESPACE", &*namespace),
            ("SKEIN_LISTEN", "127.0.0.1:0"),
            ("SKEIN_NO_MIGRATE", "true"),
        ];
        let (code, log) = ended("first_api", &["skein-api"], &environment).await;
        assert_eq!(code, 1, "{log}");
        assert!(log.contains("the database has no schema yet: run `skein migrate`"), "{log}");

        let mut worker = Program::apart("first_worker", &["skein-worker"], &environment);
        worker.start();
        worker.prints("the database has no schema yet: run `skein migrate`", 0).await;
        let migrate = [("DATABASE_URL", &*url)];
        let (code, log) = ended("first_migrate", &["skein", "migrate"], &migrate).await;
        assert_eq!(code, 0, "{log}");
        worker.prints("lease opened", 0).await;
        assert!(worker.stop().await.success(), "{}", worker.log());

        let last = "version = (SELECT max(version) FROM _sqlx_migrations)";
        database.execute(&format!("DELETE FROM _sqlx_migrations WHERE {last}")).await;
        worker.start();
        worker.prints("is needed: run `skein migrate`", 0).await;
        let (code, log) = ended("older_api", &["skein-api"], &environment).await;
        assert!(code == 1 && log.contains("is needed: run `skein migrate`"), "{log}");
        assert_eq!(worker.log().matches("lease opened").count(), 1, "{}", worker.log());
        database.execute(&format!("UPDATE _sqlx_migrations SET version = 9999 WHERE {last}")).await;
        worker.prints("schema version 9999, which is newer than this program's", 0).await;
        worker.prints("lease opened", 1).await;
        let (code, log) = ended("newer_api", &["skein-api"], &environment).await;
        assert!(code == 1 && log.contains("use a newer release"), "{log}");
        assert!(worker.stop().await.success(), "{}", worker.log());
    })
    .await;
}

/// What an operator is told to do is enough to get in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_without_a_key_says_how_to_make_the_first_one() {
    with_nothing_made(async |database: Arc<OwnDatabase>, namespace: String| {
        let (url, amqp) = (database.url(), rabbitmq::amqp_url());
        let environment = [
            ("DATABASE_URL", &*url),
            ("AMQP_URL", &*amqp),
            ("SKEIN_NAMESPACE", &*namespace),
            ("SKEIN_LISTEN", "127.0.0.1:0"),
        ];
        let mut api = Program::apart("keyless_api", &["skein-api"], &environment);
        api.start();
        api.prints("the API listens", 0).await;
        let log = api.log();
        assert_eq!(log.matches(NOBODY).count(), 1, "{log}");
        assert!(log.contains("skein keys create") && log.contains("SKEIN_BOOTSTRAP_KEY"), "{log}");

        let create = ["skein", "keys", "create", "first", "--scope", "admin"];
        let (code, log) = ended("first_key", &create, &[("DATABASE_URL", &*url)]).await;
        assert_eq!(code, 0, "{log}");
        assert!(log.contains("It is good for what is in postgres://"), "{log}");
        let is_key = |line: &&str| line.len() > 20 && !line.contains(char::is_whitespace);
        let key = log.lines().find(is_key).unwrap_or_else(|| panic!("{log}"));
        let base = address(&api.log());
        let http = Client::builder().no_proxy().build().expect("an HTTP client");
        let asked = http.get(format!("{base}/v1/workflows")).bearer_auth(key).send().await;
        assert_eq!(asked.expect("it answers").status(), StatusCode::OK);
        assert!(api.stop().await.success(), "{}", api.log());

        // It is good: nothing is to be said.
        api.start();
        api.prints("the API listens", 1).await;
        assert_eq!(api.log().matches(NOBODY).count(), 1, "{}", api.log());
        assert!(api.stop().await.success());

        // Nobody has it any more.
        database.execute("UPDATE api_keys SET revoked_at = now()").await;
        api.start();
        api.prints("the API listens", 2).await;
        assert_eq!(api.log().matches(NOBODY).count(), 2, "{}", api.log());
        assert!(api.stop().await.success());
        api.set("SKEIN_BOOTSTRAP_KEY", "kUx0-9fQz7wLr2TmBv4y");
        api.start();
        api.prints("the API listens", 3).await;
        assert_eq!(api.log().matches(NOBODY).count(), 2, "{}", api.log());
        assert!(api.stop().await.success());
        let store = PostgresStore::connect(&url, 1).expect("a URL");
        store.check_schema().await.expect("the API has migrated");
        store.close().await;
    })
    .await;
}

/// Where an API listens, as its log says.
fn address(log: &str) -> String {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.rfind(|line| line["message"] == "the API listens").expect("it was printed");
    format!("http://{}", line["address"].as_str().expect("an address"))
}
