//! What sweeps and finishing make of what others hold, of what has piled up and of what cannot be read, in PostgreSQL's
//! own terms.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::ids::{CallId, RunId};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::NodeState;
use skein_shared::store::recovery::SweepOptions;
use skein_tests::postgres::{TestDatabase, with_database};
use skein_tests::store_suite::world::{SWEEP, World, ended};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

use crate::postgres_only::world_of;

const HOUR: Duration = Duration::from_secs(3600);

/// Holds rows as a client would that has left a transaction open.
async fn hold(pool: &PgPool, rows: &str, run: RunId) -> Transaction<'static, Postgres> {
    let mut held = pool.begin().await.expect("the PostgreSQL for tests");
    let query = AssertSqlSafe(format!("SELECT 1 FROM {rows} = $1 FOR UPDATE"));
    let found = sqlx::query(query)
        .bind(run.0)
        .fetch_all(&mut *held)
        .await
        .expect("rows that nobody has locked");
    assert!(!found.is_empty());
    held
}

/// A run whose only node waits.
async fn waiting(world: &World) -> RunId {
    let (lease, run) = (world.lease().await, world.accept(&["a"]).await);
    let claimed = world.won(lease, run, "a").await;
    world
        .flip(
            lease,
            ended(
                &claimed,
                AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) },
                None,
            ),
        )
        .await;
    run
}

/// Were it waited for, the statement would end with its time, and nobody would be finished.
#[tokio::test]
async fn finishing_does_not_wait_for_what_somebody_holds() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let [row, run, free] = [(); 3].map(|()| world.accept(&["a", "b"]));
        let (row, run, free) = (row.await, run.await, free.await);
        for id in [row, run, free] {
            world.store.request_cancel(&world.tenant, id).await.unwrap();
        }
        let held = [
            hold(&pool, "node_runs WHERE node_key = 'a' AND run_id", row).await,
            hold(&pool, "runs WHERE id", run).await,
        ];
        let finish = async |runs: Vec<RunId>| {
            let call = CallId::generate();
            let mut finished = world.store.finish_runs(call, &runs).await.unwrap();
            finished.held.sort_unstable();
            let ended: Vec<_> = finished.ended.iter().map(|run| run.header.id).collect();
            (ended, finished.more, finished.held)
        };
        let mut both = vec![row, run];
        both.sort_unstable();
        assert_eq!(finish(vec![row, run, free]).await, (vec![free], vec![], both));
        let states = [world.state(row, "a").await, world.state(row, "b").await];
        assert_eq!(states, [Some(NodeState::Queued), Some(NodeState::Cancelled)]);
        for held in held {
            held.rollback().await.unwrap();
        }
        assert_eq!(finish(vec![row]).await, (vec![row], vec![], vec![]));
        assert_eq!(finish(vec![run]).await, (vec![run], vec![], vec![]));
        pool.close().await;
    })
    .await;
}

/// Nor for the run of a row: with the row in hand, that would hold up whoever wants one of the others.
#[tokio::test]
async fn a_sweep_does_not_wait_for_what_somebody_holds() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let (run, free) = (waiting(&world).await, waiting(&world).await);
        let held = hold(&pool, "runs WHERE id", run).await;
        world.store.make_due(&[run, free]).await.unwrap();
        let swept = world.store.sweep(SWEEP).await.unwrap();
        let woken: Vec<_> = swept.wake.iter().map(|wake| wake.key.run).collect();
        assert_eq!((woken, swept.deferred), (vec![free], 1));
        assert_eq!(world.state(run, "a").await, Some(NodeState::Waiting));
        held.rollback().await.unwrap();
        assert_eq!(world.sweep(run).await.wake.len(), 1);

        let (run, row, free) =
            (waiting(&world).await, waiting(&world).await, waiting(&world).await);
        let held = [
            hold(&pool, "runs WHERE id", run).await,
            hold(&pool, "node_runs WHERE run_id", row).await,
        ];
        assert_eq!(world.store.suspend(&[run, row, free]).await.unwrap(), 1);
        for held in held {
            held.rollback().await.unwrap();
        }
        assert_eq!(world.store.suspend(&[run, row, free]).await.unwrap(), 2);
        pool.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_drops_no_other() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let [broken, whole] = world.accept_many(2, &["a"]).await[..] else { panic!("two runs") };
        let breaking = sqlx::query("UPDATE runs SET trace_id = 'none' WHERE id = $1");
        breaking.bind(broken.0).execute(&pool).await.unwrap();
        world.store.make_due(&[broken, whole]).await.unwrap();
        let swept = world.store.sweep(SWEEP).await.unwrap();
        let woken: Vec<_> = swept.wake.iter().map(|wake| wake.key.run).collect();
        assert_eq!(woken, [whole]);
        for run in [broken, whole] {
            world.store.request_cancel(&world.tenant, run).await.unwrap();
        }
        let finished = world.store.finish_runs(CallId::generate(), &[broken, whole]).await.unwrap();
        let ended: Vec<_> = finished.ended.iter().map(|run| run.header.id).collect();
        assert_eq!(ended, [whole]);
        let ended = world.store.ended_runs(&[broken, whole]).await.unwrap();
        assert_eq!(ended.len(), 2, "it has ended all the same");
        pool.close().await;
    })
    .await;
}

/// While a fleet is upgraded, a process of the version before says in its own way that a row has no message.
#[tokio::test]
async fn a_row_that_an_earlier_version_gave_back_has_no_message() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let runs = world.accept_many(2, &["a"]).await;
        let given_back = sqlx::query("UPDATE node_runs SET wakes = -1 WHERE run_id = $1");
        given_back.bind(runs[0].0).execute(&pool).await.unwrap();
        world.store.make_due(&runs).await.unwrap();
        let deep = SweepOptions { queue_deep: true, ..SWEEP };
        let swept = world.store.sweep(deep).await.unwrap();
        let woken: Vec<_> = swept.wake.iter().map(|wake| wake.key.run).collect();
        assert_eq!((woken, swept.deferred), (vec![runs[0]], 1));
        pool.close().await;
    })
    .await;
}
