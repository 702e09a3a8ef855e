//! What a run does without: messages for what a worker goes on with itself, statements for what is only computed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use skein_shared::domain::limits::CRASHES_UNSUSPECTED_MAX;
use skein_shared::domain::state::RunState;
use skein_tests::sqlite;

use crate::altered::Altered;
use crate::fleet::{Fleet, settings};
use crate::scenarios::crash;
use crate::server::Server;

/// Runs a workflow and says how many messages that took, and which nodes were started by a claim of their own: one
/// that is inlined into the commit of another has no `node.started`.
async fn cost(nodes: Vec<Value>, edges: &[(&str, &str)]) -> (usize, Vec<String>) {
    let edges: Vec<_> = edges.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
    let document = json!({ "name": "w", "nodes": nodes, "edges": edges });
    let (sender, receiver) = tokio::sync::oneshot::channel();
    sqlite::with_store(async move |store| {
        let published = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&published);
        let broker = Altered::new(move |batch| {
            counted.fetch_add(batch.len(), Ordering::Relaxed);
            batch.to_vec()
        });
        let fleet = Fleet::start(store, broker, 1);
        let workflow = fleet.publish(&document).await;
        // What is there when the first lease is opened is published again, for the queue of before is gone.
        let first = fleet.start_run(&workflow, &json!({})).await;
        fleet.ended(first).await;
        fleet.drained().await;
        published.store(0, Ordering::Relaxed);
        let run = fleet.start_run(&workflow, &json!({})).await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.summary.state, RunState::Succeeded, "{detail:#?}");
        let log = fleet.log(run).await;
        let started = log.into_iter().filter(|row| row.event == "node.started");
        let mut started: Vec<_> = started.filter_map(|row| row.node).collect();
        started.sort();
        fleet.stop().await;
        sender.send((published.load(Ordering::Relaxed), started)).unwrap();
    })
    .await;
    receiver.await.unwrap()
}

/// Suspects start one after another, and those that wait for that are not sent around meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_is_published_once() {
    const SUSPECTS: usize = 4;
    let server = Server::start().await;
    sqlite::with_store(async move |store| {
        let published = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&published);
        let broker = Altered::new(move |batch| {
            counted.fetch_add(batch.len(), Ordering::Relaxed);
            batch.to_vec()
        });
        let mut fleet = Fleet::start(store, broker, 0);
        // So slow that all others come by while one of them runs.
        let node = json!({ "id": "a", "type": "http", "params": { "url": server.hang(100, "a") },
                           "timeout": "200ms" });
        let workflow = fleet.publish(&json!({ "name": "w", "nodes": [node] })).await;
        let mut runs = Vec::new();
        for _ in 0..SUSPECTS {
            let run = fleet.accept_silently(&workflow, &json!({})).await;
            for _ in 0..=CRASHES_UNSUSPECTED_MAX {
                crash(&fleet, run, "a").await;
            }
            runs.push(run);
        }
        fleet.store.make_due(&runs).await.unwrap();
        fleet.add_worker(&settings());
        for run in runs {
            fleet.ended(run).await;
        }
        // All but one would be published twice at least.
        let published = published.load(Ordering::Relaxed);
        assert!(published < 2 * SUSPECTS - 1, "{published}");
        fleet.stop().await;
    })
    .await;
}

/// How often what is computed may take longer than a commit has time for.
const BUSY_MAX: usize = 10;

fn get(server: &Server, id: &str) -> Value {
    json!({ "id": id, "type": "http", "params": { "url": server.answer(id) } })
}

fn compute(id: &str) -> Value {
    json!({ "id": id, "type": "transform", "params": { "value": 1 } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_goes_on_with_needs_no_message() {
    let server = Server::start().await;
    let nodes = ["a", "b", "c"].map(|id| get(&server, id)).to_vec();
    let (messages, started) = cost(nodes, &[("a", "b"), ("b", "c")]).await;
    assert_eq!((messages, started), (1, vec!["a".into(), "b".into(), "c".into()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_fan_all_but_one_are_for_others_and_the_join_is_not_published() {
    let server = Server::start().await;
    let nodes = ["hub", "a", "b", "c", "join"].map(|id| get(&server, id)).to_vec();
    let fan =
        [("hub", "a"), ("hub", "b"), ("hub", "c"), ("a", "join"), ("b", "join"), ("c", "join")];
    let (messages, started) = cost(nodes, &fan).await;
    assert_eq!((messages, started.len()), (3, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_computed_is_inlined() {
    let server = Server::start().await;
    let nodes = vec![get(&server, "ask"), compute("a"), compute("b"), compute("c"), compute("d")];
    let edges = [("ask", "a"), ("ask", "b"), ("a", "c"), ("b", "c"), ("c", "d")];
    let mut found = cost(nodes.clone(), &edges).await;
    // On a busy machine they may take longer than a commit has time for: not each time.
    for _ in 0..BUSY_MAX {
        if found.1.len() == 1 {
            break;
        }
        found = cost(nodes.clone(), &edges).await;
    }
    assert_eq!(found, (1, vec!["ask".to_owned()]));
}
