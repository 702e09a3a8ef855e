//! A budget that many calls at once would exceed, on workers of which one dies.

use std::fmt::Write as _;

use serde_json::{Value, json};
use skein_tests::stack::{Run, Setup, Stack, eventually};

use crate::played::with_models;

/// Counts a token a byte, and takes its time, so that a worker that dies is in the middle of some calls.
const SCRIPT: &str = "\
replies:
  - reply: { text: ten bytes., usage: bytes, delay: 300ms }
";
/// Calls that are wanted.
const WANTED: usize = 50;
/// Calls that there is a budget for.
const AFFORDABLE: u64 = 20;
/// Calls that a worker makes at a time: so many are lost with it at most.
const SLOTS: usize = 2;
/// Bytes of an answer.
const ANSWER: u64 = 10;

fn asking(id: &str) -> Value {
    json!({
        "id": id, "type": "llm",
        "params": { "provider": "openai", "model": "gpt-4o-mini", "prompt": "how far? ".repeat(200),
                    "max_tokens": ANSWER },
    })
}

fn done(run: &Run) -> usize {
    run.nodes().iter().filter(|node| node["status"] == "succeeded").count()
}

async fn start(stack: &Stack, workflow: &str, budget: Option<u64>) -> Run {
    let mut body = json!({});
    if let Some(tokens) = budget {
        body["budget"] = json!({ "max_tokens": tokens });
    }
    let path = format!("/v1/workflows/{workflow}/runs");
    let answer = stack.client.post(&path, &body).await.expect("the API answers");
    let id = answer.body["id"].as_str().unwrap_or_else(|| panic!("{answer:#?}")).to_owned();
    stack.client.find(&id).await.expect("it is there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_on_two_workers_never_exceed_a_budget_though_one_of_them_dies() {
    let setup = Setup::distributed("budget").short_leases().workers(2);
    let setup = setup.env("SKEIN_CONCURRENCY", &SLOTS.to_string());
    with_models(SCRIPT, setup, async |stack, watch| {
        // What one call takes.
        stack.client.publish(&json!({ "name": "one", "nodes": [asking("n0")] })).await;
        let one = stack.client.ended(start(stack, "one", None).await.id()).await;
        let each = one.0["usage"]["total_tokens"].as_u64().expect("it is counted");
        let before = watch.requests().len();
        assert_eq!(before, 1, "{:#}", one.0);

        let nodes: Vec<_> = (0..WANTED).map(|n| asking(&format!("n{n}"))).collect();
        stack.client.publish(&json!({ "name": "many", "nodes": nodes })).await;
        // What is reserved is an upper bound, so that the last call needs some room more than it takes.
        let budget = AFFORDABLE * each + each / 2;
        let run = start(stack, "many", Some(budget)).await;
        eventually("calls are under way", async || {
            (watch.requests().len() > before + 6).then_some(())
        })
        .await;
        stack.workers[1].kill().await;

        let is_out_of_it = |run: &Run| {
            run.status() == "suspended"
                && run.nodes().iter().any(|node| node["waiting_for"]["limit"] == json!(budget))
                && run
                    .nodes()
                    .iter()
                    .all(|node| node["status"] != "running" && node["status"] != "queued")
        };
        let run = stack.client.becomes(run.id(), "suspended for its budget", is_out_of_it).await;
        let requests = watch.requests().split_off(before);
        let spent: u64 = requests.iter().map(|request| request.bytes as u64 + ANSWER).sum();
        let mut story = String::new();
        let _ =
            write!(story, "{} done, {} requests, {spent} of {budget}", done(&run), requests.len());
        assert!(spent <= budget, "overspent at the provider: {story}");
        assert!(done(&run) >= AFFORDABLE as usize - SLOTS, "{story}");
        let counted = run.0["usage"]["total_tokens"].as_u64().expect("it is counted");
        assert!((spent..=budget).contains(&counted), "{counted}: {story}");

        // What is finished is kept, and the rest goes on once there is more.
        let path = format!("/v1/runs/{}/budget", run.id());
        let raised = stack.client.post(&path, &json!({ "max_tokens": 10 * budget })).await;
        assert_eq!(raised.expect("the API answers").body["max_tokens"], 10 * budget);
        let ended = stack.client.ended(run.id()).await;
        assert_eq!((ended.status(), done(&ended)), ("succeeded", WANTED), "{:#}", ended.0);
        let all = watch.requests().len() - before;
        assert!((WANTED..=WANTED + SLOTS).contains(&all), "{all} requests: {story}");
        stack.restart_worker(1).await;
    })
    .await;
}
