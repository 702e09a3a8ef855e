//! Leases and what runs under them, where others hold rows or a process of another version took part.

use std::sync::Arc;

use skein_shared::domain::ids::{ActivationKey, RunId};
use skein_shared::domain::state::NodeState;
use skein_shared::store::StoreError;
use skein_shared::store::engine::{Claim, ClaimRequest};
use skein_shared::store::recovery::ReapScope;
use skein_tests::postgres::{TestDatabase, with_database};
use skein_tests::store_suite::world::{span, succeed};
use sqlx::{AssertSqlSafe, PgPool};

use crate::postgres_only::{execute, world_of};

/// Locks a node's row from a session of its own, until the transaction ends.
async fn lock<'a>(
    pool: &'a PgPool,
    run: RunId,
    node: &str,
) -> sqlx::Transaction<'a, sqlx::Postgres> {
    let mut holder = pool.begin().await.expect("the PostgreSQL for tests");
    let query = "SELECT 1 FROM node_runs WHERE run_id = $1 AND node_key = $2 FOR UPDATE";
    let locked = sqlx::query(query).bind(run.0).bind(node).execute(&mut *holder).await;
    locked.expect("a row that nobody has locked");
    holder
}

/// A statement that needs a row which somebody else holds says so, and has changed nothing.
#[tokio::test]
async fn a_locked_row_is_distinguished_from_a_slow_statement() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a", "b", "c"]).await;
        let lease = world.lease().await;
        let (a, b) = (world.won(lease, run, "a").await, world.won(lease, run, "b").await);
        let holder = lock(&pool, run, "a").await;
        let refused = world.store.commit(lease, &[succeed(&b), succeed(&a)]).await;
        assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
        assert_eq!(world.state(run, "b").await, Some(NodeState::Running));
        holder.rollback().await.unwrap();
        let holder = lock(&pool, run, "c").await;
        let request = ClaimRequest { key: ActivationKey::root(run, "c"), span: span() };
        let refused = world.store.claim(lease, true, &[request]).await;
        assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
        holder.rollback().await.unwrap();
        let outcomes = world.store.commit(lease, &[succeed(&b), succeed(&a)]).await.unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.flipped));
    })
    .await;
}

/// A row that the lease must let go of and cannot keeps neither the lease from living nor other rows from being released,
/// and the lease is not closed over it.
#[tokio::test]
async fn a_locked_row_costs_no_worker_its_lease() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["locked", "stray"]).await;
        let lease = world.lease().await;
        world.won(lease, run, "locked").await;
        world.won(lease, run, "stray").await;
        let holder = lock(&pool, run, "locked").await;
        let heard = world.store.heartbeat(lease, 0).await.unwrap().unwrap();
        assert_eq!(world.store.release_strays(lease, &[], heard).await.unwrap().len(), 1);
        assert_eq!(world.state(run, "stray").await, Some(NodeState::Queued));
        let refused = world.store.close_lease(lease, &[]).await;
        assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
        assert!(world.store.heartbeat(lease, 0).await.unwrap().is_some());
        holder.rollback().await.unwrap();
        world.store.close_lease(lease, &[]).await.unwrap();
        let row = world.node(run, "locked").await;
        assert_eq!(
            (row.state, row.attempts, &*row.earlier[0].outcome),
            (NodeState::Queued, 0, "released")
        );
        assert_eq!(world.store.reap(10, ReapScope::ALL).await.unwrap().len(), 0);
    })
    .await;
}

/// A claim that is on its way while its lease is closed may win a row that nobody runs. That was no crash.
#[tokio::test]
async fn a_claim_that_comes_after_its_lease_was_closed_is_no_crash() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a"]).await;
        for _ in 0..5 {
            let (lease, holder) = (world.lease().await, lock(&pool, run, "a").await);
            let request = ClaimRequest { key: ActivationKey::root(run, "a"), span: span() };
            let store = Arc::clone(&world.store);
            let claim = tokio::spawn(async move { store.claim(lease, true, &[request]).await });
            let waits = async || {
                let query = "SELECT count(*) FROM pg_stat_activity
                             WHERE application_name = $1 AND wait_event_type = 'Lock'";
                let count = sqlx::query_scalar::<_, i64>(query).bind(database.application_name());
                count.fetch_one(&pool).await.unwrap() > 0
            };
            while !waits().await && !claim.is_finished() {}
            world.store.close_lease(lease, &[]).await.unwrap();
            holder.rollback().await.unwrap();
            match claim.await.unwrap() {
                Ok(claims) => {
                    assert!(matches!(claims[..], [Claim::Won(_)]), "{claims:?}");
                    let reaped = world.store.reap(10, ReapScope::ALL).await.unwrap();
                    let [released] = reaped.as_slice() else { panic!("{reaped:?}") };
                    assert!(!released.is_crash, "{released:?}");
                    let a = world.won(world.lease().await, run, "a").await;
                    assert_eq!((a.attempt, a.crashed, a.crashes), (1, false, 0));
                    return;
                }
                // The machine is so busy that it took longer than a lock may be waited for.
                Err(error) => assert!(matches!(error, StoreError::Locked(_)), "{error:?}"),
            }
        }
        panic!("no claim came through");
    })
    .await;
}

/// A worker that beats and does not work: its row is taken away past the deadline, which is the node's
/// timeout and a grace.
#[tokio::test]
async fn a_row_past_its_deadline_is_taken_from_a_live_worker() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a", "b"]).await;
        let lease = world.lease().await;
        let a = world.won(lease, run, "a").await;
        world.won(lease, run, "b").await;
        let pass = |seconds: u32| {
            format!(
                "UPDATE node_runs SET wake_at = wake_at - interval '{seconds} s' WHERE run_id = $1 AND node_key = 'a'"
            )
        };
        // The timeout is 60 s.
        assert_eq!(execute(&pool, &pass(60), run).await, 1);
        assert_eq!(world.store.reap(10, ReapScope::ALL).await.unwrap().len(), 0, "there is a grace");
        assert_eq!(execute(&pool, &pass(15), run).await, 1);
        let crashed = world.store.reap(10, ReapScope::ALL).await.unwrap();
        assert_eq!(crashed.iter().map(|lost| &lost.key).collect::<Vec<_>>(), [&a.key]);
        assert_eq!(world.state(run, "b").await, Some(NodeState::Running));
        assert!(!world.commit(lease, succeed(&a)).await.flipped);
        assert!(world.store.heartbeat(lease, 0).await.unwrap().is_some());
    })
    .await;
}

/// A process of an earlier version does not count what a worker was running that it declares dead. What is not known
/// convicts nobody.
#[tokio::test]
async fn a_worker_that_an_earlier_version_declared_dead_had_company() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a"]).await;
        for crashes in 0..5 {
            let lease = world.lease().await;
            let a = world.won(lease, run, "a").await;
            assert_eq!((a.crashes, a.suspect, a.strikes), (crashes, crashes > 1, 0));
            let declare = "UPDATE worker_leases SET state = 'dead' WHERE lease_id = $1";
            sqlx::query(declare).bind(lease.0).execute(&pool).await.unwrap();
            assert_eq!(world.store.reap(10, ReapScope::ALL).await.unwrap().len(), 1);
        }
    })
    .await;
}

/// A node that is stuck on a worker that lives is distinguished from one that a stalled worker had beside others.
#[tokio::test]
async fn what_is_stuck_gets_a_strike_where_nothing_ran_beside_it() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a", "n0", "n1", "n2", "n3"]).await;
        let pass = "UPDATE node_runs SET wake_at = wake_at - interval '75 s' WHERE run_id = $1 AND node_key = 'a'";
        for beside in [Some("n0"), Some("n1"), Some("n2"), Some("n3"), None] {
            let lease = world.lease().await;
            assert_eq!(world.won(lease, run, "a").await.strikes, 0);
            if let Some(other) = beside {
                world.won(lease, run, other).await;
            }
            assert_eq!(execute(&pool, pass, run).await, 1);
            assert_eq!(world.store.reap(10, ReapScope::ALL).await.unwrap().len(), 1);
        }
        let a = world.won(world.lease().await, run, "a").await;
        assert_eq!((a.crashes, a.strikes), (5, 1));
    })
    .await;
}

/// What ended long ago is deleted, and what might still be under it is taken back.
#[tokio::test]
async fn leases_of_long_ago_are_forgotten() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a"]).await;
        let [live, young, stopped, dead] =
            [world.lease().await, world.lease().await, world.lease().await, world.lease().await];
        world.won(dead, run, "a").await;
        world.store.close_lease(young, &[]).await.unwrap();
        world.store.close_lease(stopped, &[]).await.unwrap();
        let died = "UPDATE worker_leases SET state = 'dead' WHERE lease_id = $1";
        sqlx::query(died).bind(dead.0).execute(&pool).await.unwrap();
        for (lease, seen) in [(live, "0 h"), (young, "23 h"), (stopped, "25 h"), (dead, "25 h")] {
            let age = format!(
                "UPDATE worker_leases SET started_at = now() - interval '48 h', seen_at = now() - interval '{seen}'
                 WHERE lease_id = $1"
            );
            sqlx::query(AssertSqlSafe(age)).bind(lease.0).execute(&pool).await.unwrap();
        }
        assert_eq!(world.store.reap(10, ReapScope::ALL).await.unwrap().len(), 1);
        let kept = "SELECT lease_id FROM worker_leases";
        let mut kept: Vec<uuid::Uuid> = sqlx::query_scalar(kept).fetch_all(&pool).await.unwrap();
        let mut expected = vec![live.0, young.0];
        kept.sort();
        expected.sort();
        assert_eq!(kept, expected);
    })
    .await;
}
