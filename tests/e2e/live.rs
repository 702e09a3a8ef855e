//! Whoever follows a run sees it happen, whichever replica of the API that is at.

use std::collections::VecDeque;
use std::sync::Arc;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use skein_shared::broker::Broker;
use skein_shared::broker::rabbitmq::{RabbitMq, RabbitMqOptions};
use skein_shared::domain::ids::{ActivationKey, RunId};
use skein_tests::rabbitmq::amqp_url;
use skein_tests::stack::{
    Client, KEY, PATIENCE, POOLS, Program, Setup, Stack, eventually, free_port, with_stack,
};
use skein_worker::live::LivePublisher;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pieces of text that a model yields.
const TOKENS: u64 = 200;

/// An event stream, as far as it has been read.
struct Events {
    response: Response,
    text: String,
    events: VecDeque<(String, Option<String>, Value)>,
}

impl Events {
    async fn follow(client: &Client, run: &str, last: Option<&str>) -> Self {
        let request = client.request(Method::GET, &format!("/v1/runs/{run}/events"));
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let response = request.send().await.expect("the API answers");
        assert_eq!(response.status(), StatusCode::OK);
        Self { response, text: String::new(), events: VecDeque::new() }
    }

    /// Name, id and data of the next event; `None` where the stream ends, or is cut.
    async fn next(&mut self) -> Option<(String, Option<String>, Value)> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("something comes").ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("a chunk ends with an event"));
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = block.lines().filter_map(|line| line.split_once(": "));
                    lines.find(|(field, _)| *field == name).map(|(_, value)| value.to_owned())
                };
                if let (Some(name), Some(data)) = (field("event"), field("data")) {
                    let data = serde_json::from_str(&data).expect("it is JSON");
                    self.events.push_back((name, field("id"), data));
                }
                self.text = rest.to_owned();
            }
        }
    }
}

/// A second replica of the API.
async fn another_api(stack: &Stack) -> (Program, Client) {
    let address = format!("127.0.0.1:{}", free_port());
    let mut api = stack.program("skein-api-2", &["skein-api"]);
    api.set("SKEIN_LISTEN", &address);
    api.start();
    let client = Client::new(&format!("http://{address}"), KEY);
    eventually("the second API serves", async || {
        client.get("/readyz").await.ok().filter(|answer| answer.status.is_success())
    })
    .await;
    (api, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_followed_at_one_replica_and_then_at_another() {
    with_stack(Setup::distributed("live").workers(1), async |stack| {
        let (mut api, client) = another_api(stack).await;
        let url = stack.outside.url("/gate/{{ input.n }}");
        let document = json!({
            "name": "held",
            "nodes": [{ "id": "ask", "type": "http", "params": { "method": "POST", "url": url, "body": {} } }],
        });
        stack.client.publish(&document).await;
        let run = stack.client.start("held", &json!({ "n": 1 })).await;
        let id: RunId = run.id().parse().expect("a UUID");
        stack.outside.wait_for("/gate/", 1).await;

        // What the model of a node would yield on some worker.
        let options = RabbitMqOptions {
            namespace: stack.namespace.clone(),
            ..RabbitMqOptions::new(amqp_url())
        };
        let broker = Arc::new(RabbitMq::connect(options).expect("the options are legal"));
        eventually("the worker is connected", async || broker.depth(POOLS[0]).await.ok()).await;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let publisher = LivePublisher::start(&tasks, Arc::clone(&broker) as _, stop.clone());
        let live = publisher.attempt();
        let key = ActivationKey::root(id, "ask");

        let mut events = Events::follow(&client, run.id(), None).await;
        let mut rows = Vec::new();
        for token in 0..TOKENS {
            let text = format!("token {token}\n");
            live.delta(&key, 1, &text);
            let heard = loop {
                let (name, id, data) = events.next().await.expect("the stream goes on");
                match (name.as_str(), id) {
                    ("llm.delta", None) => break data,
                    (_, Some(id)) => rows.push((id, data)),
                    (other, None) => panic!("{other} has no id"),
                }
            };
            let expected = json!({ "node": "ask", "scope": "", "step": 1, "seq": token, "text": text });
            assert_eq!(heard, expected);
        }
        // Several at once may come together, and come in order all the same.
        let text: String = (0..TOKENS).map(|token| format!("more {token}\n")).collect();
        for line in text.lines() {
            live.delta(&key, 2, &format!("{line}\n"));
        }
        drop(live);
        let (mut heard, mut next) = (String::new(), 0);
        while heard.len() < text.len() {
            let (name, id, data) = events.next().await.expect("the stream goes on");
            match (name.as_str(), id) {
                ("llm.delta", None) => {
                    assert_eq!((&data["step"], &data["seq"]), (&json!(2), &json!(next)));
                    heard.push_str(data["text"].as_str().expect("a text"));
                    next += 1;
                }
                (_, id) => rows.push((id.expect("it is a row"), data)),
            }
        }
        assert_eq!(heard, text);

        // The rows of an open run may come late where somebody else's transaction is open.
        while rows.is_empty() {
            let (_, id, data) = events.next().await.expect("the stream goes on");
            rows.push((id.expect("it is a row"), data));
        }
        api.kill().await;
        while let Some((_, id, data)) = events.next().await {
            rows.push((id.expect("it is a row"), data));
        }
        let last = rows.last().map(|(id, _)| id.clone());
        let mut events = Events::follow(&stack.client, run.id(), last.as_deref()).await;
        stack.outside.open("1");
        let mut end = Value::Null;
        while let Some((name, id, data)) = events.next().await {
            match id {
                Some(id) => rows.push((id, data)),
                None => (assert_eq!(name, "end"), end = data).1,
            }
        }
        assert_eq!(end, json!({ "status": "succeeded" }));
        let log = stack.client.get(&format!("/v1/runs/{}/logs?limit=500", run.id())).await;
        let log = log.expect("the API answers").body["items"].clone();
        let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
        assert_eq!(Value::from(rows), log);

        stop.cancel();
        tasks.close();
        tasks.wait().await;
        broker.close().await;
    })
    .await;
}
