//! What the database is asked, as a collector sees it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skein_tests::otlp::{Kind, Span, render};
use skein_tests::stack::{Form, IDENTITY, PATIENCE, Setup, Stack, load, with_stack};

/// Statements that serve many at a time, on the way of every run.
const SHARED: [&str; 3] = ["accept", "claim", "commit"];
/// Requests that need no key.
const OPEN: [&str; 2] = ["/readyz", "/livez"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_a_span_of_what_it_is_made_for_and_one_for_many_is_nobodys() {
    with_stack(Setup::distributed("statements"), hold).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_when_embedded() {
    with_stack(Setup::embedded("statements"), hold).await;
}

async fn hold(stack: &mut Stack) {
    load::publish(stack).await;
    let run = stack.client.run(load::WORKFLOW, &json!({ "n": 3 })).await;
    let read = stack.client.find(run.id()).await.expect("it is there");
    assert_eq!(read.status(), "succeeded", "{:#}", read.0);
    let is_read = |spans: &[Span]| below(spans, "GET /v1/runs/{id}").next().is_some();
    let is_shown = |spans: &[Span]| SHARED.iter().all(|name| shared(spans, name).next().is_some());
    let spans = stack.collector.wait_for(|it| is_read(it) && is_shown(it), PATIENCE).await;
    let spans = spans.unwrap_or_else(|error| panic!("{error:#}"));
    for statement in below(&spans, "GET /v1/runs/{id}") {
        assert!(statement.name.starts_with("find_run "), "{statement:#?}");
        assert_eq!(text(statement, "db.operation.name"), "find_run");
        assert_follows_conventions(stack, statement);
    }
    for name in SHARED {
        for statement in shared(&spans, name) {
            assert_eq!(text(statement, "db.operation.name"), name);
            assert_follows_conventions(stack, statement);
            let others = spans.iter().filter(|span| span.trace_id == statement.trace_id).count();
            assert_eq!((others, statement.parent, statement.links.len()), (1, None, 0));
            let count = statement.attributes.get("db.operation.batch.size");
            assert!(count.is_none_or(|count| count.as_i64() > Some(1)), "{statement:#?}");
        }
    }
    assert_named(&spans);
    stack.stop().await;
    assert_measured(stack);
}

/// The statements of requests to a route.
fn below<'a>(spans: &'a [Span], request: &str) -> impl Iterator<Item = &'a Span> {
    let requests = spans.iter().filter(|span| span.kind == Kind::Server && span.name == request);
    let ids: BTreeSet<_> = requests.map(|span| (span.trace_id, span.span_id)).collect();
    spans.iter().filter(move |span| {
        let parent = span.parent.map(|parent| (span.trace_id, parent));
        span.kind == Kind::Client && parent.is_some_and(|parent| ids.contains(&parent))
    })
}

/// Those of a statement that many have shared.
fn shared<'a>(spans: &'a [Span], name: &str) -> impl Iterator<Item = &'a Span> {
    let name = format!("BATCH {name} ");
    spans.iter().filter(move |span| span.name.starts_with(&name))
}

fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    span.attributes.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn assert_follows_conventions(stack: &Stack, span: &Span) {
    let system = match stack.form {
        Form::Distributed => "postgresql",
        Form::Embedded => "sqlite",
    };
    let namespace = text(span, "db.namespace");
    assert!(
        span.kind == Kind::Client && span.name.ends_with(&format!(" {namespace}")),
        "{span:#?}"
    );
    for (key, value) in [
        ("db.system.name", system),
        ("db.system", system),
        ("db.name", namespace),
        ("db.operation", text(span, "db.operation.name")),
        ("db.query.summary", text(span, "db.operation.name")),
    ] {
        assert_eq!(text(span, key), value, "{key} of {span:#?}");
    }
    assert!(!namespace.is_empty() && !span.attributes.contains_key("db.query.text"), "{span:#?}");
    let is_elsewhere = stack.form == Form::Distributed;
    let port = span.attributes.get("server.port").and_then(Value::as_i64);
    assert_eq!(!text(span, "server.address").is_empty(), is_elsewhere, "{span:#?}");
    assert_eq!(port.is_some(), is_elsewhere, "{span:#?}");
    assert_eq!(span.repeated, Vec::<String>::new(), "{span:#?}");
}

/// Every span says whose work it was, but for those that are nobody's: and these say nothing of it.
fn assert_named(spans: &[Span]) {
    for span in spans {
        let found = ["organization.id", "workspace.id", "user.id"].map(|key| text(span, key));
        let is_open = span.kind == Kind::Server && OPEN.contains(&text(span, "http.route"));
        let is_hearsay = span.attributes.get("workflow.wakeup.claimed") == Some(&json!(false));
        let is_nobodys = span.name.starts_with("BATCH ") || is_open || is_hearsay;
        let expected = if is_nobodys { [""; 3] } else { IDENTITY };
        assert_eq!(found, expected, "{span:#?}\n{}", render(spans));
    }
}

fn assert_measured(stack: &Stack) {
    let histograms = stack.collector.histograms();
    for name in ["accept", "claim", "commit", "find_run", "sweep_nodes", "heartbeat"] {
        let is_it = |attributes: &skein_tests::otlp::Attributes| {
            attributes.get("db.operation.name") == Some(&json!(name))
        };
        let of_duration = histograms.iter().filter(|it| it.name == "db.client.operation.duration");
        let found: Vec<_> = of_duration.filter(|it| is_it(&it.attributes)).collect();
        assert!(found.iter().any(|it| it.count > 0 && it.unit == "s"), "{name} was not measured");
        let labels = ["db.operation.name", "db.system.name", "error.type"];
        let known = |key: &String| labels.contains(&key.as_str());
        assert!(found.iter().flat_map(|it| it.attributes.keys()).all(known), "{found:#?}");
    }
}
