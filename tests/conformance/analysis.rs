//! Looking back at runs on PostgreSQL: over connections of its own, along indexes, and not through the history.

#![expect(clippy::unwrap_used, reason = "a case that cannot go on fails, which is its purpose")]

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::analysis::{RUNS_READ_MAX, RunRange};
use skein_shared::store::postgres::PostgresStore;
use skein_shared::store::postgres::analysis::{model_costs_statement, runs_statement};
use skein_shared::store::runs::RunFilter;
use skein_shared::store::{Admin, AnalysisStore, PageRequest, StoreError, WorkflowStore};
use skein_tests::postgres::{TestDatabase, with_database};
use skein_tests::store_suite::world::World;
use sqlx::{Connection, Executor, raw_sql};

use crate::plans::{BACKLOG, assert_plan, blocks, costs, plan, session};

/// How many connections of the programs there are to this schema.
async fn connections(database: &TestDatabase) -> i64 {
    let raw = database.raw().await.unwrap();
    let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()";
    let count = sqlx::query_scalar(query).bind(database.application_name()).fetch_one(&raw).await;
    raw.close().await;
    count.unwrap()
}

/// A process may have one connection, and has another beside it once somebody looks back, over which nothing can be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_looks_back_has_connections_that_can_write_nothing() {
    // Whoever reads versions of workflows writes a row.
    const WRITING: &str = "
        CREATE TABLE reads (at timestamptz);
        CREATE FUNCTION note() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
        BEGIN INSERT INTO reads VALUES (now()); RETURN true; END $$;
        ALTER VIEW versions_and_drafts RENAME TO versions;
        CREATE VIEW versions_and_drafts AS SELECT * FROM versions WHERE note()";
    with_database(async |database: Arc<TestDatabase>| {
        let world = World::new(database.store()).await;
        let store = PostgresStore::connect(&database.url(), 1).unwrap();
        store.ping().await.unwrap();
        let before = connections(&database).await;
        let (tenant, range) = (&world.tenant, RunRange::between(DateTime::UNIX_EPOCH, Utc::now()));
        store.runs_in(tenant, None, range).await.unwrap();
        assert_eq!(connections(&database).await, before + 1);
        let raw = database.raw().await.unwrap();
        raw.execute(raw_sql(WRITING)).await.unwrap();
        raw.close().await;
        assert!(store.find_workflow(tenant, World::WORKFLOW, Some(1)).await.unwrap().is_some());
        let read = store.documents_of(tenant, &[world.version]).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
        store.close().await;
        let closed = store.runs_in(tenant, None, range).await;
        assert!(matches!(closed, Err(StoreError::Unavailable(_))), "{closed:?}");
    })
    .await;
}

#[tokio::test]
async fn pages_are_found_by_indexes() {
    const RUNS: &[&str] = &["runs_listing", "ROW($2, $3)", "budget_totals_pkey"];
    assert_plan(runs_statement(false), RUNS, &["runs_pkey", "Hash", "Bitmap"]).await;
    const OF_WORKFLOW: &[&str] = &["runs_of_workflow on", "ROW($6, $3)", "budget_totals_pkey"];
    assert_plan(runs_statement(true), OF_WORKFLOW, &["runs_pkey", "Hash", "Bitmap"]).await;
    const DONE: &[&str] = &["node_runs_pkey", "node_attempts_pkey", "event_logs_pkey"];
    let statement = include_str!("../../shared/src/store/postgres/sql/analysed_activations.sql");
    assert_plan(statement, DONE, &["Hash Join", "Merge Join"]).await;
}

/// Costs are those of the time that is asked for, and of nobody else.
#[tokio::test]
async fn costs_are_found_by_their_time() {
    with_database(async |database: Arc<TestDatabase>| {
        let mut session = costs(&database).await;
        for is_of_workflow in [false, true] {
            let plan = plan(&mut session, &model_costs_statement(is_of_workflow)).await;
            let is_found =
                plan.contains("model_cost_logs_of_tenant") && plan.contains("(ts >= $3)");
            assert!(is_found && !plan.contains("Seq Scan"), "{plan}");
        }
        session.close().await.unwrap();
    })
    .await;
}

/// However much lies before and behind it, and whoever else's.
#[tokio::test]
async fn a_page_of_runs_reads_a_page() {
    with_database(async |database: Arc<TestDatabase>| {
        let mut session = session(&database).await;
        for statement in [BACKLOG, "VACUUM ANALYZE runs"] {
            raw_sql(statement).execute(&mut session).await.unwrap();
        }
        let id = |n: u64| {
            let millis = 1_767_225_600_000_u64 + n;
            format!("'{:08x}-{:04x}-0000-0000-000000000000'", millis >> 16, millis & 0xffff)
        };
        for (organization, most) in [("large", 3 * RUNS_READ_MAX as i64), ("small", 60)] {
            for from in [0, 2_500, 4_900] {
                for (is_of_workflow, workflow) in [(false, ""), (true, ", 'digest'")] {
                    let parameters = format!(
                        "'{organization}', 'main', {}, {}, {RUNS_READ_MAX}{workflow}",
                        id(from),
                        id(from + 50),
                    );
                    let read =
                        blocks(&mut session, &runs_statement(is_of_workflow), &parameters).await;
                    assert!(read < most, "{read} blocks of {organization} from {from}");
                }
            }
        }
        session.close().await.unwrap();
    })
    .await;
}

/// A run's id says when it came in, so that a time of the past leads to its runs and to no others.
#[tokio::test]
async fn a_time_of_the_past_has_the_runs_of_that_time() {
    with_database(async |database: Arc<TestDatabase>| {
        let mut session = session(&database).await;
        for statement in [BACKLOG, "UPDATE runs SET trace_id = md5(id::text)"] {
            raw_sql(statement).execute(&mut session).await.unwrap();
        }
        let store = database.store();
        let start = DateTime::from_timestamp_millis(1_767_225_600_000).unwrap();
        let at = |millis| start + TimeDelta::milliseconds(millis);
        let large = Identity::new("large", "main", "ann");
        let found = store.runs_in(&large, None, RunRange::between(at(100), at(120))).await.unwrap();
        assert_eq!(found.len(), 20);
        assert!(found.iter().all(|run| (at(100)..at(120)).contains(&run.created_at)));
        let small = Identity::new("small", "main", "ann");
        let found = store.runs_in(&small, None, RunRange::between(at(1_000), at(3_000))).await;
        assert_eq!(found.unwrap().len(), 2);
        session.close().await.unwrap();
    })
    .await;
}

/// A table that somebody has locked is waited for as long as any lock, over connections that nothing else needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_is_told_and_holds_up_nothing_else() {
    with_database(async |database: Arc<TestDatabase>| {
        let world = World::new(database.store()).await;
        let run = world.accept(&["a"]).await;
        let mut holder = session(&database).await;
        holder.execute(raw_sql("BEGIN; LOCK TABLE node_attempts")).await.unwrap();
        let runs = [run];
        let looked = world.store.activations_of(&world.tenant, &runs);
        let (looked, listed) = tokio::join!(looked, async {
            world
                .store
                .list_runs(
                    &world.tenant,
                    &RunFilter::default(),
                    &PageRequest { limit: 9, cursor: None },
                )
                .await
        });
        assert!(matches!(looked, Err(StoreError::Locked(_))), "{looked:?}");
        assert_eq!(listed.unwrap().items.len(), 1);
        holder.execute("ROLLBACK").await.unwrap();
        assert_eq!(world.store.activations_of(&world.tenant, &[run]).await.unwrap().len(), 1);
        holder.close().await.unwrap();
    })
    .await;
}
