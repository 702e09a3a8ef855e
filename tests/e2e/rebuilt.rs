//! Spans that are made once more from the database, held against those of the first time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use skein_shared::domain::trace::SpanId;
use skein_tests::otlp::{Attributes, Receiver, Span, Status, orphans, render};
use skein_tests::stack::{KEY, PATIENCE, Run, Setup, Stack, with_stack};

use crate::ledger::text;
use crate::played::with_models;

/// An agent calls its tool first; the larger model refuses to go on then.
const SCRIPT: &str = "\
replies:
  - when: { contains: refuse }
    reply: { status: 400, error: no such thing }
  - when: { contains: count }
    reply: { json: { n: 1 }, usage: { input_tokens: 20, output_tokens: 5, cached_tokens: 4 } }
  - when: { contains: look, turn: 0 }
    reply: { text: let me look, tool_calls: [{ name: look, arguments: { q: a } }], usage: { input_tokens: 40, output_tokens: 6 } }
  - when: { tool_result: look, model: gpt-4o }
    reply: { status: 400, error: no more }
  - when: { tool_result: look }
    reply: { text: seen, usage: { input_tokens: 60, output_tokens: 7 } }
";

/// Attributes that no row holds, so that spans which are made once more lack them. README says so.
const LACKING: &[&str] = &[
    "gen_ai.response.id",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.server.ttft",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.tool.call.id",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "node.queue_wait_ms",
    "node.commit_ms",
    "node.resumed",
    "node.wait.type",
    "node.wait_ms",
    "messaging.message.id",
    "messaging.message.body.size",
    "server.address",
    "server.port",
    "skein.rebuilt",
];
/// Attributes that a worker's clock has measured the first time, and the database's the second time.
const MEASURED: [&str; 2] = ["node.latency_ms", "llm.latency_ms"];
/// How far the two may be apart: a statement on a busy machine, and the clocks of both.
const APART: Duration = Duration::from_secs(2);
/// The kinds that are made once more, by how their names begin.
const KINDS: [&str; 6] = [
    "publish ",
    "workflow.execute",
    "node.execute.",
    "llm.generate",
    "agent.execute",
    "tool.execute",
];

/// Exports runs with these words, to a receiver; what the command says.
async fn export(stack: &Stack, to: &Receiver, words: &[&str]) -> String {
    let endpoint = to.endpoint();
    let fixed = ["skein", "traces", "export", "--to", endpoint.as_str()];
    let command: Vec<_> = fixed.into_iter().chain(words.iter().copied()).collect();
    // A name of its own for the log, which holds everything that a program ever printed.
    let name = format!("skein-traces-{}", uuid::Uuid::new_v4().simple());
    let mut skein = stack.program(&name, &command);
    skein.set("SKEIN_KEY", KEY);
    skein.start();
    let code = skein.ended().await.code();
    assert_eq!(code, Some(0), "{words:?}: {}", skein.log());
    skein.log()
}

fn of_run(spans: &[Span], run: &Run) -> Vec<Span> {
    let is_it = |span: &&Span| {
        text(span, "workflow.execution_id") == run.id()
            && KINDS.iter().any(|kind| span.name.starts_with(kind))
    };
    spans.iter().filter(is_it).cloned().collect()
}

fn by_id(spans: &[Span]) -> BTreeMap<SpanId, &Span> {
    let found: BTreeMap<_, _> = spans.iter().map(|span| (span.span_id, span)).collect();
    assert_eq!(found.len(), spans.len(), "an id is there twice:\n{}", render(spans));
    found
}

/// Attributes as they are compared: without what the second time cannot have.
fn compared(span: &Span) -> Attributes {
    let is_left_out =
        |key: &String| LACKING.contains(&key.as_str()) || MEASURED.contains(&key.as_str());
    let kept = span.attributes.iter().filter(|(key, _)| !is_left_out(key));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|early| early.duration())
}

/// What published nodes that were claimed once only, by a message. What publishes the first node of a run once more is not
/// among them: it stands below what published the run.
fn published_once(spans: &[Span], run: &Run) -> BTreeSet<SpanId> {
    let is_attempt = |span: &&Span, node: &str| {
        span.name.starts_with("node.execute.") && text(span, "node.id") == node
    };
    let of_run = |span: &&Span| text(span, "workflow.execution_id") == run.id();
    let received = spans.iter().filter(of_run).filter(|span| span.name.starts_with("process "));
    let claimed = received.filter(|it| it.attributes["workflow.wakeup.claimed"] == true);
    let once = claimed.filter(|received| {
        let node = text(received, "node.id");
        spans.iter().filter(of_run).filter(|span| is_attempt(span, node)).count() == 1
    });
    let published = once.filter_map(|received| received.parent);
    let is_first =
        |span: &&Span| span.parent.is_some_and(|it| it.to_string() == run.0["publish_span_id"]);
    let first: BTreeSet<_> = spans.iter().filter(is_first).map(|span| span.span_id).collect();
    published.filter(|publish| !first.contains(publish)).collect()
}

/// Checks that the second time says what the first has said; `once` is what it must not lack.
fn assert_same(first: &[Span], second: &[Span], once: &BTreeSet<SpanId>) {
    let shown = || format!("first:\n{}second:\n{}", render(first), render(second));
    let (firsts, seconds) = (by_id(first), by_id(second));
    let missing = firsts.iter().filter(|(id, _)| !seconds.contains_key(id));
    for (_, span) in missing {
        // Of what was published for a node again and again, only the last is kept, and not by whom.
        assert!(span.name.starts_with("publish "), "{span:#?}\n{}", shown());
        assert!(!once.contains(&span.span_id), "{span:#?}\n{}", shown());
    }
    assert!(seconds.keys().all(|id| firsts.contains_key(id)), "{}", shown());
    for (id, second) in &seconds {
        let first = firsts[id];
        let both = || format!("first: {first:#?}\nsecond: {second:#?}");
        assert_eq!(second.attributes.get("skein.rebuilt"), Some(&json!(true)), "{}", both());
        assert!(!first.attributes.contains_key("skein.rebuilt"), "{}", both());
        assert_eq!(second.repeated, Vec::<String>::new(), "{}", both());
        assert_eq!((first.trace_id, first.kind), (second.trace_id, second.kind), "{}", both());
        assert_eq!((first.parent, &first.state), (second.parent, &second.state), "{}", both());
        assert_eq!(first.status, second.status, "{}", both());
        assert_eq!(compared(first), compared(second), "{}", both());
        for service in ["service.name", "service.namespace", "service.version"] {
            assert_eq!(first.resource.get(service), second.resource.get(service), "{}", both());
        }
        // What is received is kept nowhere.
        let is_kept = |span: &SpanId| firsts.contains_key(span);
        let kept = first.links.iter().filter(|link| is_kept(&link.span));
        assert_eq!(kept.collect::<Vec<_>>(), second.links.iter().collect::<Vec<_>>(), "{}", both());
        let events = |span: &Span| -> Vec<(String, Attributes)> {
            span.events.iter().map(|it| (it.name.clone(), it.attributes.clone())).collect()
        };
        assert_eq!(events(first), events(second), "{}", both());
        let is_exact = first.name == "workflow.execute";
        let most = if is_exact { Duration::ZERO } else { APART };
        assert!(apart(first.start, second.start) <= most, "{}", both());
        assert!(apart(first.end, second.end) <= most, "{}", both());
        for key in MEASURED {
            let of =
                |span: &Span| span.attributes.get(key).map(|it| it.as_i64().expect("a number"));
            let difference = of(first).zip(of(second)).map(|(one, other)| one.abs_diff(other));
            assert_eq!(of(first).is_some(), of(second).is_some(), "{}", both());
            assert!(u128::from(difference.unwrap_or_default()) <= APART.as_millis(), "{}", both());
        }
    }
}

/// Waits until the spans of a run's first time are there, as many as the second time has, and compares them.
async fn assert_rebuilt(stack: &Stack, run: &Run) -> Vec<Span> {
    let to = Receiver::start().await;
    let told = export(stack, &to, &["--run", run.id()]).await;
    let second = to.spans();
    assert!(told.contains(&format!("sent {} spans of 1 run to", second.len())), "{told}");
    assert_eq!(of_run(&second, run).len(), second.len(), "{}", render(&second));
    let wanted: BTreeSet<_> = second.iter().map(|span| span.span_id).collect();
    let is_there = |spans: &[Span]| {
        let known: BTreeSet<_> = of_run(spans, run).iter().map(|span| span.span_id).collect();
        wanted.is_subset(&known)
    };
    let first = stack.collector.wait_for(is_there, PATIENCE).await;
    let first = first.unwrap_or_else(|error| {
        panic!("the second time has more:\n{}\n{error:#}", render(&second))
    });
    assert_same(&of_run(&first, run), &second, &published_once(&first, run));
    second
}

fn ask(prompt: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    json!({
        "id": "ask", "type": "llm",
        "params": {
            "provider": "google", "model": "gemini-2.5-flash", "system": "be brief", "prompt": prompt,
            "schema": schema, "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["END"],
            "stream": true,
        },
    })
}

fn act(model: &str, tool: &str) -> Value {
    let look = json!({
        "name": "look", "description": "looks", "method": "POST", "url": tool, "body": { "q": "{{ args.q }}" },
        "parameters": { "type": "object", "properties": { "q": { "type": "string" } } },
    });
    json!({
        "id": "act", "type": "agent",
        "params": { "provider": "openai", "model": model, "goal": "look", "tools": [{ "http": look }] },
    })
}

/// Workflows and how their runs end: waits, retries, joins, skips, failures, models and agents.
fn cases(stack: &Stack) -> [(Value, &'static str); 4] {
    let (well, broken) = (stack.outside.url("/look"), stack.outside.url("/status/500"));
    let call = |id: &str, path: &str| {
        let url = stack.outside.url(path);
        json!({ "id": id, "type": "http", "retry": { "max_attempts": 3, "backoff": "50ms" },
                "params": { "method": "POST", "url": url, "body": {} } })
    };
    let eventful = json!({
        "name": "eventful",
        "nodes": [
            call("first", "/first"),
            { "id": "wait", "type": "delay", "params": { "for": "300ms" } },
            call("flaky", "/flaky/1/x"),
            { "id": "odd", "type": "condition", "params": { "if": "{{ false }}" } },
            { "id": "skipped", "type": "transform", "params": { "value": 1 } },
            { "id": "join", "type": "transform", "params": { "value": "{{ nodes.flaky.status }}" } },
            { "id": "last", "type": "http", "params": { "url": stack.outside.url("/status/500") } },
        ],
        "edges": [
            { "from": "first", "to": "wait" }, { "from": "first", "to": "flaky" }, { "from": "first", "to": "odd" },
            { "from": "odd", "to": "skipped", "branch": "true" },
            { "from": "wait", "to": "join" }, { "from": "flaky", "to": "join" }, { "from": "skipped", "to": "join" },
            { "from": "join", "to": "last" },
        ],
    });
    let asks = json!({
        "name": "asks", "edges": [{ "from": "ask", "to": "act" }],
        "nodes": [ask("count"), act("gpt-4o-mini", &well)],
    });
    [
        (eventful, "failed"),
        (asks, "succeeded"),
        (json!({ "name": "refused", "nodes": [ask("refuse")] }), "failed"),
        (json!({ "name": "broken", "nodes": [act("gpt-4o", &broken)] }), "failed"),
    ]
}

async fn every_run_is_told_again(stack: &mut Stack) {
    for (document, status) in cases(stack) {
        stack.client.publish(&document).await;
        let name = document["name"].as_str().expect("it has a name");
        let run = stack.client.run(name, &json!({})).await;
        assert_eq!(run.status(), status, "{:#}", run.0);
        assert_rebuilt(stack, &run).await;
    }
    // What waits, and what works, is cancelled.
    let url = stack.outside.url("/gate/closed");
    let document = json!({ "name": "endless", "nodes": [
        { "id": "wait", "type": "delay", "params": { "for": "1h" } },
        { "id": "call", "type": "http", "params": { "method": "POST", "url": url, "body": {} } },
    ]});
    stack.client.publish(&document).await;
    let run = stack.client.start("endless", &json!({})).await;
    stack.outside.wait_for("/gate/closed", 1).await;
    let waits = |run: &Run| run.node_states().contains(&("wait", "waiting"));
    stack.client.becomes(run.id(), "waits", waits).await;
    let path = format!("/v1/runs/{}/cancel", run.id());
    stack.client.post(&path, &json!({})).await.expect("the API answers");
    let run = stack.client.ended(run.id()).await;
    assert_eq!(run.status(), "cancelled", "{:#}", run.0);
    let spans = assert_rebuilt(stack, &run).await;
    let mut ends: Vec<_> = spans
        .iter()
        .filter(|span| span.name.starts_with("node."))
        .map(|span| (text(span, "node.id"), text(span, "node.status")))
        .collect();
    ends.sort_unstable();
    assert_eq!(ends, [("call", "cancelled"), ("wait", "waiting")], "{}", render(&spans));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_once_more_says_what_was_said_the_first_time() {
    let setup = Setup::distributed("rebuilt");
    with_models(SCRIPT, setup, async |stack, _| every_run_is_told_again(stack).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_once_more_when_embedded_says_what_was_said_the_first_time() {
    let setup = Setup::embedded("rebuilt");
    with_models(SCRIPT, setup, async |stack, _| every_run_is_told_again(stack).await).await;
}

/// The spans are one tree: below the request, which is kept nowhere, stands what published the run.
fn assert_tree(spans: &[Span], run: &Run) {
    let shown = render(spans);
    by_id(spans);
    let publish = spans.iter().find(|span| span.span_id.to_string() == run.0["publish_span_id"]);
    let publish = publish.unwrap_or_else(|| panic!("what published the run is missing:\n{shown}"));
    assert_eq!(orphans(spans, publish.parent), Vec::<&Span>::new(), "{shown}");
    let root = spans.iter().find(|span| span.name == "workflow.execute").expect("it has ended");
    assert_eq!(root.parent, Some(publish.span_id), "{shown}");
    assert_eq!(root.span_id.to_string(), run.0["root_span_id"], "{shown}");
    for span in spans {
        assert_eq!(span.trace_id, run.trace(), "{shown}");
        assert_eq!(text(span, "organization.id"), "acme", "{span:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_run_whose_worker_was_killed_everything_is_there() {
    let setup = Setup::distributed("rebuilt_after_a_crash").short_leases().workers(1);
    with_stack(setup, async |stack| {
        let url = stack.outside.url("/gate/crash");
        let document = json!({ "name": "fragile", "nodes": [
            { "id": "before", "type": "transform", "params": { "value": 1 } },
            { "id": "call", "type": "http", "params": { "method": "POST", "url": url, "body": {} } },
            { "id": "after", "type": "transform", "params": { "value": 2 } },
        ], "edges": [{ "from": "before", "to": "call" }, { "from": "call", "to": "after" }] });
        stack.client.publish(&document).await;
        let run = stack.client.start("fragile", &json!({})).await;
        stack.outside.wait_for("/gate/crash", 1).await;
        stack.workers[0].kill().await;
        stack.restart_worker(0).await;
        stack.outside.wait_for("/gate/crash", 2).await;
        stack.outside.open("crash");
        let run = stack.client.ended(run.id()).await;
        assert_eq!(run.status(), "succeeded", "{:#}", run.0);
        let to = Receiver::start().await;
        export(stack, &to, &["--run", run.id()]).await;
        let spans = to.spans();
        assert_tree(&spans, &run);
        let mut nodes: Vec<_> =
            spans.iter().filter(|span| span.name.starts_with("node.")).collect();
        nodes.sort_by_key(|span| (span.start, span.end));
        let told: Vec<_> =
            nodes.iter().map(|it| (text(it, "node.id"), text(it, "node.status"))).collect();
        let expected = [
            ("before", "completed"),
            ("call", "failed"),
            ("call", "completed"),
            ("after", "completed"),
        ];
        assert_eq!(told, expected, "{}", render(&spans));
        assert_eq!(text(nodes[1], "node.error_code"), "worker_crashed");
        assert!(matches!(nodes[1].status, Status::Error(_)), "{:#?}", nodes[1]);
        // Each row that names a span names one of these, or the request.
        let known: BTreeSet<_> = spans.iter().map(|span| span.span_id.to_string()).collect();
        for row in stack.client.logs(run.id()).await {
            let span = row["span_id"].as_str().expect("every row has a span");
            let is_request = row["event"] == "run.accepted";
            assert!(is_request || known.contains(span), "{row}\n{}", render(&spans));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_was_away_gets_the_tree_later_and_no_other_ids_when_it_gets_it_twice() {
    // Nobody listens at the port of the discard service, and an unprivileged process cannot begin to.
    let setup = Setup::distributed("rebuilt_later").collector("http://127.0.0.1:9");
    with_stack(setup, async |stack| {
        let url = stack.outside.url("/status/500");
        let document = json!({ "name": "fails", "nodes": [
            { "id": "a", "type": "transform", "params": { "value": 1 } },
            { "id": "b", "type": "http", "params": { "url": url } },
        ], "edges": [{ "from": "a", "to": "b" }] });
        stack.client.publish(&document).await;
        let mut runs = Vec::new();
        for _ in 0..3 {
            runs.push(stack.client.run("fails", &json!({})).await);
        }
        let to = Receiver::start().await;
        let told = export(stack, &to, &["--failed", "--since", "1h"]).await;
        assert!(told.contains("spans of 3 runs to"), "{told}");
        let once = to.spans();
        for run in &runs {
            assert_eq!(run.status(), "failed", "{:#}", run.0);
            assert_tree(&of_run(&once, run), run);
        }
        export(stack, &to, &["--failed", "--since", "1h"]).await;
        let twice = to.spans();
        let ids = |spans: &[Span]| -> BTreeSet<_> {
            spans.iter().map(|span| (span.trace_id, span.span_id)).collect()
        };
        assert_eq!((twice.len(), ids(&twice)), (once.len() * 2, ids(&once)));
        // Nothing that ended before anything began.
        let none = export(stack, &to, &["--failed", "--since", "2h", "--until", "1h"]).await;
        assert!(none.contains("0 spans of 0 runs"), "{none}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_sampled_is_exported_when_somebody_asks_for_it() {
    let setup = Setup::embedded("rebuilt_unsampled").env("OTEL_TRACES_SAMPLER", "always_off");
    with_stack(setup, async |stack| {
        let document = json!({ "name": "quiet", "nodes": [
            { "id": "a", "type": "transform", "params": { "value": 1 } },
        ]});
        stack.client.publish(&document).await;
        let run = stack.client.run("quiet", &json!({})).await;
        let to = Receiver::start().await;
        export(stack, &to, &["--run", run.id()]).await;
        assert_tree(&to.spans(), &run);
        // What comes last has come when it has stopped.
        stack.stop().await;
        assert_eq!(of_run(&stack.collector.spans(), &run), Vec::<Span>::new());
    })
    .await;
}
