//! Runs that may take so long and no longer.

use std::sync::Arc;

use serde_json::json;
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::Store;
use skein_tests::{postgres, sqlite};

use crate::fleet::{Fleet, node};
use crate::server::Server;

/// One run that is working when its time is over, and one of which everything waits.
async fn both_end_as_timed_out(store: Arc<dyn Store>) {
    let fleet = Fleet::start(store, Arc::new(InProcess::new()), 1);
    let server = Server::start().await;
    let call = json!({ "id": "n", "type": "http", "params": { "url": server.hang(1, "slow") } });
    let wait = json!({ "id": "n", "type": "delay", "params": { "for": "1h" } });
    for (name, late) in [("works", call), ("waits", wait)] {
        let document = json!({ "name": name, "nodes": [late], "budget": { "deadline": "1s" } });
        let published = fleet.publish(&document).await;
        let run = fleet.start_run(&published, &json!({})).await;
        let detail = fleet.ended(run).await;
        let story = fleet.story(run).await;
        assert_eq!(detail.summary.state, RunState::TimedOut, "{story}");
        assert_eq!(&*detail.summary.error.as_ref().unwrap().code, "deadline");
        assert_eq!(node(&detail, "n").unwrap().state, NodeState::Cancelled, "{story}");
        let took = detail.summary.ended_at.unwrap() - detail.summary.created_at;
        assert!(took.num_milliseconds() >= 1_000, "{took}: {story}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_past_its_deadline_is_stopped_on_sqlite() {
    sqlite::with_store(both_end_as_timed_out).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_past_its_deadline_is_stopped_on_postgresql() {
    postgres::with_store(both_end_as_timed_out).await;
}
