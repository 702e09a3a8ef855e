//! A worker that dies in the middle of a call to a model.

use serde_json::{Value, json};
use skein::mock_models::MockModels;
use skein_tests::otlp::Span;
use skein_tests::stack::{PATIENCE, Setup, eventually, with_stack};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The first try of each call hangs after its first words, and the next one is answered.
const SCRIPT: &str = "\
replies:
  - times: 1
    reply: { text: one two three four, chunks: 4, hang_after: 1 }
  - reply: { text: done, usage: { input_tokens: 20, output_tokens: 5 } }
";
/// What shows in nothing but the requests themselves.
const SECRET: &str = "sk-wR7pQ2xK9mVtLs4Hn8";

fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    span.attributes.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Dollars as the whole nano-dollars that they stand for.
fn nanos(dollars: &Value) -> i64 {
    let dollars = dollars.as_f64().unwrap_or_else(|| panic!("{dollars} is no amount"));
    #[expect(clippy::cast_possible_truncation, reason = "some cents")]
    let nanos = (dollars * 1e9).round() as i64;
    nanos
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_killed_worker_was_making_is_made_once_more_and_both_are_paid_for() {
    let mock = MockModels::new(SCRIPT.parse().expect("a sound script")).await.expect("a port");
    let (url, watch) = (format!("http://{}", mock.address()), mock.watch());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(mock.serve(stop.clone()));
    let setup = Setup::distributed("model_crash").short_leases().workers(1);
    let setup = setup.env("OPENAI_BASE_URL", &url).env("OPENAI_API_KEY", SECRET);
    with_stack(setup, async |stack| {
        let ask = json!({
            "id": "ask", "type": "llm",
            "params": { "model": "gpt-4o-mini", "prompt": "how far?", "max_tokens": 100 },
        });
        stack.client.publish(&json!({ "name": "asks", "nodes": [ask] })).await;
        let run = stack.client.start("asks", &json!({})).await;
        eventually("the model is asked", async || (watch.requests().len() == 1).then_some(()))
            .await;
        stack.workers[0].kill().await;
        stack.restart_worker(0).await;
        let run = stack.client.ended(run.id()).await;
        assert_eq!(run.status(), "succeeded", "{:#}", run.0);
        assert_eq!(run.node("ask")["output"]["text"], "done");

        // Asked once more, under the same key, in spans of the same trace.
        let requests = watch.requests();
        let keys: Vec<_> = requests.iter().filter_map(|it| it.idempotency_key.clone()).collect();
        assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
        let trace = run.trace().to_string();
        let is_in_trace =
            |parent: &Option<String>| parent.as_ref().is_some_and(|it| it.contains(&trace));
        assert!(requests.iter().all(|it| is_in_trace(&it.traceparent)), "{requests:?}");

        // Both calls are there, and everybody has the same sum.
        let path = format!("/v1/runs/{}/steps", run.id());
        let steps = stack.client.get(&path).await.expect("steps").body["items"].clone();
        let statuses: Vec<_> =
            steps.as_array().expect("a list").iter().map(|it| &it["status"]).collect();
        assert_eq!(statuses, ["lost", "succeeded"]);
        let of_steps: i64 =
            steps.as_array().expect("a list").iter().map(|it| nanos(&it["cost_usd"])).sum();
        let path = format!("/v1/costs?run={}", run.id());
        let costs = stack.client.get(&path).await.expect("costs").body["items"][0].clone();
        assert_eq!((&costs["model"], &costs["calls"]), (&json!("gpt-4o-mini"), &json!(2)));
        assert!(of_steps > 0, "{steps:#}");
        assert_eq!((nanos(&costs["cost_usd"]), nanos(&run.0["cost_usd"])), (of_steps, of_steps));

        let is_call = |span: &&Span| {
            span.name == "llm.generate" && text(span, "workflow.execution_id") == run.id()
        };
        let all_there = |spans: &[Span]| spans.iter().filter(is_call).count() == 2;
        let spans =
            stack.collector.wait_for(all_there, PATIENCE).await.expect("both calls have spans");
        let calls: Vec<_> = spans.iter().filter(is_call).collect();
        assert_eq!(calls.len(), 2, "one span for each request: {}", stack.collector.tree());
        let of_spans: i64 = calls.iter().map(|span| nanos(&span.attributes["llm.cost_usd"])).sum();
        assert_eq!(of_spans, of_steps);
        // Every row resolves to a span, and every span to its parent.
        for step in steps.as_array().expect("a list") {
            assert!(
                calls.iter().any(|span| step["span_id"] == span.span_id.to_string()),
                "{step:#}"
            );
        }
        for call in &calls {
            let parent = call.parent.expect("it is below an attempt");
            let is_attempt =
                |span: &Span| span.span_id == parent && span.name == "node.execute.llm";
            let has_parent = |spans: &[Span]| spans.iter().any(is_attempt);
            stack.collector.wait_for(has_parent, PATIENCE).await.expect("the attempt has a span");
        }

        // Its key went to the provider and nowhere else.
        assert!(requests.iter().all(|it| it.authorization == Some(format!("Bearer {SECRET}"))));
        let shown = format!("{}{:?}{:#}{steps}", stack.logs(), stack.collector.spans(), run.0);
        assert!(!shown.contains(SECRET), "a key is shown");
    })
    .await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}
