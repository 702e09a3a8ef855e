//! What can be brought about or seen only past the store's contract, in PostgreSQL's own terms.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_shared::domain::ids::{ActivationKey, RunId};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::engine::{Claim, ClaimRequest, Commit};
use skein_shared::store::log_filter::WHOLE_LOG;
use skein_shared::store::recovery::SweepOptions;
use skein_shared::store::{PageRequest, StoreError};
use skein_tests::postgres::{TestDatabase, with_database};
use skein_tests::store_suite::logs::follow;
use skein_tests::store_suite::world::{
    PATIENCE, SWEEP, World, ended, event, queued, span, succeed, words,
};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::Barrier;

pub(crate) async fn world_of(database: &TestDatabase) -> (World, PgPool) {
    (World::new(database.store()).await, database.raw().await.expect("the PostgreSQL for tests"))
}

pub(crate) async fn execute(pool: &PgPool, statement: &str, run: RunId) -> u64 {
    let query = sqlx::query(AssertSqlSafe(statement.to_owned())).bind(run.0);
    query.execute(pool).await.expect("a statement that fits the tables").rows_affected()
}

/// A transaction takes its place in the order when it starts to write, and commits after younger ones.
/// A follower that went by ids or times would pass it by.
#[tokio::test]
async fn a_follower_does_not_skip_what_commits_late() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a"]).await;
        let lease = world.lease().await;
        let before = world.log(run, 1).await.len();
        let mut late = pool.begin().await.unwrap();
        sqlx::query(
            "INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, level, event, message, trace_id,
                                     span_id)
             SELECT organization_id, workspace_id, user_id, run_id, level, 'late', message, trace_id, span_id
             FROM event_logs WHERE run_id = $1",
        )
        .bind(run.0)
        .execute(&mut *late)
        .await
        .unwrap();
        let a = world.won(lease, run, "a").await;
        let events = (0..5).map(|_| event("a", "young")).collect();
        world.flip(lease, Commit { events, ..succeed(&a) }).await;
        let follower = tokio::spawn(follow(world.clone(), run));
        assert_eq!(world.log_now(run).await.len(), before, "younger rows wait for the older one");
        late.commit().await.unwrap();
        let seen = world.log(run, before + 8).await;
        let expected = ["late", "run.started", "node.started", "young"];
        assert_eq!(words(&seen)[before..before + 4], expected);
        world.cancel(run).await.unwrap();
        assert_eq!(follower.await.unwrap(), world.log_now(run).await);
    })
    .await;
}

/// Rows of a transaction that rolls back are never seen, and hold nothing up once it is gone.
#[tokio::test]
async fn a_follower_goes_on_after_a_rollback() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a"]).await;
        let mut doomed = pool.begin().await.unwrap();
        let copy = "INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, level, event, message,
                                            trace_id, span_id)
                    SELECT organization_id, workspace_id, user_id, run_id, level, 'doomed', message, trace_id, span_id
                    FROM event_logs WHERE run_id = $1";
        sqlx::query(copy).bind(run.0).execute(&mut *doomed).await.unwrap();
        world.won(world.lease().await, run, "a").await;
        doomed.rollback().await.unwrap();
        let log = world.log(run, 3).await;
        assert_eq!(words(&log), ["run.accepted", "run.started", "node.started"]);
    })
    .await;
}

/// A dump that is restored brings rows whose transaction ids its new cluster has not reached yet: those of runs that
/// are still open are shown, and followers go on behind what they have seen.
#[tokio::test]
async fn a_log_goes_on_after_a_restore() {
    /// What a dump brings to another cluster.
    const RESTORE: [&str; 2] = [
        "UPDATE event_logs SET commit_xid = (commit_xid::text::bigint + 1000000000000)::text::xid8",
        "UPDATE log_epochs SET cluster = cluster - 1",
    ];
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let read = async |run: RunId, cursor: Option<String>| {
            let page = PageRequest { limit: 100, cursor };
            world.store.run_logs(&world.tenant, run, &WHOLE_LOG, &page).await.unwrap().unwrap()
        };
        let run = world.accept(&["a", "b"]).await;
        let lease = world.lease().await;
        let mut expected = vec!["run.accepted"];
        // The first process that comes to the restored database migrates it, or is a worker.
        for node in ["a", "b"] {
            for statement in RESTORE {
                sqlx::query(statement).execute(&pool).await.unwrap();
            }
            if node == "a" {
                database.store().migrate().await.unwrap();
            } else {
                world.lease().await;
            }
            let seen = read(run, None).await;
            assert_eq!(words(&seen.items), expected, "before {node}");
            let claimed = world.won(lease, run, node).await;
            world.flip(lease, succeed(&claimed)).await;
            expected.extend(["node.started", "node.succeeded"]);
            if node == "a" {
                expected.insert(1, "run.started");
            }
            let whole = world.log(run, expected.len()).await;
            assert_eq!(words(&whole), expected);
            let more = read(run, seen.next_cursor).await;
            assert_eq!([seen.items, more.items].concat(), whole, "a follower at {node}");
        }
        let epochs = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM log_epochs");
        assert_eq!(epochs.fetch_one(&pool).await.unwrap(), 3);
    })
    .await;
}

/// Hints at a row that nobody takes come after 30 s, 60 s and so on, up to five minutes, give or take a
/// quarter; a claim starts that over.
#[tokio::test]
async fn repeated_hints_back_off() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a"]).await;
        let lease = world.lease().await;
        for round in 0..2 {
            let wait = "SELECT extract(epoch FROM wake_at - now())::float8 FROM node_runs WHERE run_id = $1";
            for expected in [30.0, 60.0, 120.0, 240.0, 300.0, 300.0] {
                assert_eq!(world.sweep(run).await.wake.len(), 1);
                let wait: f64 = sqlx::query_scalar(wait).bind(run.0).fetch_one(&pool).await.unwrap();
                let range = expected * 0.75 - 5.0..=expected * 1.25;
                assert!(range.contains(&wait), "round {round}: {wait} s instead of {expected} s");
            }
            let claimed = world.won(lease, run, "a").await;
            world.flip(lease, ended(&claimed, AttemptOutcome::Deferred { delay: Duration::ZERO }, None)).await;
            world.store.sweep(SWEEP).await.unwrap();
            world.won(lease, run, "a").await;
            let reset = "UPDATE node_runs SET state = 'queued', wake_at = now() + interval '1 h' WHERE run_id = $1";
            execute(&pool, reset, run).await;
        }
    })
    .await;
}

/// Texts that PostgreSQL cannot hold are refused as such, whatever else is in the batch.
#[tokio::test]
async fn a_value_that_cannot_be_stored_is_refused_and_changes_nothing() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, _) = world_of(&database).await;
        let run = world.accept(&["a", "b"]).await;
        let lease = world.lease().await;
        let a = world.won(lease, run, "a").await;
        let b = world.won(lease, run, "b").await;
        let good = Commit { rows: vec![queued("next")], ..succeed(&b) };
        let with_output = |output: &str| {
            let output = output.to_owned();
            let outcome = Arc::new(AttemptOutcome::Succeeded { input: None, output });
            Commit { outcome, ..succeed(&a) }
        };
        let mut with_nul = succeed(&a);
        with_nul.events[0].message = "nul \0".to_owned();
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        // A key longer than an index takes. Random, so that it cannot be compressed.
        let random: String = (0..1_000).map(|_| span().to_string()).collect();
        let bad = [
            with_nul,
            with_output("{"),
            with_output(""),
            with_output("\"\0\""),
            with_output(&deep),
            Commit { rows: vec![queued("\0")], ..succeed(&a) },
            Commit { rows: vec![queued(&random)], ..succeed(&a) },
            Commit { rows: vec![queued("twice"), queued("twice")], ..succeed(&a) },
        ];
        for (index, bad) in bad.into_iter().enumerate() {
            let refused = world.store.commit(lease, &[good.clone(), bad]).await;
            assert!(matches!(refused, Err(StoreError::Data(_))), "{index}: {refused:?}");
            assert_eq!(world.state(run, "b").await, Some(NodeState::Running));
            assert_eq!(world.state(run, "next").await, None);
        }
        world.flip(lease, good).await;
    })
    .await;
}

/// Negative control: with the same committers, the obvious rule ("after my update, if no parent is
/// unfinished, queue the join") loses joins. So the races of the suite do happen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_unfinished_parents_would_lose_joins() {
    const JOINS: i32 = 500;
    with_database(async |database: Arc<TestDatabase>| {
        let pool = database.raw().await.unwrap();
        for statement in [
            "CREATE TABLE parents (join_id int, parent int, done bool, PRIMARY KEY (join_id, parent))",
            "CREATE TABLE fired (join_id int)",
            "INSERT INTO parents SELECT j, p, false FROM generate_series(1, 500) j, generate_series(1, 2) p",
        ] {
            sqlx::query(statement).execute(&pool).await.unwrap();
        }
        let barrier = Arc::new(Barrier::new(2));
        let mut committers = tokio::task::JoinSet::new();
        for parent in [1, 2] {
            let (pool, barrier) = (pool.clone(), Arc::clone(&barrier));
            committers.spawn(async move {
                for join in 1..=JOINS {
                    barrier.wait().await;
                    sqlx::query(
                        "WITH done AS (UPDATE parents SET done = true WHERE join_id = $1 AND parent = $2)
                         INSERT INTO fired SELECT $1
                         WHERE NOT EXISTS (SELECT 1 FROM parents WHERE join_id = $1 AND parent <> $2 AND NOT done)",
                    )
                    .bind(join)
                    .bind(parent)
                    .execute(&pool)
                    .await
                    .unwrap();
                }
            });
        }
        committers.join_all().await;
        let fired: i64 =
            sqlx::query_scalar("SELECT count(*) FROM fired").fetch_one(&pool).await.unwrap();
        println!("{fired} of {JOINS} joins fired");
        assert!(fired < i64::from(JOINS));
    })
    .await;
}

/// The largest batch that a batcher makes stays far below the statement timeout. Prints what batches take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_batches_are_one_quick_statement() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, _) = world_of(&database).await;
        let lease = world.lease().await;
        for (size, rounds) in [(1, 60), (64, 10), (512, 3)] {
            let mut spent = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..rounds {
                let start = Instant::now();
                let runs = world.accept_many(size, &["a"]).await;
                spent[0].push(start.elapsed());
                let request =
                    |run: &_| ClaimRequest { key: ActivationKey::root(*run, "a"), span: span() };
                let requests: Vec<_> = runs.iter().map(request).collect();
                let start = Instant::now();
                let claims = world.store.claim(lease, false, &requests).await.unwrap();
                spent[1].push(start.elapsed());
                let commits: Vec<_> = claims
                    .iter()
                    .map(|claim| match claim {
                        Claim::Won(claimed) => {
                            Commit { rows: vec![queued("b")], ..succeed(claimed) }
                        }
                        other => panic!("{other:?}"),
                    })
                    .collect();
                let start = Instant::now();
                let outcomes = world.store.commit(lease, &commits).await.unwrap();
                spent[2].push(start.elapsed());
                assert!(outcomes.iter().all(|outcome| outcome.flipped));
            }
            let [accept, claim, commit] = spent.map(|mut times| {
                times.sort();
                times[times.len() / 2]
            });
            println!(
                "batch of {size}: accept {accept:?}, claim {claim:?}, commit {commit:?} (median)"
            );
            assert!(commit < PATIENCE / 10, "{commit:?}");
        }
    })
    .await;
}

/// What an operator reads when the schema is not the one that the program needs.
#[tokio::test]
async fn a_schema_of_another_version_is_recognised() {
    with_database(async |database: Arc<TestDatabase>| {
        let (store, pool) = (database.store(), database.raw().await.unwrap());
        store.check_schema().await.unwrap();
        let refusal = async |statement: &'static str| {
            sqlx::query(statement).execute(&pool).await.unwrap();
            match store.check_schema().await {
                Err(StoreError::Schema(mismatch)) => mismatch.to_string(),
                other => panic!("{statement}: {other:?}"),
            }
        };
        let older = refusal("DELETE FROM _sqlx_migrations WHERE version > 1").await;
        assert!(older.contains("version 1, and") && older.contains("`skein migrate`"), "{older}");
        let newer =
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (9999, 'from the future', true, '', 0)";
        let newer = refusal(newer).await;
        assert!(newer.contains("version 9999, which is newer"), "{newer}");
        match store.migrate().await {
            Err(StoreError::Schema(mismatch)) => assert_eq!(mismatch.to_string(), newer),
            other => panic!("{other:?}"),
        }
        let none = refusal("DROP TABLE _sqlx_migrations").await;
        assert!(none.contains("no schema yet: run `skein migrate`"), "{none}");
        pool.close().await;
    })
    .await;
}

/// While a fleet is upgraded, a process of an earlier version may wake a row of a suspended run and know nothing of
/// that. The run is at work then, and its trace is not cut under the node.
#[tokio::test]
async fn a_suspended_run_that_an_earlier_version_has_woken_goes_on_in_its_trace() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let lease = world.lease().await;
        let run = world.accept(&["a", "b"]).await;
        let before = world.detail(run).await.summary.trace;
        for node in ["a", "b"] {
            let claimed = world.won(lease, run, node).await;
            let waiting = AttemptOutcome::Waiting {
                input: None,
                waiting_for: WaitFor::Time(Duration::from_secs(3600)),
            };
            world.flip(lease, ended(&claimed, waiting, None)).await;
        }
        assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
        let woken = "UPDATE node_runs SET state = 'queued', queued_at = now()
                     WHERE run_id = $1 AND node_key = 'a'";
        assert_eq!(execute(&pool, woken, run).await, 1);
        let due = "UPDATE node_runs SET wake_at = now() WHERE run_id = $1 AND node_key = 'b'";
        execute(&pool, due, run).await;
        let in_a_new_trace = SweepOptions { trace_wait_max: Duration::ZERO, ..SWEEP };
        let swept = world.store.sweep(in_a_new_trace).await.unwrap();
        assert_eq!((swept.wake.len(), swept.has_closed), (1, false));
        assert_eq!(world.detail(run).await.summary.trace, before);
        assert_eq!(world.run_state(run).await, RunState::Running);

        // With nobody else to wake, whoever claims the row finds out.
        let alone = world.accept(&["a"]).await;
        let a = world.won(lease, alone, "a").await;
        let waiting = AttemptOutcome::Waiting {
            input: None,
            waiting_for: WaitFor::Time(Duration::from_secs(3600)),
        };
        world.flip(lease, ended(&a, waiting, None)).await;
        assert_eq!(world.store.suspend(&[alone]).await.unwrap(), 1);
        execute(&pool, woken, alone).await;
        let a = world.won(lease, alone, "a").await;
        assert!(!a.started_run, "it was started before");
        assert_eq!(world.run_state(alone).await, RunState::Running);
        world.flip(lease, succeed(&a)).await;
        let log = world.cancel_and_log(alone).await;
        assert_eq!(words(&log).iter().filter(|word| **word == "run.started").count(), 1);
        pool.close().await;
    })
    .await;
}
