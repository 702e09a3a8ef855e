//! Agents whose process dies in the middle of them: what is done stays done.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skein::mock_models::{SeenRequest, Watch};
use skein_tests::otlp::{Span, Status, render};
use skein_tests::stack::{Form, PATIENCE, Run, Setup, Stack, eventually};

use crate::attribute_table::When::{Answered, Failed, Named, Seen};
use crate::attribute_table::assert_attributes;
use crate::ledger::{assert_balanced, assert_resolved, named, statuses, steps, text};
use crate::played::with_models;

/// Four calls of a tool, an answer that hangs at first, and that answer.
const LONG: &str = "\
replies:
  - when: { turn: 0 }
    reply: { tool_calls: [{ name: look, arguments: { q: a } }], usage: { input_tokens: 20, output_tokens: 5 } }
  - when: { turn: 1 }
    reply: { tool_calls: [{ name: look, arguments: { q: b } }], usage: { input_tokens: 20, output_tokens: 5 } }
  - when: { turn: 2 }
    reply: { tool_calls: [{ name: look, arguments: { q: c } }], usage: { input_tokens: 20, output_tokens: 5 } }
  - when: { turn: 3 }
    reply: { tool_calls: [{ name: look, arguments: { q: d } }], usage: { input_tokens: 20, output_tokens: 5 } }
  - times: 1
    reply: { text: it will be, chunks: 3, hang_after: 1 }
  - reply: { text: found, usage: { input_tokens: 90, output_tokens: 9 } }
";
/// Short, so that a dead worker is soon noticed; not so short that a slow machine takes one for dead that lives, which would
/// make calls that the cases count.
const LEASE: &str = "10s";
/// The iterations of that.
const ITERATIONS: usize = 5;

fn agent(tool: &Value, more: &Value) -> Value {
    let mut node = json!({
        "id": "act", "type": "agent",
        "params": { "provider": "openai", "model": "gpt-4o-mini", "goal": "look", "tools": [{ "http": tool }] },
    });
    let fields = node.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    node
}

fn tool(name: &str, url: &str) -> Value {
    json!({
        "name": name, "description": "does it", "method": "POST", "url": url, "body": { "q": "{{ args.q }}" },
        "parameters": { "type": "object", "properties": { "q": { "type": "string" } } },
    })
}

/// Kills whatever runs nodes, and starts it again.
async fn kill_and_restart(stack: &mut Stack) {
    match stack.form {
        Form::Distributed => {
            stack.workers[0].kill().await;
            stack.restart_worker(0).await;
        }
        Form::Embedded => {
            stack.api.kill().await;
            stack.api.start();
            stack.api_serves().await;
        }
    }
}

/// How often each key was shown.
fn counts(keys: impl IntoIterator<Item = Option<String>>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key.expect("every request has a key")).or_default() += 1;
    }
    counts
}

fn keys_of(requests: Vec<SeenRequest>) -> impl Iterator<Item = Option<String>> {
    requests.into_iter().map(|request| request.idempotency_key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_between_two_iterations_repeats_nothing_but_the_call_under_way() {
    let setup = Setup::distributed("agent_crash").workers(1).env("SKEIN_LEASE_TTL", LEASE);
    with_models(LONG, setup, repeats_the_call_under_way).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_agent_repeats_nothing_but_the_call_under_way_as_well() {
    let setup = Setup::embedded("agent_crash").env("SKEIN_LEASE_TTL", LEASE);
    with_models(LONG, setup, repeats_the_call_under_way).await;
}

async fn repeats_the_call_under_way(stack: &mut Stack, watch: &Watch) {
    let look = tool("look", &stack.outside.url("/look/{{ args.q }}"));
    let document = json!({ "name": "long", "nodes": [agent(&look, &json!({}))] });
    stack.client.publish(&document).await;
    let run = stack.client.start("long", &json!({})).await;
    eventually("the model is asked a fifth time", async || {
        (watch.requests().len() == ITERATIONS).then_some(())
    })
    .await;
    // What a process has not exported yet dies with it; what it was at has no span before it is over.
    let are_exported = |spans: &[Span]| {
        let count = |name: &str| named(spans, &run, name).len();
        (count("llm.generate"), count("tool.execute")) == (ITERATIONS - 1, ITERATIONS - 1)
    };
    stack.collector.wait_for(are_exported, PATIENCE).await.expect("what is over is exported");
    kill_and_restart(stack).await;
    let run = stack.client.ended(run.id()).await;
    assert_eq!(run.status(), "succeeded", "{:#}", run.0);
    let output = &run.node("act")["output"];
    assert_eq!((&output["answer"], &output["iterations"]), (&json!("found"), &json!(ITERATIONS)));

    // At the provider and at the tool: each once, but for the call that was under way.
    let asked = counts(keys_of(watch.requests()));
    let key = |step: usize| format!("{}_act__{step}", run.id());
    let expected = (1..=ITERATIONS).map(|n| (key(2 * n - 1), 1 + usize::from(n == ITERATIONS)));
    assert_eq!(asked, expected.collect::<BTreeMap<_, _>>());
    let called = stack.outside.effects();
    assert_eq!(called, (1..ITERATIONS).map(|n| (key(2 * n), 1)).collect::<BTreeMap<_, _>>());

    // In the journal and in the cost log.
    let made = steps(stack, run.id()).await;
    let mut expected: Vec<_> = (1..=8).map(|step| (step, 1, "succeeded")).collect();
    expected.extend([(9, 1, "lost"), (9, 2, "succeeded")]);
    assert_eq!(statuses(&made), expected);
    assert_balanced(stack, &run, ITERATIONS + 1).await;
    assert_resolved(stack).await;
    assert_spans(stack, &run).await;
}

/// Two attempts, and an agent in each; what was lost is below the first of them, and so is all that was done before.
async fn assert_spans(stack: &Stack, run: &Run) {
    let agents = |spans: &[Span]| named(spans, run, "agent.execute").len();
    let both = stack.collector.wait_for(|spans| agents(spans) >= 2, PATIENCE).await;
    let spans = both.unwrap_or_else(|error| panic!("{error:#}"));
    let shown = render(&spans);
    let agents = named(&spans, run, "agent.execute");
    let nodes = named(&spans, run, "node.execute.agent");
    let ([before, after], [crashed, completed]) = (&agents[..], &nodes[..]) else {
        panic!("two of each:\n{shown}");
    };
    let parents = (before.parent, after.parent);
    assert_eq!(parents, (Some(crashed.span_id), Some(completed.span_id)), "{shown}");
    assert!(matches!(crashed.status, Status::Error(_)), "{shown}");
    assert_eq!(text(crashed, "node.error_code"), "worker_crashed");
    assert_attributes(before, &[Failed]);
    assert_attributes(after, &[Seen]);
    assert_eq!(after.attributes["agent.iterations"], ITERATIONS);
    let calls = named(&spans, run, "llm.generate");
    for call in &calls {
        let is_lost = text(call, "error.type") == "lost";
        let is_last = call.attributes["step.attempt"] == 2;
        let agent = if is_last { after } else { before };
        assert_eq!(call.parent, Some(agent.span_id), "{shown}");
        assert_attributes(call, if is_lost { &[Failed] } else { &[Seen, Answered] });
    }
    assert_eq!(calls.iter().filter(|call| text(call, "error.type") == "lost").count(), 1);
    for call in named(&spans, run, "tool.execute") {
        assert_eq!(call.parent, Some(before.span_id), "{shown}");
        assert_attributes(call, &[Seen, Named]);
    }
}

/// The first of these models calls its tool at once; the other one hangs before it does.
const UNSAFE: &str = "\
replies:
  - when: { tool_result: order }
    reply: { text: ordered, usage: { input_tokens: 60, output_tokens: 7 } }
  - when: { model: gpt-4o }
    times: 1
    reply: { text: it will be, chunks: 3, hang_after: 1 }
  - reply: { tool_calls: [{ name: order, arguments: { q: a } }], usage: { input_tokens: 20, output_tokens: 5 } }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_must_not_be_called_twice_is_not_after_a_crash_in_the_middle_of_it() {
    let setup = Setup::distributed("unsafe_tool_crash").workers(1).env("SKEIN_LEASE_TTL", LEASE);
    with_models(UNSAFE, setup, orders_once).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_tool_is_not_called_twice_either() {
    let setup = Setup::embedded("unsafe_tool_crash").env("SKEIN_LEASE_TTL", LEASE);
    with_models(UNSAFE, setup, orders_once).await;
}

async fn orders_once(stack: &mut Stack, watch: &Watch) {
    // A run whose node is to fail, one that is to try again all the same, and one that dies before it calls the tool.
    let names = ["fails", "retries", "asks"];
    for (name, more) in
        names.into_iter().zip([json!({}), json!({ "on_uncertain": "retry" }), json!({})])
    {
        let path = if name == "asks" { "/order/asks".to_owned() } else { format!("/gate/{name}") };
        let mut order = tool("order", &stack.outside.url(&path));
        order["idempotency_key"] = json!(false);
        let mut node = agent(&order, &more);
        if name == "asks" {
            node["params"]["model"] = json!("gpt-4o");
        }
        stack.client.publish(&json!({ "name": name, "nodes": [node] })).await;
    }
    let mut runs = Vec::new();
    for name in names {
        runs.push(stack.client.start(name, &json!({})).await);
    }
    stack.outside.wait_for("/gate/", 2).await;
    eventually("all models are asked", async || (watch.requests().len() == 3).then_some(())).await;
    // As above.
    let are_exported =
        |spans: &[Span]| runs[..2].iter().all(|run| named(spans, run, "llm.generate").len() == 1);
    stack.collector.wait_for(are_exported, PATIENCE).await.expect("what is over is exported");
    kill_and_restart(stack).await;
    stack.outside.wait_for("/gate/retries", 2).await;
    stack.outside.open("retries");
    let mut ended = Vec::new();
    for run in &runs {
        ended.push(stack.client.ended(run.id()).await);
    }
    let [fails, retries, asks] = &ended[..] else { panic!("three runs") };

    // Not called again, and the run says why.
    let calls = |path: &str| stack.outside.hits_at(path).len();
    assert_eq!((calls("/gate/fails"), calls("/gate/retries"), calls("/order/asks")), (1, 2, 1));
    assert_eq!((fails.status(), &fails.0["error"]["code"]), ("failed", &json!("uncertain")));
    let node = fails.node("act");
    assert_eq!((&node["status"], &node["error"]["code"]), (&json!("failed"), &json!("uncertain")));
    let message = node["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("`order`") && message.contains("must not be repeated"), "{message}");
    for run in [retries, asks] {
        assert_eq!(run.status(), "succeeded", "{:#}", run.0);
        assert_eq!(run.node("act")["output"]["answer"], "ordered");
    }

    // What was under way is settled, and has its span, whether or not somebody went on with it.
    assert_balanced(stack, fails, 1).await;
    assert_balanced(stack, retries, 2).await;
    assert_balanced(stack, asks, 3).await;
    assert_eq!(statuses(&steps(stack, fails.id()).await), [(1, 1, "succeeded"), (2, 1, "lost")]);
    let again = [(1, 1, "succeeded"), (2, 1, "lost"), (2, 2, "succeeded"), (3, 1, "succeeded")];
    assert_eq!(statuses(&steps(stack, retries.id()).await), again);
    let asked = [(1, 1, "lost"), (1, 2, "succeeded"), (2, 1, "succeeded"), (3, 1, "succeeded")];
    assert_eq!(statuses(&steps(stack, asks.id()).await), asked);
    assert_resolved(stack).await;
    assert_uncertain(stack, fails).await;
}

/// The node failed in an attempt of its own; the call that is uncertain is below the one that crashed.
async fn assert_uncertain(stack: &Stack, run: &Run) {
    let both = |spans: &[Span]| named(spans, run, "agent.execute").len() >= 2;
    let spans = stack.collector.wait_for(both, PATIENCE).await;
    let spans = spans.unwrap_or_else(|error| panic!("{error:#}"));
    let codes: Vec<_> = named(&spans, run, "node.execute.agent")
        .iter()
        .map(|span| text(span, "node.error_code").to_owned())
        .collect();
    assert_eq!(codes, ["worker_crashed", "uncertain"]);
    let agents = named(&spans, run, "agent.execute");
    assert_attributes(agents[0], &[Failed]);
    assert_attributes(agents[1], &[Seen, Failed]);
    let [call] = named(&spans, run, "tool.execute")[..] else { panic!("{}", render(&spans)) };
    assert_attributes(call, &[Failed]);
    assert_eq!((text(call, "error.type"), call.parent), ("lost", Some(agents[0].span_id)));
}
