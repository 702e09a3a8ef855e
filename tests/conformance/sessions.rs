//! A connection that answers is not yet one to work over: the server may have been demoted, a pooler may hand its
//! sessions to others in between, and readers may have taken all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use skein_shared::domain::state::NodeState;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::engine::Commit;
use skein_shared::store::postgres::PostgresStore;
use skein_shared::store::{Admin, KeyStore, PageRequest, StoreError, WorkflowStore};
use skein_tests::pooler::Pooler;
use skein_tests::postgres::{OwnDatabase, TestDatabase, with_database, with_own_database};
use skein_tests::proxy::Proxy;
use skein_tests::store_suite::world::{PATIENCE, SWEEP, World, queued, succeed};
use sqlx::{Connection, PgPool, raw_sql};
use tokio_util::sync::CancellationToken;

use crate::migrations::wait_for_waiting;
use crate::postgres_only::world_of;

fn ann() -> Identity {
    Identity::new("acme", "main", "ann")
}

/// The primary is demoted under sessions that stay open, and another one is promoted in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_database_is_left_for_the_one_that_is_promoted() {
    // Whoever stores the key of somebody called `demoted` is from then on in a session that takes no writes: what an
    // open session is after a demotion.
    const DEMOTION: &str = "
        CREATE FUNCTION demote() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_sleep(0.2);
            PERFORM set_config('default_transaction_read_only', 'on', false);
            RETURN NEW;
        END $$;
        CREATE TRIGGER demote BEFORE INSERT ON api_keys FOR EACH ROW WHEN (NEW.user_id = 'demoted')
            EXECUTE FUNCTION demote()";
    const SESSIONS: u8 = 4;
    with_own_database(async |database: Arc<OwnDatabase>| {
        let store = PostgresStore::connect(&database.url(), u32::from(SESSIONS)).unwrap();
        store.migrate().await.unwrap();
        database.execute(DEMOTION).await;
        // All at once, so that each has a session of its own.
        let demoted = Identity::new("acme", "main", "demoted");
        let keys: Vec<_> = (0..SESSIONS).map(|number| [number; 32]).collect();
        let stored = join_all(keys.iter().map(|key| store.ensure_key(key, &demoted))).await;
        assert!(stored.iter().all(Result::is_ok), "{stored:?}");
        let all = format!("ALTER DATABASE {} SET default_transaction_read_only", database.name());
        database.execute(&format!("{all} = on")).await;

        let ready = store.ping().await;
        assert!(matches!(ready, Err(StoreError::Unavailable(_))), "it takes no writes: {ready:?}");
        for _ in 0..2 * SESSIONS {
            let written = store.ensure_key(&[9; 32], &ann()).await;
            assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
        }

        database.execute(&format!("{all} = off")).await;
        store.ping().await.unwrap();
        for _ in 0..2 * SESSIONS {
            store.ensure_key(&[9; 32], &ann()).await.unwrap();
        }
        store.close().await;
    })
    .await;
}

/// The first statement that a demoted server refuses closes all sessions with it, so that none goes on being read over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_write_is_enough_for_all_sessions() {
    with_own_database(async |database: Arc<OwnDatabase>| {
        let store = PostgresStore::connect(&database.url(), 4).unwrap();
        store.migrate().await.unwrap();
        let demotion = "
            CREATE FUNCTION demote() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE 'cannot execute INSERT in a read-only transaction' USING ERRCODE = '25006'; END $$;
            CREATE TRIGGER demote BEFORE INSERT ON api_keys FOR EACH ROW WHEN (NEW.user_id = 'demoted')
                EXECUTE FUNCTION demote()";
        database.execute(demotion).await;
        let keys: Vec<_> = (0..4).map(|number| [number; 32]).collect();
        let ann = ann();
        let stored = join_all(keys.iter().map(|key| store.ensure_key(key, &ann))).await;
        assert!(stored.iter().all(Result::is_ok), "{stored:?}");
        let before = database.sessions().await;
        assert!(!before.is_empty());
        let refused = store.ensure_key(&[9; 32], &Identity::new("acme", "main", "demoted")).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        // A server's process takes a moment to go.
        let until = Instant::now() + PATIENCE;
        while database.sessions().await.iter().any(|session| before.contains(session)) {
            assert!(Instant::now() < until, "sessions of the demoted server are kept");
            store.find_key(&[0; 32]).await.unwrap();
        }
        store.close().await;
    })
    .await;
}

/// Readers that hang, more than there are connections, leave some to whoever writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_leave_connections_to_writes() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = (World::new(database.store()).await, database.raw().await.unwrap());
        let run = world.accept(&["a"]).await;
        let store = Arc::new(PostgresStore::connect(&database.url(), 4).unwrap());
        store.ping().await.unwrap();
        let writes = World { store: store.clone(), ..world.clone() };
        // What a run is shown with and nothing is written to here.
        let mut held = pool.begin().await.unwrap();
        raw_sql("LOCK TABLE run_segments IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *held)
            .await
            .unwrap();
        let enough = CancellationToken::new();
        let readers: Vec<_> = (0..24)
            .map(|_| {
                let (store, tenant) = (writes.store.clone(), world.tenant.clone());
                tokio::spawn(enough.clone().run_until_cancelled_owned(async move {
                    loop {
                        // It learns that this takes too long, and asks again.
                        drop(store.find_run(&tenant, run, 0).await);
                    }
                }))
            })
            .collect();
        wait_for_waiting(&pool, &database, "A run with its activations", 2).await;
        for _ in 0..5 {
            writes.accept(&["a"]).await;
        }
        enough.cancel();
        for reader in readers {
            reader.await.unwrap();
        }
        held.rollback().await.unwrap();
        store.close().await;
        pool.close().await;
    })
    .await;
}

/// Behind a pooler that gives each connection a session of its own everything works, its settings included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_sessions_is_worked_with() {
    with_own_database(async |database: Arc<OwnDatabase>| {
        let pooler = Pooler::start(&database, "session").await;
        let store = PostgresStore::connect(&pooler.url(), 4).unwrap();
        store.migrate().await.unwrap();
        store.check_schema().await.unwrap();
        let store = Arc::new(store);
        let world = World::new(store.clone()).await;
        let run = world.accept(&["a"]).await;
        let lease = world.lease().await;
        world.won(lease, run, "a").await;

        // A statement has its bound: the server's, not only the one within this process.
        let mut held = database.connect().await;
        raw_sql("BEGIN; LOCK TABLE workflows").execute(&mut held).await.unwrap();
        let page = PageRequest { limit: 1, cursor: None };
        let read = tokio::time::timeout(PATIENCE, store.list_workflows(&ann(), &page)).await;
        let read = read.expect("it ends");
        assert!(!matches!(read, Ok(_) | Err(StoreError::Unavailable(_))), "{read:?}");
        held.close().await.unwrap();
        store.close().await;
    })
    .await;
}

/// One that hands sessions out for less is refused, whoever asks, with what is to be done about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_transactions_is_refused() {
    with_own_database(async |database: Arc<OwnDatabase>| {
        for mode in ["transaction", "statement"] {
            let pooler = Pooler::start(&database, mode).await;
            let store = PostgresStore::connect(&pooler.url(), 4).unwrap();
            for refused in [store.migrate().await, store.check_schema().await] {
                let Err(StoreError::Setup(text)) = refused else { panic!("{mode}: {refused:?}") };
                assert!(text.contains("pool_mode = session"), "{text}");
            }
            store.close().await;
        }
    })
    .await;
}

/// A server that goes away without a word: what is under way comes back with an error in the end, and the
/// connection is not used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_on_a_silent_connection_comes_to_an_end() {
    with_database(async |database: Arc<TestDatabase>| {
        let proxy = Proxy::start(database.address()).await;
        let store = PostgresStore::connect(&database.url_at(proxy.port()), 2).unwrap();
        store.ping().await.unwrap();
        proxy.silence();
        let silent = tokio::time::timeout(PATIENCE, store.ping()).await.expect("it ends");
        assert!(matches!(silent, Err(StoreError::Unavailable(_))), "{silent:?}");
        proxy.mend();
        store.ping().await.unwrap();
        store.close().await;
    })
    .await;
}

/// Callers may be dropped at any await (a client hung up, a shutdown): what they did happened whole or not at
/// all, and no connection is left in a transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_calls_leave_no_connection_in_a_transaction() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let lease = world.lease().await;
        let runs = world.accept_many(60, &["a"]).await;
        for (number, run) in runs.iter().enumerate() {
            let a = world.won(lease, *run, "a").await;
            let commit = [Commit { rows: vec![queued("b")], ..succeed(&a) }];
            let patience = Duration::from_micros(number as u64 * 100);
            drop(tokio::time::timeout(patience, world.store.commit(lease, &commit)).await);
            drop(tokio::time::timeout(patience, world.accept_many(1, &["a"])).await);
            drop(tokio::time::timeout(patience, world.store.sweep(SWEEP)).await);
            world.flip(lease, commit[0].clone()).await;
            assert_eq!(world.state(*run, "b").await, Some(NodeState::Queued));
        }
        let name = database.application_name();
        // Calls that were dropped may still be on their way out.
        let until = Instant::now() + PATIENCE;
        while in_transaction(&pool, name).await > 0 {
            assert!(Instant::now() < until, "a connection is left in a transaction");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // One that is would be seen.
        let open = pool.begin().await.unwrap();
        assert_eq!(in_transaction(&pool, name).await, 1);
        open.rollback().await.unwrap();
        pool.close().await;
    })
    .await;
}

/// Connections of this name that are in a transaction and do nothing.
async fn in_transaction(pool: &PgPool, name: &str) -> i64 {
    let query = "SELECT count(*) FROM pg_stat_activity
                 WHERE application_name = $1 AND state LIKE 'idle in transaction%'";
    sqlx::query_scalar(query).bind(name).fetch_one(pool).await.expect("a count")
}

/// Why there is no connection is said, and nothing of the password.
#[tokio::test]
async fn a_server_that_cannot_be_used_is_reported_with_its_reason() {
    let error = PostgresStore::connect("postgres://ada:s3cret@127.0.0.1:port/x", 1).unwrap_err();
    let StoreError::Setup(text) = error else { panic!("{error:?}") };
    assert!(text.contains("invalid port number") && !text.contains("s3cret"), "{text}");
    with_database(async |database: Arc<TestDatabase>| {
        let mut elsewhere = reqwest::Url::parse(&database.url()).unwrap();
        elsewhere.set_username("ada").unwrap();
        elsewhere.set_password(Some("s3cret")).unwrap();
        elsewhere.set_path("no_such_database");
        for (url, reason) in [
            ("postgres://ada:s3cret@127.0.0.1:9/x", &["refused"][..]),
            (elsewhere.as_str(), &["does not exist", "authentication failed"]),
        ] {
            let store = PostgresStore::connect(url, 1).unwrap();
            for refused in [store.migrate().await, store.check_schema().await] {
                let Err(StoreError::Unavailable(source)) = refused else { panic!("{refused:?}") };
                let text = source.to_string();
                assert!(reason.iter().any(|reason| text.contains(reason)), "{text}");
                assert!(!text.contains("s3cret"), "{text}");
            }
        }
    })
    .await;
}
