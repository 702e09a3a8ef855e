//! What a run is shown as when the last of it that worked has ended.

use std::sync::Arc;

use serde_json::json;
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::Store;
use skein_tests::{postgres, sqlite};

use crate::fleet::{Fleet, node};
use crate::server::Server;

/// It is suspended as soon as nothing works any more, though somebody has just found that something does, and would look
/// again after half a minute, for which no test waits.
async fn a_run_waits_with_its_last_node(store: Arc<dyn Store>) {
    let fleet = Fleet::start(store, Arc::new(InProcess::new()), 1);
    let server = Server::start().await;
    let document = json!({
        "name": "w",
        "nodes": [
            { "id": "wait", "type": "delay", "params": { "for": "1h" } },
            { "id": "work", "type": "http", "params": { "url": server.gate("work") } },
        ],
    });
    let published = fleet.publish(&document).await;
    let run = fleet.start_run(&published, &json!({})).await;
    server.hit("work").await;
    let waits = |detail: &_| node(detail, "wait").unwrap().state == NodeState::Waiting;
    fleet.until(run, waits).await;
    assert_eq!(fleet.store.suspend(&[run]).await.unwrap(), 0, "one of its nodes works");
    server.open_gate();
    let detail = fleet.until(run, |detail| detail.summary.state == RunState::Suspended).await;
    assert_eq!(node(&detail, "work").unwrap().state, NodeState::Succeeded);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_suspended_with_its_last_node_that_works_on_sqlite() {
    sqlite::with_store(a_run_waits_with_its_last_node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_suspended_with_its_last_node_that_works_on_postgresql() {
    postgres::with_store(a_run_waits_with_its_last_node).await;
}
