//! What runs show that have called models and tools.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use skein_api::Limits;
use skein_shared::domain::key_scopes::{KeyScope, KeyScopes};
use skein_shared::domain::tenant::Identity;
use sqlx::{Connection, PgConnection};

use crate::database;
use crate::failing_reads::FailingReads;
use crate::harness::{Client, Parts, Server};
use crate::work::Work;

/// A run of a new workflow.
async fn started(client: &Client) -> String {
    client.publish("adder").await;
    client.run("adder").await["id"].as_str().unwrap().to_owned()
}

fn usage(input: u64, output: u64) -> Value {
    json!({
        "input_tokens": input, "output_tokens": output, "cached_tokens": 0, "total_tokens": input + output,
    })
}

#[tokio::test]
async fn a_run_shows_what_it_has_spent_and_may_spend() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let body = json!({ "input": { "n": 1 }, "budget": { "max_usd": 0.5, "deadline": "1h" } });
    let run = ada.post("/v1/workflows/adder/runs", &body).await.expect(202);
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    assert_eq!((&run["usage"], &run["cost_usd"]), (&usage(0, 0), &json!(0.0)));
    // What the acceptance answers is what is stored.
    assert_eq!(ada.get(&path).await.expect(200)["budget"], run["budget"]);
    assert_eq!(run["budget"]["max_usd"], 0.5);
    assert_eq!(run["budget"]["max_tokens"], json!(null));
    assert_eq!(run["budget"]["on_exhausted"], "suspend");
    assert!(run["budget"]["deadline"].is_string(), "{run}");

    let work = Work::begin(&*server.store, run["id"].as_str().unwrap()).await;
    work.call_model(1, "large", 90, true).await;
    let run = ada.get(&path).await.expect(200);
    assert_eq!((&run["usage"], &run["cost_usd"]), (&usage(90, 10), &json!(0.0001)));
    assert_eq!([&run["calls"], &run["unpriced_calls"], &run["steps"]], [1, 0, 1]);
    let small = ada.get(&format!("{path}?values=false")).await.expect(200);
    assert_eq!(small["cost_usd"], run["cost_usd"]);

    let free = ada.run("adder").await;
    assert_eq!(free["budget"], json!(null));
}

#[tokio::test]
async fn what_has_no_price_is_counted_and_not_called_free() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let run = started(&ada).await;
    let work = Work::begin(&*server.store, &run).await;
    work.call_model(1, "homemade", 90, false).await;
    let shown = ada.get(&format!("/v1/runs/{run}")).await.expect(200);
    assert_eq!((&shown["cost_usd"], &shown["unpriced_calls"]), (&json!(null), &json!(1)));
    work.call_model(2, "large", 90, true).await;
    let shown = ada.get(&format!("/v1/runs/{run}")).await.expect(200);
    assert_eq!((&shown["cost_usd"], &shown["unpriced_calls"]), (&json!(0.0001), &json!(1)));
    assert_eq!(shown["usage"], usage(180, 20));
    let costs = ada.get("/v1/costs").await.expect(200);
    let cost = |at: usize| {
        let item = &costs["items"][at];
        json!([
            item["model"],
            item["calls"],
            item["unpriced_calls"],
            item["input_tokens"],
            item["cost_usd"]
        ])
    };
    assert_eq!(cost(0), json!(["homemade", 1, 1, 90, null]));
    assert_eq!(cost(1), json!(["large", 1, 0, 90, 0.0001]));
    let steps = ada.get(&format!("/v1/runs/{run}/steps")).await.expect(200);
    assert_eq!(
        (&steps["items"][0]["cost_usd"], &steps["items"][0]["usage"]),
        (&json!(null), &usage(90, 10))
    );
}

#[tokio::test]
async fn costs_are_summed_up_by_what_is_asked_for_and_page_by_page() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let (first, second) =
        (started(&ada).await, ada.run("adder").await["id"].as_str().unwrap().to_owned());
    for (run, tokens) in [(&first, 90), (&second, 190)] {
        Work::begin(&*server.store, run).await.call_model(1, "large", tokens, true).await;
    }
    for (by, keys) in [
        ("model", vec!["large"]),
        ("provider", vec!["acme-ai"]),
        ("workflow", vec!["adder"]),
        ("node", vec!["adder/add"]),
        ("user", vec!["ada"]),
    ] {
        let costs = ada.get(&format!("/v1/costs?group_by={by}")).await.expect(200);
        let found: Vec<_> = costs["items"].as_array().unwrap().iter().collect();
        assert_eq!(found.iter().map(|it| it[by].as_str().unwrap()).collect::<Vec<_>>(), keys);
        assert_eq!((&found[0]["calls"], &found[0]["cost_usd"]), (&json!(2), &json!(0.0003)));
    }
    let mut found = Vec::new();
    let mut path = "/v1/costs?group_by=run&limit=1".to_owned();
    loop {
        let page = ada.get(&path).await.expect(200);
        let items = page["items"].as_array().unwrap();
        found.extend(items.iter().map(|it| it["run"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        ada.get(&format!("/v1/costs?group_by=model&cursor={cursor}"))
            .await
            .problem(422, "invalid-request");
        path = format!("/v1/costs?group_by=run&limit=1&cursor={cursor}");
    }
    // The latest first.
    let mut runs = [first.clone(), second];
    runs.sort();
    runs.reverse();
    assert_eq!(found, runs);
    let of_first = ada.get(&format!("/v1/costs?run={first}")).await.expect(200);
    assert_eq!(of_first["items"][0]["cost_usd"], 0.0001);
    for nothing in ["from=2999-01-01T00:00:00Z", "to=2020-01-01T00:00:00Z", "workflow=other"] {
        let costs = ada.get(&format!("/v1/costs?{nothing}")).await.expect(200);
        assert_eq!(costs["items"], json!([]), "{nothing}");
    }
}

/// A sum reads as much as an organization has: not of all times unless it is asked to, and then not in one answer.
#[tokio::test]
async fn costs_of_long_ago_are_summed_up_only_if_they_are_asked_for_and_a_year_at_a_time() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let run = started(&ada).await;
    Work::begin(&*server.store, &run).await.call_model(1, "large", 90, true).await;
    let mut database = PgConnection::connect(database::url()).await.unwrap();
    let age = "UPDATE model_cost_logs SET ts = ts - interval '40 days' WHERE run_id = $1::uuid";
    sqlx::query(age).bind(&run).execute(&mut database).await.unwrap();
    let ago =
        |days| (chrono::Utc::now() - chrono::TimeDelta::days(days)).format("%Y-%m-%dT%H:%M:%SZ");
    for by in ["model", "day"] {
        let list = async |filter: String| {
            let path = format!("/v1/costs?group_by={by}{filter}");
            ada.get(&path).await.expect(200)["items"].as_array().unwrap().len()
        };
        assert_eq!(list(String::new()).await, 0, "{by}");
        assert_eq!(list(format!("&from={}", ago(50))).await, 1, "{by}");
        assert_eq!(list(format!("&to={}", ago(35))).await, 1, "{by}");
        assert_eq!(list(format!("&run={run}")).await, 1, "{by}");
    }
    let answer = ada.get(&format!("/v1/costs?from={}", ago(370))).await;
    let problem = answer.problem(422, "invalid-request");
    assert_eq!(problem["errors"][0]["parameter"], "from");
    assert!(problem["detail"].as_str().unwrap().contains("366 days"), "{problem}");
    ada.get(&format!("/v1/costs?from={}&to={}", ago(700), ago(400))).await.expect(200);
}

/// A crowd that asks for sums waits for itself: the store is asked for one at a time, and whoever waits too long is told to
/// come again.
#[tokio::test]
async fn an_organization_is_answered_one_sum_at_a_time() {
    let parts = Parts::default();
    let store = Arc::new(FailingReads::new(Arc::clone(&parts.store), usize::MAX));
    let broad_read_time = Duration::from_millis(300);
    let limits = Limits { broad_read_time, ..Limits::default() };
    let server = Server::with(Parts { store: Arc::clone(&store) as _, limits, ..parts }).await;
    let ada = server.tenant().await;
    let same = server.user(&Identity { workspace: "side".into(), ..ada.identity.clone() }).await;
    let eve = server.tenant().await;
    let shut = store.sums_open.write().await;
    let mut crowd: FuturesUnordered<_> = (0..12)
        .map(|at| if at % 2 == 0 { &ada } else { &same })
        .map(|client| client.get("/v1/costs"))
        .collect();
    for _ in 0..11 {
        let answer = crowd.next().await.unwrap();
        answer.problem(503, "overloaded");
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(store.sums.load(Ordering::Relaxed), 1, "the others have not come to the store");
    eve.get("/v1/runs").await.expect(200);
    drop(shut);
    crowd.next().await.unwrap().expect(200);
    eve.get("/v1/costs").await.expect(200);
}

#[tokio::test]
async fn a_tool_that_waits_is_shown_and_decided_about_once() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let run = started(&ada).await;
    let work = Work::begin(&*server.store, &run).await;
    work.call_model(1, "large", 90, true).await;
    work.ask(2).await;
    let node = ada.get(&format!("/v1/runs/{run}/nodes/add")).await.expect(200);
    assert_eq!(
        (&node["waiting_for"]["type"], &node["waiting_for"]["step"]),
        (&json!("decision"), &json!(2))
    );
    assert_eq!(node["waiting_for"]["expires_at"], node["wake_at"]);
    assert!(node["wake_at"].is_string(), "{node}");
    let shown = ada.get(&format!("/v1/runs/{run}?values=false")).await.expect(200);
    assert_eq!(shown["nodes"][0]["waiting_for"], node["waiting_for"]);
    let steps = ada.get(&format!("/v1/runs/{run}/steps")).await.expect(200);
    let [model, tool] = &steps["items"].as_array().unwrap()[..] else { panic!("{steps}") };
    assert_eq!((&model["thought"], &model["latency_ms"]), (&json!("geese honk"), &json!(1250)));
    assert_eq!(model["observation"], json!({ "text": "honk" }));
    // All that a step has is there, though it may be null.
    for name in [
        "node",
        "scope",
        "index",
        "kind",
        "name",
        "status",
        "arguments",
        "observation",
        "thought",
        "usage",
    ]
    .iter()
    .chain(&["cost_usd", "latency_ms", "trace_id", "span_id", "started_at"])
    {
        assert!(model.get(name).is_some() && tool.get(name).is_some(), "{name}: {steps}");
    }
    assert_eq!(steps["next_cursor"], Value::Null);
    assert_eq!(model["usage"], usage(90, 10));
    let shown =
        json!([tool["node"], tool["index"], tool["kind"], tool["status"], tool["cost_usd"]]);
    assert_eq!(shown, json!(["add", 2, "tool", "pending", null]));
    assert_eq!(tool["arguments"], json!({ "query": "geese" }));
    assert!(tool["expires_at"].is_string(), "{tool}");

    let path = format!("/v1/runs/{run}/nodes/add/decision");
    let another = ada.post(&path, &json!({ "step": 1, "approved": true })).await;
    let detail = another.problem(409, "not-pending")["detail"].to_string();
    assert!(detail.contains("step 1") && detail.contains("step 2"), "{detail}");
    let starter = KeyScopes::NONE.with(KeyScope::Run).with(KeyScope::Read);
    let starter = server.scoped(&ada.identity, starter).await;
    let decision = json!({ "step": 2, "approved": true });
    starter.post(&path, &decision).await.problem(403, "forbidden");
    let (one, other) = tokio::join!(ada.post(&path, &decision), ada.post(&path, &decision));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert!(statuses[0] < 300 && statuses[1] == 409, "{statuses:?}");
    let steps = ada.get(&format!("/v1/runs/{run}/steps")).await.expect(200);
    assert_eq!(steps["items"][1]["status"], "approved");
}

#[tokio::test]
async fn nobody_sees_what_another_organization_has_spent_or_decides_for_it() {
    let server = Server::start().await;
    let (ada, eve) = (server.tenant().await, server.tenant().await);
    let run = started(&ada).await;
    let work = Work::begin(&*server.store, &run).await;
    work.call_model(1, "large", 90, true).await;
    work.ask(2).await;
    for by in ["model", "provider", "workflow", "run", "node", "user", "day"] {
        for filter in [String::new(), format!("&run={run}"), "&workflow=adder".to_owned()] {
            let path = format!("/v1/costs?group_by={by}{filter}");
            assert_eq!(eve.get(&path).await.expect(200)["items"], json!([]), "{path}");
            assert_ne!(ada.get(&path).await.expect(200)["items"], json!([]), "{path}");
        }
    }
    eve.get(&format!("/v1/runs/{run}/steps")).await.problem(404, "run-not-found");
    let decision = json!({ "step": 2, "approved": true });
    let path = format!("/v1/runs/{run}/nodes/add/decision");
    eve.post(&path, &decision).await.problem(404, "node-not-found");
    let budget = json!({ "max_steps": 0 });
    eve.post(&format!("/v1/runs/{run}/budget"), &budget).await.problem(404, "run-not-found");
    assert_eq!(ada.get(&format!("/v1/runs/{run}")).await.expect(200)["budget"], json!(null));
    assert!(ada.post(&path, &decision).await.status < 300, "it was the key that failed");
}
