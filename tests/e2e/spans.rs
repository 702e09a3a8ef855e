//! Spans from many processes in one trace: what they say of each other is so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use skein_shared::domain::trace::{SpanId, TraceId};
use skein_tests::otlp::{Kind, Span, Status, orphans, render};
use skein_tests::stack::{PATIENCE, Run, Setup, Stack, load, with_stack};

/// By how many seconds the clocks of programs and database differ.
const OFF: i32 = 5;
/// How far the times of two processes may be apart that have asked the same clock: what a round trip to it takes on a busy
/// machine.
const SKEW: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_fit_into_each_other_when_the_clock_of_their_processes_is_slow() {
    clocks_differ("slow_clocks", OFF).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_fit_into_each_other_when_the_clock_of_their_processes_is_fast() {
    clocks_differ("fast_clocks", -OFF).await;
}

async fn clocks_differ(label: &str, seconds: i32) {
    with_stack(Setup::distributed(label).clock_off_by(seconds), async |stack| {
        load::publish(stack).await;
        // Until the second one, every process has heard what time it is.
        let mut run = None;
        let begun = SystemTime::now();
        for n in [1, 2] {
            run = Some(stack.client.run(load::WORKFLOW, &json!({ "n": n })).await);
        }
        let run = run.expect("two runs");
        let trace = whole(stack, run.trace()).await;
        let shown = render(&trace);
        let by_id: BTreeMap<SpanId, &Span> = trace.iter().map(|it| (it.span_id, it)).collect();
        let root = trace.iter().find(|span| span.name == "workflow.execute").expect("it ended");
        let ahead = if seconds > 0 {
            root.start.duration_since(begun)
        } else {
            SystemTime::now().duration_since(root.end)
        };
        let least = Duration::from_secs(u64::from(seconds.unsigned_abs())) - SKEW;
        assert!(ahead.is_ok_and(|ahead| ahead > least), "the root says the database's time");
        for span in &trace {
            assert!(span.end >= span.start, "{span:#?}");
            let Some(parent) = span.parent.and_then(|parent| by_id.get(&parent)) else { continue };
            assert!(
                span.start + SKEW >= parent.start,
                "{} before {}\n{shown}",
                span.name,
                parent.name
            );
            let is_within = parent.kind == Kind::Internal && span.kind != Kind::Producer;
            let is_late = is_within && span.start > parent.end + SKEW;
            assert!(!is_late, "{} after {}\n{shown}", span.name, parent.name);
        }
        let waits = trace.iter().filter_map(|it| it.attributes.get("node.queue_wait_ms"));
        let few = |wait: &Value| wait.as_i64().is_some_and(|wait| wait < 4_000);
        assert!(
            waits.clone().count() > 0 && waits.clone().all(few),
            "{:?}",
            waits.collect::<Vec<_>>()
        );
    })
    .await;
}

/// What backends make a map of: who calls whom. The API publishes for workers, and no worker calls the API.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wakeup_that_the_api_repeats_is_no_call_by_a_worker() {
    with_stack(Setup::distributed("service_map"), async |stack| {
        let nodes = json!([
            { "id": "wait", "type": "delay", "params": { "for": "5s" } },
            { "id": "after", "type": "transform", "params": { "value": 1 } },
        ]);
        let edges = json!([{ "from": "wait", "to": "after" }]);
        let document = json!({ "name": "patient", "nodes": nodes, "edges": edges });
        stack.client.publish(&document).await;
        let run = stack.client.start("patient", &json!({})).await;
        let is_waiting = |run: &Run| run.node("wait")["status"] == "waiting";
        stack.client.becomes(run.id(), "waiting", is_waiting).await;
        for worker in &mut stack.workers {
            worker.stop().await;
        }
        // There is nobody else to do so.
        let is_repeated = |span: &Span| {
            let is_it = span.kind == Kind::Producer && span.trace_id == run.trace();
            is_it && span.service() == "skein-api" && !span.links.is_empty()
        };
        let repeated = |spans: &[Span]| spans.iter().find(|it| is_repeated(it)).cloned();
        let spans = stack.collector.wait_for(|spans| repeated(spans).is_some(), PATIENCE).await;
        let repeated = repeated(&spans.unwrap_or_else(|error| panic!("{error:#}"))).expect("above");
        for worker in 0..stack.workers.len() {
            stack.restart_worker(worker).await;
        }
        let run = stack.client.ended(run.id()).await;
        assert_eq!(run.status(), "succeeded", "{:#}", run.0);
        let trace = whole(stack, run.trace()).await;
        let shown = render(&trace);
        let by_id: BTreeMap<SpanId, &Span> = trace.iter().map(|it| (it.span_id, it)).collect();
        let root = trace.iter().find(|span| span.name == "workflow.execute").expect("it ended");
        let linked: Vec<_> = repeated.links.iter().map(|link| link.span).collect();
        assert_eq!((linked, repeated.parent), (vec![root.span_id], root.parent), "{shown}");
        let is_below = |span: &&Span| span.parent == Some(repeated.span_id);
        let delivered: Vec<_> = trace.iter().filter(is_below).collect();
        assert!(delivered.iter().any(|it| it.kind == Kind::Consumer), "{shown}");
        let calls: BTreeSet<_> = trace
            .iter()
            .filter_map(|span| Some((by_id.get(&span.parent?)?.service(), span.service())))
            .filter(|(caller, called)| caller != called)
            .collect();
        assert_eq!(calls, BTreeSet::from([("skein-api", "skein-worker")]), "{shown}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_cancels_has_not_failed() {
    with_stack(Setup::distributed("cancelled_spans"), async |stack| {
        let url = stack.outside.url("/gate/never");
        let ask = json!({ "id": "ask", "type": "http", "params": { "method": "POST", "url": url, "body": {} } });
        stack.client.publish(&json!({ "name": "held", "nodes": [ask] })).await;
        let run = stack.client.start("held", &json!({})).await;
        stack.outside.wait_for("/gate/", 1).await;
        let path = format!("/v1/runs/{}/cancel", run.id());
        stack.client.post(&path, &json!({})).await.expect("the API answers");
        let run = stack.client.ended(run.id()).await;
        assert_eq!(run.status(), "cancelled", "{:#}", run.0);
        let is_asked = |span: &&Span| span.name == "POST" && span.kind == Kind::Client;
        let trace = whole_with(stack, run.trace(), |it| it.iter().any(|span| is_asked(&span))).await;
        for span in &trace {
            assert_eq!(span.status, Status::Unset, "{span:#?}");
            assert_eq!(span.attributes.get("error.type"), None, "{span:#?}");
        }
        let asked = trace.iter().find(is_asked).expect("it is there");
        let events: Vec<_> = asked.events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(events, ["cancelled"], "{asked:#?}");
        let node = trace.iter().find(|span| span.name == "node.execute.http").expect("it ran");
        assert_eq!(node.attributes["node.status"], "cancelled");
    })
    .await;
}

/// A delay and a back-off are told of where they begin, and the failure is an exception once, in words that group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_have_their_length_and_a_failure_is_one_exception() {
    with_stack(Setup::embedded("waits_and_failures"), async |stack| {
        let fail = stack.outside.url("/status/500");
        let document = json!({
            "name": "eventful",
            "nodes": [
                { "id": "wait", "type": "delay", "params": { "for": "700ms" } },
                { "id": "fail", "type": "http", "retry": { "max_attempts": 2, "backoff": "50ms" },
                  "params": { "method": "POST", "url": format!("{fail}?n=1&token=t"), "body": {} } },
            ],
            "edges": [{ "from": "wait", "to": "fail" }],
        });
        stack.client.publish(&document).await;
        let run = stack.client.run("eventful", &json!({})).await;
        assert_eq!(run.status(), "failed", "{:#}", run.0);
        let trace = whole(stack, run.trace()).await;
        let shown = render(&trace);
        let of_node = |id: &str| -> Vec<&Span> {
            let mut spans: Vec<_> =
                nodes(&trace).filter(|span| span.attributes["node.id"] == id).collect();
            spans.sort_by_key(|span| span.start);
            spans
        };
        let told = |span: &Span, key: &str| span.attributes.get(key).cloned().unwrap_or_default();
        let facts = |span: &&Span| {
            ["node.attempts", "node.wait.type", "node.wait_ms", "node.resumed"]
                .map(|key| told(span, key))
        };
        let waits: Vec<_> = of_node("wait").iter().map(facts).collect();
        let expected = [
            [json!(1), json!("time"), json!(700), Value::Null],
            [json!(1), Value::Null, Value::Null, json!(true)],
        ];
        assert_eq!(waits, expected, "{shown}");
        let fails = of_node("fail");
        assert_eq!(told(fails[0], "node.wait.type"), "backoff", "{shown}");
        assert!(told(fails[0], "node.wait_ms").as_i64().is_some_and(|ms| (0..=50).contains(&ms)));
        assert_eq!((fails.len(), told(fails[1], "node.wait.type")), (2, Value::Null), "{shown}");
        let exceptions: Vec<_> = trace
            .iter()
            .flat_map(|span| span.events.iter().map(move |event| (span, event)))
            .filter(|(_, event)| event.name == "exception")
            .collect();
        let [(span, event)] = exceptions[..] else { panic!("{exceptions:#?}") };
        assert_eq!(span.span_id, fails[1].span_id, "{shown}");
        let said = "POST 127.0.0.1 answered 500 Internal Server Error";
        assert_eq!(event.attributes["exception.message"], said);
        assert_eq!(event.attributes["exception.type"], "http_status");
        let mut requests: Vec<_> = trace.iter().filter(|span| span.name == "POST").collect();
        requests.sort_by_key(|span| span.start);
        let resent: Vec<_> =
            requests.iter().map(|span| told(span, "http.request.resend_count")).collect();
        assert_eq!(resent, [Value::Null, json!(1)], "{shown}");
        for request in requests {
            let full = told(request, "url.full");
            let full = full.as_str().expect("it is there");
            assert!(full.ends_with("/status/500?n=1&token=REDACTED"), "{full}");
        }
    })
    .await;
}

fn nodes(trace: &[Span]) -> impl Iterator<Item = &Span> {
    trace.iter().filter(|span| span.name.starts_with("node.execute."))
}

/// The spans of a trace, once its run's is there and nothing lacks its parent.
async fn whole(stack: &Stack, trace: TraceId) -> Vec<Span> {
    whole_with(stack, trace, |_| true).await
}

async fn whole_with(stack: &Stack, trace: TraceId, has: impl Fn(&[Span]) -> bool) -> Vec<Span> {
    let of_trace = |spans: &[Span]| -> Vec<Span> {
        spans.iter().filter(|span| span.trace_id == trace).cloned().collect()
    };
    let is_whole = |spans: &[Span]| {
        let spans = of_trace(spans);
        let has_ended = spans.iter().any(|span| span.name == "workflow.execute");
        has_ended && has(&spans) && orphans(&spans, None).is_empty()
    };
    let spans = stack.collector.wait_for(is_whole, PATIENCE).await;
    of_trace(&spans.unwrap_or_else(|error| panic!("{error:#}")))
}
