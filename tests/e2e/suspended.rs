//! Runs that wait for long: suspended meanwhile, and in another trace afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use skein_shared::domain::trace::{SpanId, TraceContext, TraceId};
use skein_tests::otlp::{Kind, Span, Status, orphans, render};
use skein_tests::stack::{PATIENCE, Run, Setup, Stack, with_stack};

/// What is long for these cases; the default is a quarter of an hour.
const TRACE_WAIT_MAX: &str = "10s";
/// Longer than that. So is the time that the run is suspended for: from the end of the last request on.
const WAIT: &str = "15s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waited_for_long_goes_on_in_a_new_trace() {
    let setup = Setup::distributed("goes_on_in_a_new_trace");
    with_stack(setup.env("SKEIN_TRACE_WAIT_MAX", TRACE_WAIT_MAX), async |stack| {
        goes_on_in_a_new_trace(stack).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_run_does_so_as_well() {
    let setup = Setup::embedded("goes_on_in_a_new_trace");
    with_stack(setup.env("SKEIN_TRACE_WAIT_MAX", TRACE_WAIT_MAX), async |stack| {
        goes_on_in_a_new_trace(stack).await;
    })
    .await;
}

async fn goes_on_in_a_new_trace(stack: &Stack) {
    publish(stack, WAIT).await;
    let started = stack.client.start("patient", &json!({})).await;
    let suspended = until_suspended(stack, &started).await;
    assert_eq!(suspended.0["trace_id"], started.0["trace_id"], "it has not gone on yet");
    let run = stack.client.ended(started.id()).await;
    assert_eq!(run.status(), "succeeded", "{:#}", run.0);
    let earlier = &run.0["earlier_traces"];
    assert_eq!(earlier.as_array().map(Vec::len), Some(1), "{:#}", run.0);
    assert_eq!(earlier[0]["trace_id"], started.0["trace_id"]);
    assert_eq!(earlier[0]["root_span_id"], started.0["root_span_id"]);

    let (before, after) = both_traces(stack, &started, &run).await;
    let shown = format!("{}\n{}", render(&before), render(&after));
    assert_eq!(orphans(&before, None), Vec::<&Span>::new(), "{shown}");
    assert_eq!(orphans(&after, None), Vec::<&Span>::new(), "{shown}");
    let (first, second) = (root(&before), root(&after));
    assert_eq!(links(first), [context(second)], "{shown}");
    assert_eq!(links(second), [context(first)], "{shown}");
    assert_eq!((second.parent, first.parent.is_some()), (None, true), "{shown}");
    for (span, segment, status) in [(first, 1, "suspended"), (second, 2, "completed")] {
        assert_eq!(span.attributes["workflow.segment"], segment);
        assert_eq!(span.attributes["workflow.status"], status);
        assert_eq!(span.attributes["workflow.execution_id"], run.id());
        assert_eq!(span.status, Status::Unset, "{span:#?}");
    }
    let gap = second.start.duration_since(first.end).expect("the wait is in neither of them");
    assert!(gap >= Duration::from_secs(10), "{gap:?}");
    let latency = second.attributes["workflow.latency_ms"].as_u64().expect("a number");
    assert!(latency >= 15_000, "{latency} ms is not what the whole run took");
    assert_eq!(nodes(&before), ["ask completed", "side completed", "wait waiting"], "{shown}");
    assert_eq!(nodes(&after), ["after completed", "wait completed"], "{shown}");

    // The join is linked to what led to it, in whichever trace that is.
    let join = node(&after, "after");
    let expected = BTreeSet::from([context(node(&before, "side")), context(node(&after, "wait"))]);
    let upstream: BTreeSet<_> =
        links(join).into_iter().filter(|to| expected.contains(to)).collect();
    assert_eq!(upstream, expected, "{join:#?}");
    let sent = stack.outside.hits_at("/after").remove(0).traceparent.expect("it is sent along");
    let sent = TraceContext::from_traceparent(&sent).expect("a valid header");
    assert_eq!(sent.trace, second.trace_id);

    // Every row of the log names a span that was exported, in the trace that it names.
    let exported: BTreeSet<_> = before.iter().chain(&after).map(context).collect();
    let rows = stack.client.logs(run.id()).await;
    for row in &rows {
        assert!(exported.contains(&named(row)), "{row} names a span that nobody exported\n{shown}");
    }
    let events: Vec<_> = rows.iter().filter_map(|row| row["event"].as_str()).collect();
    let turn = events.iter().position(|event| *event == "run.resumed").expect("it resumed");
    assert_eq!(events[turn - 1], "run.suspended", "{events:?}");
    assert!(rows[..turn].iter().all(|row| row["trace_id"] == started.0["trace_id"]), "{rows:#?}");
    assert!(rows[turn..].iter().all(|row| row["trace_id"] == run.0["trace_id"]), "{rows:#?}");
}

/// The last words of a suspended run are in the trace that it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_run_is_cancelled_and_its_trace_says_so() {
    with_stack(Setup::embedded("suspended_and_cancelled"), async |stack| {
        publish(stack, "1h").await;
        let run = stack.client.start("patient", &json!({})).await;
        until_suspended(stack, &run).await;
        let path = format!("/v1/runs/{}/cancel", run.id());
        stack.client.post(&path, &json!({})).await.expect("the API answers");
        let run = stack.client.ended(run.id()).await;
        assert_eq!((run.status(), &run.0["earlier_traces"]), ("cancelled", &json!([])));
        let trace = whole(stack, run.trace()).await;
        assert_eq!(orphans(&trace, None), Vec::<&Span>::new(), "{}", render(&trace));
        assert_eq!(root(&trace).attributes["workflow.status"], "cancelled");
        assert_eq!(root(&trace).status, Status::Unset);
        assert_eq!(nodes(&trace), ["ask completed", "side completed", "wait waiting"]);
    })
    .await;
}

/// A request, then a wait beside another request, then a third one after both.
async fn publish(stack: &Stack, wait: &str) {
    let call = |id: &str| {
        let url = stack.outside.url(&format!("/{id}"));
        json!({ "id": id, "type": "http", "params": { "method": "POST", "url": url, "body": {} } })
    };
    let document = json!({
        "name": "patient",
        "nodes": [
            call("ask"),
            { "id": "wait", "type": "delay", "params": { "for": wait } },
            call("side"),
            call("after"),
        ],
        "edges": [
            { "from": "ask", "to": "wait" }, { "from": "ask", "to": "side" },
            { "from": "wait", "to": "after" }, { "from": "side", "to": "after" },
        ],
    });
    stack.client.publish(&document).await;
}

async fn until_suspended(stack: &Stack, run: &Run) -> Run {
    stack.client.becomes(run.id(), "suspended", |run| run.status() == "suspended").await
}

async fn both_traces(stack: &Stack, started: &Run, ended: &Run) -> (Vec<Span>, Vec<Span>) {
    let (before, after) = (started.trace(), ended.trace());
    assert_ne!(before, after);
    (whole(stack, before).await, whole(stack, after).await)
}

/// The spans of a trace, once its run's is there and nothing lacks its parent.
async fn whole(stack: &Stack, trace: TraceId) -> Vec<Span> {
    let of_trace = |spans: &[Span]| -> Vec<Span> {
        spans.iter().filter(|span| span.trace_id == trace).cloned().collect()
    };
    let is_whole = |spans: &[Span]| {
        let spans = of_trace(spans);
        spans.iter().any(|span| span.name == "workflow.execute") && orphans(&spans, None).is_empty()
    };
    let spans = stack.collector.wait_for(is_whole, PATIENCE).await;
    of_trace(&spans.unwrap_or_else(|error| panic!("{error:#}")))
}

fn root(trace: &[Span]) -> &Span {
    let mut roots = trace.iter().filter(|span| span.name == "workflow.execute");
    let root = roots.next().expect("the trace is whole");
    assert!(roots.next().is_none() && root.kind == Kind::Internal, "{}", render(trace));
    root
}

/// The executions of nodes and how they ended, in the order of the alphabet.
fn nodes(trace: &[Span]) -> Vec<String> {
    let nodes = trace.iter().filter(|span| span.name.starts_with("node.execute."));
    let text = |span: &Span, name: &str| span.attributes[name].as_str().unwrap_or("?").to_owned();
    let sent = |span: &Span| format!("{} {}", text(span, "node.id"), text(span, "node.status"));
    let mut sent: Vec<_> = nodes.map(sent).collect();
    sent.sort();
    sent
}

fn node<'a>(trace: &'a [Span], id: &str) -> &'a Span {
    let mut nodes = trace.iter().filter(|span| span.name.starts_with("node.execute."));
    nodes.find(|span| span.attributes["node.id"] == id).expect("it ran")
}

fn context(span: &Span) -> (TraceId, SpanId) {
    (span.trace_id, span.span_id)
}

fn links(span: &Span) -> Vec<(TraceId, SpanId)> {
    span.links.iter().map(|link| (link.trace, link.span)).collect()
}

/// What a row of the log names.
fn named(row: &Value) -> (TraceId, SpanId) {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let trace = text("trace_id").parse().expect("every row has a trace");
    (trace, text("span_id").parse().expect("every row has a span"))
}
