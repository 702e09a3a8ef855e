//! How much a worker fetches ahead: what finds no slot goes back, and the broker counts that.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skein_shared::broker::Broker;
use skein_tests::sqlite;
use skein_worker::Settings;

use crate::altered::Altered;
use crate::fleet::{Fleet, settings};
use crate::server::Server;

/// One worker with four slots, asked to run this; returns how much each of its consumers fetched ahead.
async fn fetched_ahead<W>(work: impl FnOnce(Fleet) -> W + Send + 'static) -> Vec<u16>
where
    W: Future<Output = Fleet> + Send,
{
    let (sender, receiver) = tokio::sync::oneshot::channel();
    sqlite::with_store(async move |store| {
        let broker = Altered::new(<[_]>::to_vec);
        let mut fleet = Fleet::start(store, Arc::clone(&broker) as Arc<dyn Broker>, 0);
        let drain_timeout = Duration::from_millis(100);
        fleet.add_worker(&Settings { concurrency: 4, drain_timeout, ..settings() });
        let fleet = work(fleet).await;
        sender.send(broker.prefetches()).unwrap();
        fleet.stop().await;
    })
    .await;
    receiver.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_fetched_ahead_than_there_are_free_slots() {
    let server = Server::start().await;
    let prefetches = fetched_ahead(async move |fleet: Fleet| {
        // One of four slots gets free, after longer than what was fetched ahead is kept.
        for (name, timeout) in [("a", "2s"), ("b", "60s"), ("c", "60s"), ("d", "60s"), ("e", "60s")]
        {
            let node = json!({ "id": name, "type": "http", "params": { "url": server.hang(1, name) },
                               "timeout": timeout });
            let workflow = json!({ "name": name, "nodes": [node] });
            fleet.start_run(&fleet.publish(&workflow).await, &json!({})).await;
            server.hit(name).await;
        }
        fleet
    });
    assert_eq!(prefetches.await, [4, 1]);
}

/// What waits for a slot here could be at work elsewhere, also where a slot gets free now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_worker_fetches_less_ahead() {
    let server = Server::start().await;
    let prefetches = fetched_ahead(async move |fleet: Fleet| {
        let node = json!({ "id": "a", "type": "http", "params": { "url": server.hang(100, "a") },
                           "timeout": "2s" });
        let workflow = fleet.publish(&json!({ "name": "w", "nodes": [node] })).await;
        // Slots get free one after another, none of them a second after the one before.
        let mut runs = Vec::new();
        for _ in 0..12 {
            runs.push(fleet.start_run(&workflow, &json!({})).await);
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        for run in runs {
            fleet.ended(run).await;
        }
        fleet
    });
    let prefetches = prefetches.await;
    assert!(prefetches[0] == 4 && prefetches[1..].contains(&1), "{prefetches:?}");
}
