//! One run, one trace, through every process that touched it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use skein_shared::domain::trace::{SpanId, TraceContext};
use skein_tests::otlp::{Kind, Span, Status, orphans, render};
use skein_tests::stack::load::{self, EFFECTS, WORKFLOW};
use skein_tests::stack::{Form, IDENTITY, PATIENCE, Run, Setup, Stack, with_stack};

/// What a caller of the API was in the middle of.
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// What its systems say of that besides.
const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_one_trace_through_the_api_and_both_workers() {
    with_stack(Setup::distributed("a_run_is_one_trace"), async |stack| {
        load::publish(stack).await;
        // Two workers race for four messages; that one takes them all is possible, though not often.
        let shared = async {
            loop {
                let (run, trace) = run_in_callers_trace(stack).await;
                if workers_of(&trace).len() == 2 {
                    return (run, trace);
                }
            }
        };
        let (run, trace) = tokio::time::timeout(PATIENCE, shared).await.expect("both take part");
        assert_tree(stack, &run, &trace);
        assert_attributes(stack, &run, &trace);
        assert_links(&trace);
        assert_outside(stack, &run, &trace);
        assert_logs(stack, &run).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_run_is_one_trace_as_well() {
    with_stack(Setup::embedded("a_run_is_one_trace"), async |stack| {
        load::publish(stack).await;
        let (run, trace) = run_in_callers_trace(stack).await;
        assert_tree(stack, &run, &trace);
        assert_attributes(stack, &run, &trace);
        assert_links(&trace);
        assert_outside(stack, &run, &trace);
        assert_logs(stack, &run).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_waits_and_failures_are_spans_of_the_same_trace() {
    with_stack(Setup::distributed("attempts_are_spans"), async |stack| {
        let document = json!({
            "name": "eventful",
            "nodes": [
                { "id": "wait", "type": "delay", "params": { "for": "300ms" } },
                { "id": "ask", "type": "http", "retry": { "max_attempts": 3, "backoff": "50ms" },
                  "params": { "method": "POST", "url": stack.outside.url("/flaky/1/x"), "body": {} } },
                { "id": "fail", "type": "http", "params": { "url": stack.outside.url("/status/500") } },
            ],
            "edges": [{ "from": "wait", "to": "ask" }, { "from": "ask", "to": "fail" }],
        });
        stack.client.publish(&document).await;
        let run = stack.client.run("eventful", &json!({})).await;
        assert_eq!(run.status(), "failed", "{:#}", run.0);
        let trace = whole_trace(stack, &run).await;
        assert_eq!(orphans(&trace, None), Vec::<&Span>::new(), "{}", render(&trace));
        let of_node = |node: &str| -> Vec<(String, Value, Value)> {
            let mut spans: Vec<_> = nodes(&trace).filter(|span| of(span, "node.id") == node).collect();
            spans.sort_by_key(|span| span.start);
            let facts = |span: &&Span| {
                (text(span, "node.status"), of(span, "node.attempts"), of(span, "node.retry"))
            };
            spans.iter().map(facts).collect()
        };
        let waits: Vec<_> = of_node("wait").into_iter().map(|(status, ..)| status).collect();
        assert_eq!(waits, ["waiting", "completed"]);
        let asks = [
            ("failed".to_owned(), json!(1), json!(true)),
            ("completed".to_owned(), json!(2), Value::Null),
        ];
        assert_eq!(of_node("ask"), asks);
        assert_eq!(of_node("fail"), [("failed".to_owned(), json!(1), json!(false))]);
        let failed = nodes(&trace).find(|span| of(span, "node.id") == "fail").expect("it ran");
        assert_eq!(of(failed, "node.error_code"), "http_status");
        assert!(matches!(failed.status, Status::Error(_)), "{failed:#?}");
        let root = one(&trace, Kind::Internal, "workflow.execute");
        assert_eq!(of(root, "workflow.status"), "failed");
        assert!(matches!(root.status, Status::Error(_)), "{root:#?}");
    })
    .await;
}

/// Runs the ten nodes in the middle of the caller's trace; its spans are whole.
async fn run_in_callers_trace(stack: &Stack) -> (Run, Vec<Span>) {
    let path = format!("/v1/workflows/{WORKFLOW}/runs?wait=30");
    let request = stack.client.request(Method::POST, &path);
    let request = request.header("traceparent", CALLER).header("tracestate", STATE);
    let answer = stack.client.send(request.json(&json!({ "input": { "n": 3 } }))).await;
    let run = Run(answer.expect("the API answers").body);
    assert_eq!(run.status(), "succeeded", "{:#}", run.0);
    assert_eq!(run.0["output"], load::expected_output(3));
    assert_eq!(run.trace(), caller().trace);
    let trace = whole_trace(stack, &run).await;
    (run, trace)
}

/// The spans of one run: what names it, and the requests to the API that it began with.
async fn whole_trace(stack: &Stack, run: &Run) -> Vec<Span> {
    let of_run = |spans: &[Span]| -> Vec<Span> {
        let publish = run.0["publish_span_id"].as_str().unwrap_or_default();
        let request = spans.iter().find(|span| span.span_id.to_string() == publish);
        let request = request.and_then(|span| span.parent);
        // Requests that ask about the run are in traces of their own.
        let belongs = |span: &&Span| {
            let is_of_run = of(span, "workflow.execution_id") == run.id();
            is_of_run && span.kind != Kind::Server || Some(span.span_id) == request
        };
        spans.iter().filter(belongs).cloned().collect()
    };
    let is_whole = |spans: &[Span]| {
        let trace = of_run(spans);
        let ended = trace.iter().any(|span| span.name == "workflow.execute");
        let served = trace.iter().any(|span| span.kind == Kind::Server);
        let ran: usize = run.nodes().iter().map(executions).sum();
        let is_torn = !orphans(&trace, Some(caller().span)).is_empty();
        ended && served && !is_torn && nodes(&trace).count() >= ran && clients_are_whole(&trace)
    };
    let spans = stack.collector.wait_for(is_whole, PATIENCE).await;
    let trace = of_run(&spans.unwrap_or_else(|error| panic!("{error:#}")));
    assert!(trace.iter().all(|span| span.trace_id == run.trace()), "{}", render(&trace));
    trace
}

/// Spans that a node has: one an attempt, and one for each wait, which is no attempt.
fn executions(node: &Value) -> usize {
    let made = node["attempts"].as_u64().unwrap_or_default();
    let earlier = node["earlier_attempts"].as_array().map_or(&[] as &[_], Vec::as_slice);
    let waits = earlier.iter().filter(|attempt| attempt["outcome"] == "waiting").count();
    usize::try_from(made).expect("few attempts") + waits
}

/// Whether each http node that ended has the span of its request.
fn clients_are_whole(trace: &[Span]) -> bool {
    let parents: BTreeSet<_> = trace
        .iter()
        .filter(|span| span.kind == Kind::Client)
        .filter_map(|span| span.parent)
        .collect();
    let mut https = nodes(trace).filter(|span| span.name == "node.execute.http");
    https.all(|span| parents.contains(&span.span_id))
}

fn caller() -> TraceContext {
    TraceContext::from_traceparent(CALLER).expect("it is one")
}

fn nodes(trace: &[Span]) -> impl Iterator<Item = &Span> {
    trace.iter().filter(|span| span.name.starts_with("node.execute."))
}

fn of(span: &Span, attribute: &str) -> Value {
    span.attributes.get(attribute).cloned().unwrap_or(Value::Null)
}

fn text(span: &Span, attribute: &str) -> String {
    of(span, attribute).as_str().unwrap_or_default().to_owned()
}

fn one<'a>(trace: &'a [Span], kind: Kind, name: &str) -> &'a Span {
    let mut found = trace.iter().filter(|span| span.kind == kind && span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no {kind:?} {name} in\n{}", render(trace)));
    assert!(found.next().is_none(), "two {kind:?} {name} in\n{}", render(trace));
    span
}

fn workers_of(trace: &[Span]) -> BTreeSet<String> {
    let instance = |span: &Span| span.resource["service.instance.id"].to_string();
    nodes(trace).map(instance).collect()
}

/// SERVER, below it PRODUCER, below that CONSUMERs and the run, below that its nodes, below them CLIENTs.
fn assert_tree(stack: &Stack, run: &Run, trace: &[Span]) {
    let shown = render(trace);
    let remote = caller().span;
    assert_eq!(orphans(trace, Some(remote)), Vec::<&Span>::new(), "{shown}");
    let server = one(trace, Kind::Server, "POST /v1/workflows/{name}/runs");
    assert_eq!(server.parent, Some(remote), "{shown}");
    let root = one(trace, Kind::Internal, "workflow.execute");
    let by_id: BTreeMap<SpanId, &Span> = trace.iter().map(|span| (span.span_id, span)).collect();
    let parent = |span: &Span| by_id[&span.parent.expect("only the request has a remote parent")];
    let publish = parent(root);
    assert_eq!((publish.kind, publish.parent), (Kind::Producer, Some(server.span_id)), "{shown}");
    assert_eq!(root.span_id.to_string(), run.0["root_span_id"], "{shown}");
    for span in trace {
        match span.kind {
            Kind::Server => {}
            Kind::Producer => {
                assert!(span.name.starts_with("publish "), "{shown}");
                let below = parent(span).span_id;
                // A repeated wake-up of a run that has not started hangs below the one that should have.
                let known = [server.span_id, root.span_id, publish.span_id];
                assert!(known.contains(&below), "{shown}");
            }
            Kind::Consumer => {
                assert!(span.name.starts_with("process "), "{shown}");
                assert_eq!(parent(span).kind, Kind::Producer, "{shown}");
                let link = (span.trace_id, span.parent.expect("asserted above"));
                let links: Vec<_> = span.links.iter().map(|to| (to.trace, to.span)).collect();
                assert_eq!(links, [link], "{shown}");
            }
            Kind::Internal if span.span_id == root.span_id => {}
            Kind::Internal => {
                assert!(span.name.starts_with("node.execute."), "{shown}");
                assert_eq!(parent(span).span_id, root.span_id, "{shown}");
            }
            Kind::Client => {
                assert_eq!(span.name, "POST", "{shown}");
                assert_eq!(parent(span).name, "node.execute.http", "{shown}");
            }
            Kind::Unspecified => panic!("{span:#?}"),
        }
        assert!(span.end >= span.start, "{span:#?}");
        assert_ne!(span.trace_id.to_string(), "0".repeat(32));
    }
    // Nine of the ten nodes ran, each once; five of them called out.
    assert_eq!(nodes(trace).count(), 9, "{shown}");
    assert_eq!(trace.iter().filter(|span| span.kind == Kind::Client).count(), 5, "{shown}");
    let service = |span: &Span| span.service().to_owned();
    if stack.form == Form::Distributed {
        assert_eq!((service(server), service(publish)), ("skein-api".into(), "skein-api".into()));
        assert!(nodes(trace).all(|span| span.service() == "skein-worker"), "{shown}");
    }
    let inner = nodes(trace).all(|span| span.start >= root.start && span.end <= root.end + SKEW);
    assert!(inner, "every node lies within its run: {shown}");
}

/// How far the clocks of a worker and of the database, which times runs, may be apart on one machine.
const SKEW: Duration = Duration::from_millis(50);

/// The table of the design, key by key, with the types.
fn assert_attributes(stack: &Stack, run: &Run, trace: &[Span]) {
    let [organization, workspace, user] = IDENTITY;
    for span in trace {
        assert_eq!(span.repeated, Vec::<String>::new(), "{span:#?}");
        // A message that led to nothing: what it says of itself, no row has confirmed.
        if span.attributes.get("workflow.wakeup.claimed") != Some(&json!(false)) {
            assert_eq!(of(span, "organization.id"), organization, "{span:#?}");
            assert_eq!(of(span, "workspace.id"), workspace, "{span:#?}");
            assert_eq!(of(span, "user.id"), user, "{span:#?}");
        }
        assert!(span.resource.contains_key("service.version"), "{span:#?}");
        assert_eq!(span.state, STATE, "{span:#?}");
    }
    let root = one(trace, Kind::Internal, "workflow.execute");
    for (key, value) in [
        ("workflow.id", json!(WORKFLOW)),
        ("workflow.execution_id", json!(run.id())),
        ("workflow.step_mode", json!(false)),
        ("workflow.node_count", json!(10)),
        ("workflow.edge_count", json!(13)),
        ("workflow.status", json!("completed")),
    ] {
        assert_eq!(of(root, key), value, "{root:#?}");
    }
    assert!(of(root, "workflow.latency_ms").is_i64(), "{root:#?}");
    for span in nodes(trace) {
        let kind = span.name.trim_start_matches("node.execute.");
        let node = run.node(&text(span, "node.id"));
        assert_eq!(node["type"], kind, "{span:#?}");
        assert_eq!(node["span_id"], span.span_id.to_string(), "{span:#?}");
        assert_eq!(of(span, "node.type"), kind, "{span:#?}");
        assert_eq!(of(span, "node.status"), "completed", "{span:#?}");
        assert_eq!(of(span, "node.attempts"), 1, "{span:#?}");
        assert!(of(span, "node.latency_ms").is_i64(), "{span:#?}");
        assert!(of(span, "node.commit_ms").is_i64(), "{span:#?}");
        let by_message = span.links.iter().any(|link| {
            trace.iter().any(|to| to.span_id == link.span && to.kind == Kind::Consumer)
        });
        assert_eq!(of(span, "node.queue_wait_ms").is_i64(), by_message, "{span:#?}");
        assert_eq!(
            (of(span, "node.error"), of(span, "node.error_code")),
            (Value::Null, Value::Null)
        );
    }
    let server = one(trace, Kind::Server, "POST /v1/workflows/{name}/runs");
    for (key, value) in [
        ("http.method", json!("POST")),
        ("http.status_code", json!(200)),
        ("http.request.method", json!("POST")),
        ("http.response.status_code", json!(200)),
        ("http.route", json!("/v1/workflows/{name}/runs")),
        ("url.path", json!(format!("/v1/workflows/{WORKFLOW}/runs"))),
        ("url.query", json!("wait=30")),
        ("url.scheme", json!("http")),
        ("network.protocol.version", json!("1.1")),
        ("workflow.id", json!(WORKFLOW)),
        ("workflow.execution_id", json!(run.id())),
    ] {
        assert_eq!(of(server, key), value, "{server:#?}");
    }
    assert!(text(server, "http.url").ends_with("/runs?wait=30"), "{server:#?}");
    let system = match stack.form {
        Form::Distributed => "rabbitmq",
        Form::Embedded => "in_process",
    };
    for span in trace.iter().filter(|span| matches!(span.kind, Kind::Producer | Kind::Consumer)) {
        assert_eq!(of(span, "messaging.system"), system, "{span:#?}");
        let (operation, of_type) = match span.kind {
            Kind::Producer => ("publish", "send"),
            _ => ("process", "process"),
        };
        assert_eq!(of(span, "messaging.operation.name"), operation, "{span:#?}");
        assert_eq!(of(span, "messaging.operation.type"), of_type, "{span:#?}");
        assert!(of(span, "messaging.destination.name").is_string(), "{span:#?}");
        assert_eq!(of(span, "messaging.message.conversation_id"), run.id(), "{span:#?}");
        if of(span, "workflow.wakeup.claimed") != false {
            assert_eq!(of(span, "workflow.id"), WORKFLOW, "{span:#?}");
        }
        let size = of(span, "messaging.message.body.size");
        assert!(size.as_i64().is_some_and(|size| size > 50), "{span:#?}");
        let is_elsewhere = stack.form == Form::Distributed;
        assert_eq!(of(span, "server.address").is_string(), is_elsewhere, "{span:#?}");
        assert_eq!(of(span, "server.port").is_i64(), is_elsewhere, "{span:#?}");
        let has_name = is_elsewhere && span.kind == Kind::Producer;
        let is_named = text(span, "messaging.message.id").starts_with(run.id());
        assert_eq!(is_named, has_name, "{span:#?}");
        let claimed = of(span, "workflow.wakeup.claimed") == true;
        let events: Vec<_> = span.events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(events, if claimed { &["claimed"][..] } else { &[] }, "{span:#?}");
    }
    for span in trace.iter().filter(|span| span.kind == Kind::Client) {
        for (key, value) in [
            ("http.request.method", json!("POST")),
            ("http.method", json!("POST")),
            ("http.response.status_code", json!(200)),
            ("http.status_code", json!(200)),
            ("server.address", json!("127.0.0.1")),
            ("network.protocol.version", json!("1.1")),
        ] {
            assert_eq!(of(span, key), value, "{span:#?}");
        }
        assert!(of(span, "server.port").is_i64() && of(span, "url.full").is_string(), "{span:#?}");
    }
}

/// Each node is linked to the delivery that led to it, if one did, and to every node before it that ran.
fn assert_links(trace: &[Span]) {
    let upstream: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("start", &[] as &[_]),
        ("a", &["start"]),
        ("b", &["start"]),
        ("c", &["start"]),
        ("d", &["start"]),
        ("sum", &["a", "b", "c", "d"]),
        ("choose", &["sum"]),
        ("odd", &["choose"]),
        ("report", &["odd"]),
    ]);
    let by_id: BTreeMap<SpanId, &Span> = trace.iter().map(|span| (span.span_id, span)).collect();
    let mut delivered = 0;
    for span in nodes(trace) {
        let node = text(span, "node.id");
        let mut before = BTreeSet::new();
        for link in &span.links {
            let to = by_id.get(&link.span).unwrap_or_else(|| panic!("{node} is linked to nothing"));
            assert_eq!(link.trace, span.trace_id);
            match to.kind {
                Kind::Consumer => {
                    delivered += 1;
                    assert_eq!(text(to, "node.id"), node, "the delivery of another node");
                    assert_eq!(of(to, "workflow.wakeup.claimed"), true);
                }
                _ => assert!(before.insert(text(to, "node.id")), "{node} is linked twice"),
            }
        }
        let expected: BTreeSet<_> =
            upstream[node.as_str()].iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(before, expected, "{node}:\n{}", render(trace));
    }
    // The start came by a message, and so did at least three of the four that it fans out to.
    assert!(delivered >= 4, "{delivered} deliveries:\n{}", render(trace));
}

/// What the outside world was sent is the context of the very request.
fn assert_outside(stack: &Stack, run: &Run, trace: &[Span]) {
    let clients: BTreeSet<_> = trace
        .iter()
        .filter(|span| span.kind == Kind::Client)
        .map(|span| (span.trace_id.to_string(), span.span_id.to_string()))
        .collect();
    let sent: BTreeSet<_> = stack
        .outside
        .hits()
        .into_iter()
        .filter(|hit| hit.key.as_ref().is_some_and(|key| key.starts_with(run.id())))
        .map(|hit| {
            let header = hit.traceparent.expect("every request carries its trace");
            let context = TraceContext::from_traceparent(&header).expect("a valid header");
            assert!(context.is_sampled());
            assert_eq!(hit.tracestate.as_deref(), Some(STATE));
            (context.trace.to_string(), context.span.to_string())
        })
        .collect();
    assert_eq!(sent.len(), EFFECTS.len());
    assert_eq!(sent, clients);
}

/// Rows in the store and records at the collector carry the ids of spans that exist.
async fn assert_logs(stack: &Stack, run: &Run) {
    let rows = stack.client.logs(run.id()).await;
    let spans = stack.collector.trace(run.trace());
    let known: BTreeSet<_> = spans.iter().map(|span| span.span_id.to_string()).collect();
    for row in &rows {
        assert_eq!(row["trace_id"], run.0["trace_id"], "{row}");
        let span = row["span_id"].as_str().expect("every row has a span");
        assert!(known.contains(span), "{row} names a span that nobody exported");
        assert_eq!(row["run_id"], run.id(), "{row}");
    }
    let is_own = |row: &&Value| row["event"] == "node.succeeded";
    for row in rows.iter().filter(is_own) {
        let node = run.node(row["node"].as_str().expect("it has a node"));
        assert_eq!(row["span_id"], node["span_id"], "{row}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_logs_about_a_run_carries_its_ids() {
    let setup = Setup::distributed("logs_carry_ids").workers(1).env("RUST_LOG", "info");
    with_stack(setup, async |stack| {
        let document = json!({
            "name": "held",
            "nodes": [{ "id": "ask", "type": "http",
                        "params": { "method": "POST", "url": stack.outside.url("/gate/go"), "body": {} } }],
        });
        stack.client.publish(&document).await;
        let run = stack.client.start("held", &json!({})).await;
        stack.outside.wait_for("/gate/", 1).await;
        // Makes the worker lose its claim and say so: the row is taken away under it.
        let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
        let taken = "UPDATE node_runs SET claim = claim + 1 WHERE node_key = 'ask'";
        sqlx::query(taken).execute(&pool).await.expect("the table is there");
        pool.close().await;
        stack.outside.open("go");
        let of_run = |logs: &[skein_tests::otlp::Log]| {
            logs.iter().any(|log| log.trace_id == Some(run.trace()) && log.span_id.is_some())
        };
        let logs = stack.collector.wait_for_logs(of_run, PATIENCE).await;
        let logs = logs.unwrap_or_else(|error| panic!("{error:#}"));
        let [organization, ..] = IDENTITY;
        for log in logs.iter().filter(|log| log.trace_id == Some(run.trace())) {
            assert_eq!(log.attributes["organization.id"], organization, "{log:#?}");
        }
    })
    .await;
}
