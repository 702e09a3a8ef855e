//! What a row that somebody else has locked may cost: the node that it is of, and nobody else.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::state::RunState;
use skein_tests::postgres::with_database;
use skein_worker::{LeaseTiming, Settings};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::fleet::{Fleet, PATIENCE, settings};
use crate::server::Server;

const RUNS: usize = 24;

/// Makes what the worker has just kept look as if it had kept it long ago, so that the next heartbeat gives it back
/// unless the worker says that it holds it. In the order of keys, as all statements lock them.
async fn age_what_was_kept(pool: &PgPool) {
    let age = "WITH kept AS MATERIALIZED (
                   SELECT run_id, node_key, scope FROM node_runs
                   WHERE node_key = 'b' AND state = 'running' AND started_at > now() - interval '10 s'
                   ORDER BY run_id, node_key, scope
                   FOR UPDATE SKIP LOCKED
               )
               UPDATE node_runs n SET started_at = n.started_at - interval '11 s' FROM kept k
               WHERE n.run_id = k.run_id AND n.node_key = k.node_key AND n.scope = k.scope";
    sqlx::query(age).execute(pool).await.unwrap();
}

/// Commits of many runs are one statement. While one of their rows is locked, the others go on, and what they kept is
/// not given to others while its worker is about to begin it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_delays_no_other_run_and_repeats_no_effect() {
    with_database(async |database| {
        let mut fleet = Fleet::start(database.store(), Arc::new(InProcess::new()), 0);
        let server = Server::start().await;
        let lease = LeaseTiming { ttl: Duration::from_secs(3) };
        fleet.add_worker(&Settings { concurrency: 2 * RUNS, lease, ..settings() });
        let pay =
            json!({ "method": "POST", "url": server.answer("pay"), "idempotency_key": false });
        let document = json!({
            "name": "w",
            "nodes": [
                { "id": "a", "type": "http", "params": { "url": server.gate("a") } },
                { "id": "b", "type": "http", "params": pay, "on_uncertain": "fail" },
            ],
            "edges": [{ "from": "a", "to": "b" }],
        });
        let published = fleet.publish(&document).await;
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            runs.push(fleet.start_run(&published, &json!({})).await);
        }
        server.hit_by(RUNS, "a").await;
        let pool = database.raw().await.unwrap();
        let mut holder = pool.begin().await.unwrap();
        let lock = "SELECT 1 FROM node_runs WHERE run_id = $1 AND node_key = 'a' FOR UPDATE";
        sqlx::query(lock).bind(runs[0].0).execute(&mut *holder).await.unwrap();

        server.open_gate();
        let deadline = Instant::now() + PATIENCE;
        let mut ended = 0;
        while ended < RUNS - 1 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
            age_what_was_kept(&pool).await;
            ended = fleet.store.ended_runs(&runs).await.unwrap().len();
        }
        holder.rollback().await.unwrap();
        for run in &runs {
            let detail = fleet.ended(*run).await;
            assert_eq!(detail.summary.state, RunState::Succeeded, "{detail:#?}");
        }
        assert_eq!((ended, server.hits("pay").len()), (RUNS - 1, RUNS), "ended meanwhile, posts");
        fleet.stop().await;
        pool.close().await;
    })
    .await;
}
