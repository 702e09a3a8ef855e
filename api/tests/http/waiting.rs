//! `?wait=SECONDS`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skein_shared::domain::ids::{CallId, RunId};

use crate::harness::{Client, Parts, Server};

/// How long [`start_and_wait`] waits at most.
const WAIT: Duration = Duration::from_secs(30);
/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(600);

/// The id of the only run of this client, as soon as there is one.
async fn only_run(client: &Client) -> RunId {
    let seen = async {
        loop {
            let list = client.get("/v1/runs").await.expect(200);
            if let Some(id) = list["items"][0]["id"].as_str() {
                return id.parse().unwrap();
            }
        }
    };
    tokio::time::timeout(WAIT, seen).await.expect("a run is there")
}

fn start_and_wait(
    client: &Client,
    headers: &'static [(&'static str, &'static str)],
) -> tokio::task::JoinHandle<(u16, Value)> {
    let client = client.clone();
    tokio::spawn(async move {
        let body = json!({ "input": { "n": 1 } });
        let path = format!("/v1/workflows/adder/runs?wait={}", WAIT.as_secs());
        let answer = client.post_with(&path, &body, headers).await;
        (answer.status, answer.json())
    })
}

/// The end is announced: the next poll of the store would come after the wait.
#[tokio::test]
async fn the_answer_comes_when_the_run_ends() {
    let limits = skein_api::Limits { wait_poll: NEVER, ..skein_api::Limits::default() };
    let server = Server::with(Parts { limits, ..Parts::default() }).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let waiting = start_and_wait(&ada, &[]);
    let id = only_run(&ada).await;
    let asked = Instant::now();
    ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    let (status, run) = waiting.await.unwrap();
    assert!(asked.elapsed() < WAIT, "{:?}", asked.elapsed());
    assert_eq!((status, &run["status"]), (200, &json!("cancelled")));
    assert_eq!(run["id"], id.to_string());
    assert!(run["finished_at"].is_string());
}

#[tokio::test]
async fn an_end_that_nobody_announces_is_found_in_the_store() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let waiting = start_and_wait(&ada, &[]);
    let id = only_run(&ada).await;
    server.store.request_cancel(&ada.identity, id).await.unwrap();
    let ended = server.store.finish_runs(CallId::generate(), &[id]).await.unwrap();
    assert_eq!(ended.ended.len(), 1);
    let (status, run) = waiting.await.unwrap();
    assert_eq!((status, &run["status"]), (200, &json!("cancelled")));
}

#[tokio::test]
async fn a_run_that_goes_on_is_answered_as_accepted() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let body = json!({ "input": { "n": 1 } });
    for wait in ["0", "0.05"] {
        let answer = ada.post(&format!("/v1/workflows/adder/runs?wait={wait}"), &body).await;
        assert_eq!(answer.expect(202)["status"], "queued");
    }
}

#[tokio::test]
async fn a_repeated_request_waits_for_the_first_run() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    const KEY: &[(&str, &str)] = &[("idempotency-key", "wait-1")];
    let first = start_and_wait(&ada, KEY);
    let id = only_run(&ada).await;
    let second = start_and_wait(&ada, KEY);
    ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    for waiting in [first, second, start_and_wait(&ada, KEY)] {
        let (status, run) = waiting.await.unwrap();
        assert_eq!((status, &run["id"]), (200, &json!(id.to_string())));
    }
}

#[tokio::test]
async fn a_shutdown_ends_the_wait_and_not_the_run() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let waiting = start_and_wait(&ada, &[]);
    let id = only_run(&ada).await;
    server.shutdown.cancel();
    let (status, run) = waiting.await.unwrap();
    assert_eq!((status, &run["status"]), (202, &json!("queued")));
    assert_eq!(run["id"], id.to_string());
    server.served.await.unwrap();
}

#[tokio::test]
async fn a_wait_that_is_over_tells_where_the_run_has_come_to() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let waiting = start_and_wait(&ada, &[]);
    let id = only_run(&ada).await;
    // Nobody ends the run, so nothing but the shutdown ends the wait.
    server.store.request_cancel(&ada.identity, id).await.unwrap();
    server.shutdown.cancel();
    let (status, run) = waiting.await.unwrap();
    assert_eq!((status, &run["cancelling"]), (202, &json!(true)), "{run}");
}

#[tokio::test]
async fn the_bound_of_a_request_leaves_the_wait_alone_however_it_is_written() {
    let request_time = Duration::from_millis(700);
    let limits = skein_api::Limits { request_time, ..skein_api::Limits::default() };
    let server = Server::with(Parts { limits, ..Parts::default() }).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    for query in ["wait=1.5", "w%61it=1.5"] {
        let asked = Instant::now();
        let path = format!("/v1/workflows/adder/runs?{query}");
        let answer = ada.post(&path, &json!({ "input": { "n": 1 } })).await;
        assert_eq!(answer.expect(202)["status"], "queued");
        assert!(asked.elapsed() >= Duration::from_millis(1500), "{:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn a_run_that_was_accepted_is_answered_though_the_store_goes_away() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let client = ada.clone();
    let waiting = tokio::spawn(async move {
        let body = json!({ "input": { "n": 1 } });
        client.post("/v1/workflows/adder/runs?wait=2", &body).await
    });
    let id = only_run(&ada).await;
    server.store.close().await;
    // The end is announced, but nobody can read the run.
    server.broker.announce(&[id]).await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.expect(202)["id"], id.to_string());
    assert_eq!(answer.header("location"), format!("/v1/runs/{id}"));
}

#[tokio::test]
async fn with_too_many_waiting_a_run_is_still_accepted() {
    let limits = skein_api::Limits { waits: 0, ..skein_api::Limits::default() };
    let server = Server::with(Parts { limits, ..Parts::default() }).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let (status, run) = start_and_wait(&ada, &[]).await.unwrap();
    assert_eq!((status, &run["status"]), (202, &json!("queued")));
}
