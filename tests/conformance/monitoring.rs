//! Who counts what is open, and what becomes of that while others hold rows or tables, in PostgreSQL's own terms.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::ids::HolderId;
use skein_shared::domain::state::RunState;
use skein_shared::store::StoreError;
use skein_shared::store::monitoring::CountOptions;
use skein_tests::postgres::{TestDatabase, with_database};

use crate::postgres_only::world_of;

const TERM: Duration = Duration::from_secs(3600);
const DUTY: &str = "count_open";

/// Counting reads what was committed, whoever is at it; and a duty that somebody holds in a transaction is neither taken
/// nor waited for without an end.
#[tokio::test]
async fn rows_that_somebody_holds_are_counted_and_a_held_duty_is_not_taken() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        world.accept_many(3, &["a"]).await;
        let [one, other] = [HolderId::generate(), HolderId::generate()];
        assert!(world.store.take_duty(DUTY, one, TERM).await.unwrap());
        let mut held = pool.begin().await.unwrap();
        for rows in [
            "SELECT FROM duties FOR UPDATE",
            "SELECT FROM runs FOR UPDATE",
            "SELECT FROM node_runs FOR UPDATE",
        ] {
            sqlx::query(rows).execute(&mut *held).await.unwrap();
        }
        for holder in [one, other] {
            let refused = world.store.take_duty(DUTY, holder, TERM).await;
            assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
        }
        let work = world.store.count_open(CountOptions::default()).await.unwrap();
        assert_eq!(work.runs.get(&RunState::Queued), Some(&3));
        held.rollback().await.unwrap();
        assert!(!world.store.take_duty(DUTY, other, TERM).await.unwrap());
        assert!(world.store.take_duty(DUTY, one, TERM).await.unwrap(), "it still has it");
        pool.close().await;
    })
    .await;
}

/// A table that is locked as a whole, as some migrations of others do it, costs a count and nothing else.
#[tokio::test]
async fn a_count_that_cannot_be_made_says_so_in_time() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        world.accept_many(3, &["a"]).await;
        let mut held = pool.begin().await.unwrap();
        let lock = "LOCK TABLE node_runs IN ACCESS EXCLUSIVE MODE";
        sqlx::query(lock).execute(&mut *held).await.unwrap();
        let refused = world.store.count_open(CountOptions::default()).await;
        assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
        held.rollback().await.unwrap();
        let work = world.store.count_open(CountOptions::default()).await.unwrap();
        assert_eq!(work.runs.get(&RunState::Queued), Some(&3));
        pool.close().await;
    })
    .await;
}

/// The end of a term is told by the database's clock alone, so that clocks of processes may differ.
#[tokio::test]
async fn a_term_is_counted_by_the_clock_of_the_database() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let [one, other] = [HolderId::generate(), HolderId::generate()];
        assert!(world.store.take_duty(DUTY, one, TERM).await.unwrap());
        let pass = "UPDATE duties SET until = until - interval '3600 s'";
        sqlx::query(pass).execute(&pool).await.unwrap();
        assert!(world.store.take_duty(DUTY, other, TERM).await.unwrap());
        assert!(!world.store.take_duty(DUTY, one, TERM).await.unwrap());
        pool.close().await;
    })
    .await;
}
