//! Runs that succeed, fail, retry, wait, ask models, act as agents and are cancelled, and requests that are refused.

use serde_json::{Value, json};
use skein_tests::stack::{Run, Stack, eventually, load};

/// An agent that looks twice and then knows, a model that is asked for too much once, and plain answers.
pub(crate) const SCRIPT: &str = "\
replies:
  - when: { contains: Find, turn: 0 }
    reply:
      tool_calls: [{ name: look, arguments: {} }]
      usage: { input_tokens: 100, output_tokens: 10 }
  - when: { contains: Find, turn: 1 }
    reply:
      tool_calls: [{ name: look, arguments: {} }]
      usage: { input_tokens: 150, output_tokens: 10 }
  - when: { contains: Find }
    reply: { text: found, usage: { input_tokens: 200, output_tokens: 5 } }
  - when: { contains: refused }
    reply: { status: 400, error: this is not possible }
  - when: { contains: how far }
    times: 1
    reply: { status: 429, error: slow down }
  - reply: { text: a long way, chunks: 3, usage: { input_tokens: 20, output_tokens: 5 } }
";
/// Runs of each workflow.
const RUNS: usize = 12;

/// Publishes the workflows, starts runs of them and waits until all have ended. Returns them as they ended. The stack has
/// to ask models that [`SCRIPT`] plays.
///
/// # Panics
/// When one does not end.
pub(crate) async fn run(stack: &Stack) -> Vec<Run> {
    load::publish(stack).await;
    let look = stack.outside.url("/look");
    let flaky = |n: usize| stack.outside.url(&format!("/flaky/1/{n}"));
    let documents = [
        json!({ "name": "asks", "nodes": [
            { "id": "ask", "type": "llm", "retry": { "max_attempts": 3, "backoff": "50ms" },
              "params": { "provider": "openai", "model": "gpt-4o-mini", "prompt": "how far?", "max_tokens": 100 } }] }),
        json!({ "name": "refused", "nodes": [
            { "id": "ask", "type": "llm",
              "params": { "provider": "openai", "model": "gpt-4o-mini", "prompt": "this is refused", "max_tokens": 100 } }] }),
        json!({ "name": "finds", "nodes": [
            { "id": "find", "type": "agent", "params": { "provider": "openai", "model": "gpt-4o-mini", "goal": "Find it",
              "tools": [{ "http": { "name": "look", "description": "Looks", "url": look,
                "parameters": { "type": "object", "properties": {} } } }] } }] }),
        json!({ "name": "fails", "nodes": [
            { "id": "fail", "type": "http", "params": { "url": stack.outside.url("/status/500") } }] }),
        json!({ "name": "waits", "nodes": [{ "id": "wait", "type": "delay", "params": { "for": "1h" } }] }),
        json!({ "name": "naps", "nodes": [{ "id": "nap", "type": "delay", "params": { "for": "300ms" } }] }),
        json!({ "name": "repeats", "nodes": [
            { "id": "ask", "type": "http", "retry": { "max_attempts": 3, "backoff": "50ms" },
              "params": { "method": "POST", "url": "{{ input.url }}", "body": {} } }] }),
    ];
    for document in &documents {
        stack.client.publish(document).await;
    }
    let mut runs: Vec<Run> = load::start(&stack.client, RUNS as u64).await;
    for n in 0..RUNS {
        for workflow in ["asks", "refused", "finds", "fails", "naps"] {
            runs.push(stack.client.start(workflow, &json!({})).await);
        }
        runs.push(stack.client.start("repeats", &json!({ "url": flaky(n) })).await);
    }
    let waiting = stack.client.start("waits", &json!({})).await;
    eventually("it waits", async || {
        let run = stack.client.find(waiting.id()).await.ok()?;
        (run.status() == "suspended").then_some(())
    })
    .await;
    let cancel = format!("/v1/runs/{}/cancel", waiting.id());
    stack.client.post(&cancel, &Value::Null).await.expect("the API answers");
    runs.push(waiting);
    let refused = stack.client.post("/v1/workflows", &json!({ "name": "none" })).await;
    assert!(refused.expect("the API answers").status.is_client_error());
    let mut ended = Vec::with_capacity(runs.len());
    for run in &runs {
        ended.push(stack.client.ended(run.id()).await);
    }
    ended
}
