//! The life of a run, as the user of the API sees it: the same on both stacks.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skein_tests::stack::{Run, Setup, Stack, with_stack};

macro_rules! over_both_stacks {
    ($($case:ident)*) => {
        mod distributed {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let setup = Setup::distributed(stringify!($case));
                    with_stack(setup, async |stack| super::$case(stack).await).await;
                }
            )*
        }

        mod embedded {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let setup = Setup::embedded(stringify!($case));
                    with_stack(setup, async |stack| super::$case(stack).await).await;
                }
            )*
        }
    };
}

over_both_stacks! {
    a_run_goes_from_its_input_to_its_output
    a_node_that_fails_brings_its_run_down
    a_node_is_tried_again_until_it_succeeds
    a_failure_can_be_replaced_by_a_default
    a_failure_can_lead_down_a_branch_of_its_own
    what_no_branch_leads_to_is_skipped
    a_delay_passes_and_the_run_goes_on
    a_running_run_is_cancelled_in_the_middle_of_a_request
    a_waiting_run_is_cancelled
    an_idempotency_key_starts_one_run
    a_run_keeps_the_version_that_it_started_with
}

/// One node that calls the outside world.
fn call(id: &str, url: &str) -> Value {
    json!({ "id": id, "type": "http", "params": { "method": "POST", "url": url, "body": {} } })
}

async fn events(stack: &Stack, run: &Run) -> Vec<String> {
    let rows = stack.client.logs(run.id()).await;
    let event = |row: &Value| {
        let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        match row["node"].as_str() {
            Some(node) => format!("{} {node}", word("event")),
            None => word("event"),
        }
    };
    rows.iter().map(event).collect()
}

async fn a_run_goes_from_its_input_to_its_output(stack: &Stack) {
    let document = json!({
        "name": "greet",
        "input": { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } },
        "nodes": [
            { "id": "ask", "type": "http", "params": {
                "method": "POST", "url": stack.outside.url("/greetings"), "body": { "name": "{{ input.name }}" } } },
            { "id": "shape", "type": "transform", "params": { "value": "Hello {{ nodes.ask.body.body.name }}" } },
            { "id": "tell", "type": "log", "params": { "message": "{{ nodes.shape }}", "data": { "run": "{{ run.id }}" } } },
        ],
        "edges": [{ "from": "ask", "to": "shape" }, { "from": "shape", "to": "tell" }],
        "output": { "greeting": "{{ nodes.shape }}" },
    });
    assert_eq!(stack.client.publish(&document).await, 1);
    let run = stack.client.run("greet", &json!({ "name": "Ada" })).await;
    assert_eq!(run.status(), "succeeded", "{:#}", run.0);
    assert_eq!(run.0["output"], json!({ "greeting": "Hello Ada" }));
    assert_eq!(run.0["input"], json!({ "name": "Ada" }));
    assert_eq!((&run.0["workflow"], &run.0["version"]), (&json!("greet"), &json!(1)));
    assert_eq!(run.0["error"], Value::Null);
    let states = [("ask", "succeeded"), ("shape", "succeeded"), ("tell", "succeeded")];
    assert_eq!(run.node_states(), states);
    let ask = run.node("ask");
    assert_eq!((&ask["type"], &ask["attempts"]), (&json!("http"), &json!(1)));
    assert_eq!(ask["input"]["body"], json!({ "name": "Ada" }));
    assert_eq!(ask["output"]["status"], 200);
    assert_eq!(ask["trace_id"], run.0["trace_id"]);
    let hits = stack.outside.hits_at("/greetings");
    assert_eq!(hits.len(), 1, "{hits:?}");
    assert_eq!(hits[0].key, Some(format!("{}_ask_", run.id())));

    assert_eq!(
        events(stack, &run).await,
        [
            "run.accepted",
            "run.started",
            "node.started ask",
            "node.succeeded ask",
            "node.succeeded shape",
            "log tell",
            "node.succeeded tell",
            "run.succeeded",
        ]
    );
    let rows = stack.client.logs(run.id()).await;
    assert!(rows.iter().all(|row| row["trace_id"] == run.0["trace_id"]), "{rows:#?}");
    let logged = rows.iter().find(|row| row["event"] == "log").expect("it is in the events");
    assert_eq!((&logged["message"], &logged["level"]), (&json!("Hello Ada"), &json!("info")));
    assert_eq!(logged["data"], json!({ "run": run.id() }));
    assert_eq!(logged["span_id"], run.node("tell")["span_id"]);

    let listed = stack.client.get("/v1/runs?workflow=greet").await.expect("the API answers");
    assert_eq!(listed.body["items"][0]["id"], run.0["id"]);
}

async fn a_node_that_fails_brings_its_run_down(stack: &Stack) {
    let document = json!({
        "name": "broken",
        "nodes": [call("ask", &stack.outside.url("/status/500")), call("after", &stack.outside.url("/after"))],
        "edges": [{ "from": "ask", "to": "after" }],
    });
    stack.client.publish(&document).await;
    let run = stack.client.run("broken", &json!({})).await;
    assert_eq!(run.status(), "failed", "{:#}", run.0);
    assert_eq!(run.0["error"]["node"], "ask");
    assert_eq!(run.0["error"]["code"], "http_status", "{:#}", run.0);
    assert_eq!(run.node("ask")["error"]["code"], "http_status");
    assert_eq!(run.0["output"], Value::Null);
    assert_eq!(stack.outside.hits_at("/after").len(), 0);
    let events = events(stack, &run).await;
    assert_eq!(events.last().map(String::as_str), Some("run.failed"), "{events:?}");
    assert!(events.contains(&"node.failed ask".to_owned()), "{events:?}");
}

async fn a_node_is_tried_again_until_it_succeeds(stack: &Stack) {
    let mut ask = call("ask", &stack.outside.url("/flaky/2/{{ run.id }}"));
    ask["retry"] = json!({ "max_attempts": 5, "backoff": "50ms" });
    stack.client.publish(&json!({ "name": "flaky", "nodes": [ask] })).await;
    let run = stack.client.run("flaky", &json!({})).await;
    assert_eq!(run.status(), "succeeded", "{:#}", run.0);
    let ask = run.node("ask");
    assert_eq!(ask["attempts"], 3);
    let earlier = ask["earlier_attempts"].as_array().expect("a list");
    let outcomes: Vec<_> = earlier.iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["retry", "retry"]);
    let hits = stack.outside.hits();
    assert_eq!(hits.len(), 3);
    assert!(hits.iter().all(|hit| hit.key == hits[0].key), "one key for all attempts: {hits:?}");
    let events = events(stack, &run).await;
    let retries = events.iter().filter(|event| *event == "node.retrying ask").count();
    assert_eq!(retries, 2, "{events:?}");
}

async fn a_failure_can_be_replaced_by_a_default(stack: &Stack) {
    let mut ask = call("ask", &stack.outside.url("/status/404"));
    ask["on_error"] = json!("continue");
    ask["default"] = json!({ "body": "nothing" });
    let document = json!({
        "name": "lenient",
        "nodes": [ask, { "id": "use", "type": "transform", "params": { "value": "{{ nodes.ask.body }}" } }],
        "edges": [{ "from": "ask", "to": "use" }],
    });
    stack.client.publish(&document).await;
    let run = stack.client.run("lenient", &json!({})).await;
    assert_eq!(run.status(), "succeeded", "{:#}", run.0);
    assert_eq!(run.node_states(), [("ask", "failed"), ("use", "succeeded")]);
    assert_eq!(run.0["output"], json!({ "use": "nothing" }));
}

async fn a_failure_can_lead_down_a_branch_of_its_own(stack: &Stack) {
    let mut ask = call("ask", &stack.outside.url("/status/404"));
    ask["on_error"] = json!("branch");
    let document = json!({
        "name": "careful",
        "nodes": [
            ask,
            { "id": "well", "type": "log", "params": { "message": "well" } },
            { "id": "amends", "type": "transform", "params": { "value": "{{ nodes.ask.error.code }}" } },
        ],
        "edges": [{ "from": "ask", "to": "well" }, { "from": "ask", "to": "amends", "on": "error" }],
    });
    stack.client.publish(&document).await;
    let run = stack.client.run("careful", &json!({})).await;
    assert_eq!(run.status(), "succeeded", "{:#}", run.0);
    assert_eq!(run.node("well")["status"], "skipped");
    assert_eq!(run.0["output"]["amends"], "http_status", "{:#}", run.0);
}

async fn what_no_branch_leads_to_is_skipped(stack: &Stack) {
    let document = json!({
        "name": "choose",
        "nodes": [
            { "id": "choose", "type": "condition", "params": { "branches": [
                { "name": "many", "when": "input.n > 10" }, { "name": "few", "when": "input.n > 0" } ],
                "default": "none" } },
            call("many", &stack.outside.url("/many")),
            call("behind", &stack.outside.url("/behind")),
            call("few", &stack.outside.url("/few")),
            call("none", &stack.outside.url("/none")),
            { "id": "join", "type": "transform", "params": { "value": "{{ nodes.choose.branch }}" } },
        ],
        "edges": [
            { "from": "choose", "to": "many", "branch": "many" }, { "from": "many", "to": "behind" },
            { "from": "choose", "to": "few", "branch": "few" },
            { "from": "choose", "to": "none", "branch": "none" },
            { "from": "behind", "to": "join" }, { "from": "few", "to": "join" }, { "from": "none", "to": "join" },
        ],
    });
    stack.client.publish(&document).await;
    for (n, branch, hits) in [
        (11, "many", &["/many", "/behind"] as &[_]),
        (3, "few", &["/few"]),
        (0, "none", &["/none"]),
    ] {
        let before = stack.outside.hits().len();
        let run = stack.client.run("choose", &json!({ "n": n })).await;
        assert_eq!(run.status(), "succeeded", "{:#}", run.0);
        assert_eq!(run.0["output"], json!({ "join": branch }));
        let new: Vec<_> =
            stack.outside.hits().into_iter().skip(before).map(|hit| hit.path).collect();
        assert_eq!(new, hits);
        let skipped = run.node_states().iter().filter(|(_, state)| *state == "skipped").count();
        assert_eq!(skipped, 4 - hits.len(), "{:#}", run.0);
    }
}

async fn a_delay_passes_and_the_run_goes_on(stack: &Stack) {
    let document = json!({
        "name": "patient",
        "nodes": [
            { "id": "wait", "type": "delay", "params": { "for": "{{ input.for }}" } },
            call("after", &stack.outside.url("/after")),
        ],
        "edges": [{ "from": "wait", "to": "after" }],
    });
    stack.client.publish(&document).await;
    let begun = Instant::now();
    let run = stack.client.run("patient", &json!({ "for": "1500ms" })).await;
    assert_eq!(run.status(), "succeeded", "{:#}", run.0);
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    // Well before anything that was lost would be repeated, 30 s after it at the earliest.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(run.node("wait")["output"]["waited_until"].is_string(), "{:#}", run.0);
    assert_eq!(stack.outside.hits_at("/after").len(), 1);
    let events = events(stack, &run).await;
    assert!(events.contains(&"node.waiting wait".to_owned()), "{events:?}");
}

async fn cancel(stack: &Stack, run: &Run) -> Run {
    let path = format!("/v1/runs/{}/cancel", run.id());
    let answer = stack.client.post(&path, &json!({})).await.expect("the API answers");
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:#?}");
    let run = stack.client.ended(run.id()).await;
    assert_eq!(run.status(), "cancelled", "{:#}", run.0);
    let again = stack.client.post(&path, &json!({})).await.expect("the API answers");
    assert_eq!(again.status, StatusCode::CONFLICT, "{again:#?}");
    let events = events(stack, &run).await;
    assert_eq!(events.last().map(String::as_str), Some("run.cancelled"), "{events:?}");
    run
}

async fn a_running_run_is_cancelled_in_the_middle_of_a_request(stack: &Stack) {
    let document = json!({
        "name": "held",
        "nodes": [call("ask", &stack.outside.url("/gate/never")), call("after", &stack.outside.url("/after"))],
        "edges": [{ "from": "ask", "to": "after" }],
    });
    stack.client.publish(&document).await;
    let run = stack.client.start("held", &json!({})).await;
    stack.outside.wait_for("/gate/never", 1).await;
    let run = cancel(stack, &run).await;
    assert_eq!(run.node("ask")["status"], "cancelled");
    assert_eq!(stack.outside.hits_at("/after").len(), 0);
    assert_eq!(stack.outside.hits_at("/gate/never").len(), 1);
}

async fn a_waiting_run_is_cancelled(stack: &Stack) {
    let document = json!({
        "name": "sleeper",
        "nodes": [{ "id": "wait", "type": "delay", "params": { "for": "1h" } }],
    });
    stack.client.publish(&document).await;
    let run = stack.client.start("sleeper", &json!({})).await;
    let waits = |run: &Run| run.node_states() == [("wait", "waiting")];
    let run = stack.client.becomes(run.id(), "waits", waits).await;
    assert!(run.node("wait")["wake_at"].is_string(), "{:#}", run.0);
    let run = cancel(stack, &run).await;
    assert_eq!(run.node("wait")["status"], "cancelled");
}

async fn an_idempotency_key_starts_one_run(stack: &Stack) {
    let document = json!({ "name": "once", "nodes": [call("ask", &stack.outside.url("/once"))] });
    stack.client.publish(&document).await;
    let send = async |input: Value, key: &str| {
        let request = stack.client.request(Method::POST, "/v1/workflows/once/runs?wait=30");
        let request = request.header("Idempotency-Key", key).json(&json!({ "input": input }));
        stack.client.send(request).await.expect("the API answers")
    };
    let first = send(json!({ "n": 1 }), "k1").await;
    let again = send(json!({ "n": 1 }), "k1").await;
    assert_eq!((first.status, again.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(first.body["id"], again.body["id"]);
    assert_eq!(first.headers.get("idempotency-replayed"), None);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let other = send(json!({ "n": 2 }), "k1").await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{other:#?}");
    let second = send(json!({ "n": 1 }), "k2").await;
    assert_ne!(first.body["id"], second.body["id"]);
    assert_eq!(stack.outside.hits_at("/once").len(), 2);
}

async fn a_run_keeps_the_version_that_it_started_with(stack: &Stack) {
    let version = |answer: &str| {
        json!({
            "name": "changing",
            "nodes": [
                call("ask", &stack.outside.url("/gate/go")),
                { "id": "say", "type": "transform", "params": { "value": answer } },
            ],
            "edges": [{ "from": "ask", "to": "say" }],
            "output": "{{ nodes.say }}",
        })
    };
    assert_eq!(stack.client.publish(&version("first")).await, 1);
    let first = stack.client.start("changing", &json!({})).await;
    stack.outside.wait_for("/gate/go", 1).await;
    assert_eq!(stack.client.publish(&version("second")).await, 2);
    let second = stack.client.start("changing", &json!({})).await;
    stack.outside.open("go");
    for (run, version, output) in [(first, 1, "first"), (second, 2, "second")] {
        let run = stack.client.ended(run.id()).await;
        assert_eq!((&run.0["version"], &run.0["output"]), (&json!(version), &json!(output)));
    }
}

/// Only the distributed stack can be without a worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_run_is_cancelled_before_anybody_takes_it() {
    let setup = Setup::distributed("a_queued_run_is_cancelled").workers(0);
    with_stack(setup, async |stack| {
        let document =
            json!({ "name": "once", "nodes": [call("ask", &stack.outside.url("/once"))] });
        stack.client.publish(&document).await;
        let run = stack.client.start("once", &json!({})).await;
        assert_eq!(run.status(), "queued");
        let run = cancel(stack, &run).await;
        assert_eq!(run.0["started_at"], Value::Null);
        assert_eq!(stack.outside.hits(), []);
    })
    .await;
}
