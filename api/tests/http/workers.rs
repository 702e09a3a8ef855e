//! Workers, and what runs say of them. Over a store of its own each: all tests of a database share its workers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use skein_shared::domain::ids::LeaseId;
use skein_shared::domain::key_scopes::{KeyScope, KeyScopes};
use skein_shared::store::engine::NewLease;
use skein_shared::store::sqlite::SqliteStore;
use skein_shared::store::{Admin, EngineStore};

use crate::harness::{Parts, Server};
use crate::work::Work;

/// A served API over a file, and the file's directory.
struct Alone {
    server: Server,
    store: SqliteStore,
    directory: PathBuf,
}

impl Alone {
    async fn start() -> Self {
        let name = format!("skein_test_{}", LeaseId::generate().0.simple());
        let directory = std::env::temp_dir().join(name);
        let file = directory.join("skein.db");
        let store = SqliteStore::open(file.to_str().unwrap()).await.unwrap();
        let server =
            Server::with(Parts { store: Arc::new(store.clone()), ..Parts::default() }).await;
        Self { server, store, directory }
    }

    async fn worker(&self, pid: u32, ttl: Duration) -> LeaseId {
        let id = LeaseId::generate();
        let lease =
            NewLease { id, host: "mill-7".to_owned(), pid, version: "1.2.3", slots: 8, ttl };
        self.store.open_lease(&lease).await.unwrap();
        // The next one is newer.
        tokio::time::sleep(Duration::from_millis(2)).await;
        id
    }

    async fn end(self) {
        self.server.shutdown.cancel();
        self.server.served.await.unwrap();
        self.store.close().await;
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn workers_are_listed_with_what_they_do() {
    let alone = Alone::start().await;
    let ada = alone.server.tenant().await;
    assert_eq!(ada.get("/v1/workers").await.expect(200)["items"], json!([]));
    let stopped = alone.worker(1, HOUR).await;
    let silent = alone.worker(2, Duration::from_millis(1)).await;
    let live = alone.worker(3, HOUR).await;
    alone.store.heartbeat(live, 5).await.unwrap().unwrap();
    alone.store.close_lease(stopped, &[]).await.unwrap();
    let list = ada.get("/v1/workers").await.expect(200);
    let items = list["items"].as_array().unwrap();
    let shown: Vec<_> = items
        .iter()
        .map(|it| (it["id"].as_str().unwrap(), it["status"].as_str().unwrap(), &it["busy"]))
        .collect();
    let ids = [live, silent, stopped].map(|id| id.to_string());
    let expected = [
        (&*ids[0], "live", &json!(5)),
        (&*ids[1], "dead", &json!(0)),
        (&*ids[2], "stopped", &json!(0)),
    ];
    assert_eq!(shown, expected);
    let newest = &items[0];
    assert_eq!((&newest["host"], &newest["pid"]), (&json!("mill-7"), &json!(3)));
    assert_eq!((&newest["version"], &newest["slots"]), (&json!("1.2.3"), &json!(8)));
    let time = |name: &str| newest[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert!(time("started_at") <= time("seen_at"), "{newest}");

    let first = ada.get("/v1/workers?limit=2").await.expect(200);
    assert_eq!(first["items"], Value::from(&items[..2]));
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = ada.get(&format!("/v1/workers?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(second["items"], Value::from(&items[2..]));
    assert_eq!(second["next_cursor"], Value::Null);
    for cursor in ["x", "17.x", &cursor.replace('~', "0~")] {
        let answer = ada.get(&format!("/v1/workers?cursor={cursor}")).await;
        assert_eq!(answer.problem(422, "invalid-request")["errors"][0]["parameter"], "cursor");
    }
    alone.end().await;
}

#[tokio::test]
async fn only_a_key_for_everything_sees_the_workers() {
    let alone = Alone::start().await;
    let ada = alone.server.tenant().await;
    for scope in [KeyScope::Read, KeyScope::Run, KeyScope::Approve, KeyScope::Write] {
        let key = alone.server.scoped(&ada.identity, KeyScopes::NONE.with(scope)).await;
        key.get("/v1/workers").await.problem(403, "forbidden");
    }
    alone.end().await;
}

#[tokio::test]
async fn a_run_names_the_worker_of_each_attempt() {
    let alone = Alone::start().await;
    let ada = alone.server.tenant().await;
    ada.publish("adder").await;
    let accepted = ada.run("adder").await;
    assert_eq!(accepted["nodes"][0]["worker"], Value::Null);
    let id = accepted["id"].as_str().unwrap();
    let work = Work::begin(&*alone.server.store, id).await;
    let path = format!("/v1/runs/{id}");
    let run = ada.get(&path).await.expect(200);
    assert_eq!(run["nodes"][0]["worker"], "test:1");
    // It waits, which ends the attempt and not the node.
    work.ask(1).await;
    let run = ada.get(&path).await.expect(200);
    assert_eq!(run["nodes"][0]["earlier_attempts"][0]["worker"], "test:1", "{run}");
    let node = ada.get(&format!("{path}/nodes/add")).await.expect(200);
    assert_eq!(node["earlier_attempts"][0]["worker"], "test:1", "{node}");
    alone.end().await;
}

#[tokio::test]
async fn a_run_says_that_no_worker_lives() {
    let alone = Alone::start().await;
    let ada = alone.server.tenant().await;
    ada.publish("adder").await;
    let path = format!("/v1/runs/{}", ada.run("adder").await["id"].as_str().unwrap());
    let no_worker = async || ada.get(&path).await.expect(200)["no_worker"].clone();
    assert_eq!(no_worker().await, true);
    let light = ada.get(&format!("{path}?values=false")).await.expect(200);
    assert_eq!(light["no_worker"], true);
    let lease = alone.worker(1, HOUR).await;
    assert_eq!(no_worker().await, false);
    alone.store.close_lease(lease, &[]).await.unwrap();
    assert_eq!(no_worker().await, true);
    let cancelled = ada.post(&format!("{path}/cancel"), &json!({})).await.expect(202);
    assert_eq!(cancelled["no_worker"], false, "{cancelled}");
    alone.end().await;
}
