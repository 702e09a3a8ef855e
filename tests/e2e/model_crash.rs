//! A worker that dies in the middle of a call to a model.

use serde_json::json;
use skein_tests::otlp::Span;
use skein_tests::stack::{PATIENCE, Setup, eventually};

use crate::attribute_table::{When, assert_attributes};
use crate::ledger::{assert_balanced, assert_resolved, named, statuses, steps, text};
use crate::played::{SECRET, with_models};
use crate::secrecy::assert_nowhere;

/// The first try of each call hangs after its first words, and the next one is answered.
const SCRIPT: &str = "\
replies:
  - times: 1
    reply: { text: one two three four, chunks: 4, hang_after: 1 }
  - reply: { text: done, usage: { input_tokens: 20, output_tokens: 5 } }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_killed_worker_was_making_is_made_once_more_and_both_are_paid_for() {
    let setup = Setup::distributed("model_crash").short_leases().workers(1);
    with_models(SCRIPT, setup, async |stack, watch| {
        let ask = json!({
            "id": "ask", "type": "llm",
            "params": { "provider": "openai", "model": "gpt-4o-mini", "prompt": "how far?", "max_tokens": 100 },
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
        let made = steps(stack, run.id()).await;
        assert_eq!(statuses(&made), [(1, 1, "lost"), (1, 2, "succeeded")]);
        assert_balanced(stack, &run, 2).await;
        assert_resolved(stack).await;
        let spans = stack.collector.spans();
        let [lost, answered] = named(&spans, &run, "llm.generate")[..] else { panic!("two calls") };
        assert_attributes(lost, &[When::Failed]);
        assert_eq!(text(lost, "error.type"), "lost", "{lost:#?}");
        assert_attributes(answered, &[When::Seen, When::Answered]);
        for call in [lost, answered] {
            let parent = call.parent.expect("it is below an attempt");
            let is_attempt =
                |span: &Span| span.span_id == parent && span.name == "node.execute.llm";
            let has_parent = |spans: &[Span]| spans.iter().any(is_attempt);
            stack.collector.wait_for(has_parent, PATIENCE).await.expect("the attempt has a span");
        }

        // Its key went to the provider and nowhere else.
        assert!(requests.iter().all(|it| it.authorization == Some(format!("Bearer {SECRET}"))));
        assert_nowhere(stack, SECRET).await;
    })
    .await;
}
