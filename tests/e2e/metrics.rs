//! The metrics of real processes as a collector gets them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use skein_tests::otlp::Point;
use skein_tests::signoz::metrics::{Described, described};
use skein_tests::stack::{Form, IDENTITY, PATIENCE, Run, Setup, Stack, eventually, load, poll};

use crate::played::{SECRET, with_models};

const SCRIPT: &str = "\
replies:
  - when: { contains: refuse }
    reply: { status: 400, error: no such thing }
  - when: { contains: count }
    reply: { text: one, usage: { input_tokens: 20, output_tokens: 5 } }
  - when: { contains: look, turn: 0 }
    reply: { text: let me look, tool_calls: [{ name: look, arguments: { q: a } }], usage: { input_tokens: 40, output_tokens: 6 } }
  - when: { tool_result: look }
    reply: { text: seen, usage: { input_tokens: 60, output_tokens: 7 } }
";

/// Labels that are there only where something goes wrong, of metrics of which nothing does in this load.
const ERROR: &str = "error.type";
/// A run that there is not, and how the question about it is counted.
const NO_RUN: &str = "/v1/runs/019a0000-0000-7000-8000-000000000000";
const NOT_FOUND: [(&str, &str); 2] =
    [("http.route", "/v1/runs/{id}"), ("http.response.status_code", "404")];

fn ask(name: &str, model: &str, prompt: &str) -> Value {
    let params =
        json!({ "provider": "openai", "model": model, "prompt": prompt, "max_tokens": 100 });
    json!({ "name": name, "nodes": [{ "id": "ask", "type": "llm", "params": params }] })
}

/// The first of two calls takes all that there is.
fn spend() -> Value {
    let (mut spend, second) =
        (ask("spending-flow", "gpt-4o-mini", "count"), ask("", "gpt-4o-mini", "count"));
    spend["budget"] = json!({ "max_steps": 1, "on_exhausted": "fail" });
    let mut second = second["nodes"][0].clone();
    second["id"] = "again".into();
    spend["nodes"].as_array_mut().expect("a list").push(second);
    spend["edges"] = json!([{ "from": "ask", "to": "again" }]);
    spend
}

/// Workflows that use everything which is counted, and how their runs end.
fn documents(stack: &Stack) -> Vec<(Value, &'static str)> {
    let look = json!({
        "name": "look", "description": "looks", "method": "POST", "url": stack.outside.url("/look"),
        "body": { "q": "{{ args.q }}" }, "parameters": { "type": "object", "properties": { "q": { "type": "string" } } },
    });
    let agent = json!({ "provider": "openai", "model": "gpt-4o-mini", "goal": "look", "tools": [{ "http": look }] });
    let request = json!({ "method": "GET", "url": stack.outside.url("/flaky/1/metrics") });
    vec![
        (ask("counting-flow", "gpt-4o-mini", "count"), "succeeded"),
        (ask("unpriced-flow", "nobody-knows-this", "count"), "succeeded"),
        (ask("refused-flow", "gpt-4o-mini", "refuse"), "failed"),
        (
            json!({ "name": "acting-flow", "nodes": [{ "id": "act", "type": "agent", "params": agent }] }),
            "succeeded",
        ),
        (spend(), "failed"),
        (
            json!({ "name": "retrying-flow", "nodes": [{
                "id": "fetch", "type": "http", "params": request, "retry": { "max_attempts": 3, "backoff": "100ms" },
            }] }),
            "succeeded",
        ),
    ]
}

/// The latest value of each series.
fn latest(points: &[Point]) -> BTreeMap<(String, String, String), &Point> {
    let series = |point: &Point| {
        (
            point.name.clone(),
            json!(point.attributes).to_string(),
            point.resource["service.name"].to_string(),
        )
    };
    points.iter().map(|point| (series(point), point)).collect()
}

/// The sum over the latest values of the series that have these labels among theirs, of all processes.
fn total(points: &[Point], name: &str, labels: &[(&str, &str)]) -> f64 {
    let latest = latest(points);
    let is_meant = |point: &&&Point| {
        let has = |(key, value): &(&str, &str)| {
            let found = point.attributes.get(*key);
            let shown =
                |found: &Value| found.as_str().map_or_else(|| found.to_string(), str::to_owned);
            found.map(shown).is_some_and(|found| found == *value)
        };
        point.name == name && labels.iter().all(has)
    };
    let found = latest.values().filter(is_meant);
    found.map(|point| if point.count > 0 { point.count as f64 } else { point.value }).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_leaves_with_its_unit_and_none_but_its_labels() {
    measured(Setup::distributed("metrics").workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_leaves_an_embedded_process_too() {
    measured(Setup::embedded("metrics")).await;
}

async fn measured(setup: Setup) {
    let setup = setup.env("OTEL_METRIC_EXPORT_INTERVAL", "300").env("SKEIN_CONCURRENCY", "16");
    with_models(SCRIPT, setup, async |stack, _| {
        let mut runs = Vec::new();
        for (document, status) in documents(stack) {
            stack.client.publish(&document).await;
            let name = document["name"].as_str().expect("it has a name");
            let run = stack.client.run(name, &json!({})).await;
            assert_eq!(run.status(), status, "{:#}", run.0);
            runs.push(run);
        }
        load::publish(stack).await;
        let many = load::start(&stack.client, 5).await;
        runs.extend(load::finish(&stack.client, &many, PATIENCE).await);
        let missing = stack.client.get(NO_RUN).await.expect("the API answers");
        assert_eq!(missing.status, 404);
        let described = expected(stack.form);
        let points = complete(stack, &described, runs.len()).await;
        assert_described(&points, &described);
        assert_anonymous(&points, &runs);
        assert_values(stack, &points, &runs);
    })
    .await;
}

/// What only connections over a network count: the driver of a file says nothing of it.
const OF_NETWORKS: [&str; 2] =
    ["db.client.connection.pending_requests", "db.client.connection.timeouts"];

/// What a process of this form exports.
fn expected(form: Form) -> BTreeMap<String, Described> {
    let is_expected =
        |it: &Described| form == Form::Distributed || !OF_NETWORKS.contains(&it.name.as_str());
    let all = described().into_iter().filter(is_expected);
    all.map(|it| (it.name.clone(), it)).collect()
}

/// The points so far, once each metric is among them and all runs are.
async fn complete(
    stack: &Stack,
    described: &BTreeMap<String, Described>,
    runs: usize,
) -> Vec<Point> {
    let mut left = String::new();
    let found = poll(PATIENCE, async || {
        let points = stack.collector.points();
        let names: BTreeSet<&str> = points.iter().map(|point| point.name.as_str()).collect();
        let missing: Vec<_> =
            described.keys().filter(|name| !names.contains(name.as_str())).collect();
        // API and worker export apart.
        let ended = total(&points, "workflow.run.duration", &[]);
        let asked = total(&points, "http.server.request.duration", &NOT_FOUND);
        left = format!("{missing:?} are missing, and {ended} of {runs} runs have ended");
        (missing.is_empty() && ended >= runs as f64 && asked >= 1.0).then_some(points)
    });
    found.await.unwrap_or_else(|| panic!("{left}"))
}

/// Each point is what its metric is described as, and each label that is described is seen.
fn assert_described(points: &[Point], all: &BTreeMap<String, Described>) {
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for point in points {
        let it = all.get(&point.name).unwrap_or_else(|| panic!("{} is in no semconv", point.name));
        assert_eq!((point.instrument, &point.unit), (&*it.instrument, &it.unit), "{}", it.name);
        assert!(point.description.ends_with('.'), "{} is not described: {point:?}", it.name);
        let labels: BTreeSet<&str> = point.attributes.keys().map(String::as_str).collect();
        for label in &labels {
            assert!(it.labels.contains(*label), "{} has no label {label}: {point:?}", it.name);
        }
        seen.entry(&point.name).or_default().extend(labels);
        let conventional =
            ["http.", "messaging.", "db."].iter().any(|it| point.name.starts_with(it));
        if conventional && point.instrument == "Histogram" {
            let (first, last) = (point.bounds.first(), point.bounds.last());
            let lowest = if point.name.starts_with("db.") { 0.001 } else { 0.005 };
            assert_eq!((first, last), (Some(&lowest), Some(&10.0)), "{}", point.name);
        }
    }
    for it in all.values() {
        let labels = &seen[it.name.as_str()];
        let unseen = |label: &&String| *label != ERROR && !labels.contains(label.as_str());
        let unseen: Vec<_> = it.labels.iter().filter(unseen).collect();
        assert!(unseen.is_empty(), "{} never has {unseen:?}", it.name);
    }
}

/// No label says whose work it is, which run it is or which workflow.
fn assert_anonymous(points: &[Point], runs: &[Run]) {
    let workflows = runs.iter().filter_map(|run| run.0["workflow"].as_str());
    let ids = runs.iter().map(Run::id);
    let told: BTreeSet<&str> = IDENTITY.into_iter().chain(workflows).chain(ids).collect();
    for point in points {
        for (key, value) in &point.attributes {
            let text = value.as_str().unwrap_or_default();
            assert!(!told.contains(text) && text != SECRET, "{} has {key} = {text}", point.name);
        }
    }
}

fn assert_values(stack: &Stack, points: &[Point], runs: &[Run]) {
    let counted = |name: &str, labels: &[(&str, &str)]| total(points, name, labels);
    assert_eq!(counted("workflow.runs.accepted", &[]), runs.len() as f64);
    assert_eq!(counted("workflow.run.duration", &[("workflow.status", "failed")]), 2.0);
    assert_eq!(counted("node.retries", &[("node.type", "http")]), 1.0);
    assert_eq!(counted("node.retries", &[("node.type", "llm")]), 0.0, "but it is there");
    // Two turns of the agent, two calls that were answered, and one that was refused; and one without a price.
    let priced = [("gen_ai.request.model", "gpt-4o-mini"), ("gen_ai.provider.name", "openai")];
    let other = [("gen_ai.request.model", "other")];
    assert_eq!(counted("gen_ai.client.operation.duration", &priced), 5.0);
    assert_eq!(counted("gen_ai.client.operation.duration", &other), 1.0);
    assert_eq!(counted("gen_ai.client.operation.duration", &[(ERROR, "provider_refused")]), 1.0);
    assert_eq!(counted("llm.calls.unpriced", &other), 1.0);
    let cost = counted("llm.cost", &priced);
    assert!(cost > 0.0 && cost < 0.01, "{cost}");
    let tokens = latest(points);
    let input = tokens.values().filter(|point| {
        point.name == "gen_ai.client.token.usage"
            && point.attributes["gen_ai.token.type"] == "input"
    });
    assert_eq!(input.map(|point| point.value).sum::<f64>(), 3.0 * 20.0 + 40.0 + 60.0);
    for name in ["budget.warnings", "budget.exhausted"] {
        assert_eq!(counted(name, &[("budget.scope", "run")]), 1.0, "{name}");
        assert_eq!(counted(name, &[("budget.scope", "organization")]), 0.0, "{name}");
    }
    let tools = [("agent.tool.kind", "function"), ("step.status", "succeeded")];
    assert_eq!(counted("agent.tool.calls", &tools), 1.0);
    // Providers are named, and the hosts of workflows are not.
    let requests = |host| counted("http.client.request.duration", &[("server.address", host)]);
    assert_eq!(requests("127.0.0.1"), 6.0);
    assert!(requests("other") >= 3.0 + 5.0 * 5.0);
    assert_eq!(counted("http.server.request.duration", &NOT_FOUND), 1.0);
    assert_eq!(counted("worker.slots", &[]), 16.0);
    assert!(counted("worker.claims", &[("worker.claim.result", "claimed")]) >= runs.len() as f64);
    assert_eq!(counted("telemetry.items.dropped", &[]), 0.0);
    let exported = [("telemetry.signal", "metrics"), ("telemetry.export.result", "ok")];
    assert!(counted("telemetry.exports", &exported) >= 1.0);
    let sent = counted("messaging.client.sent.messages", &[]);
    let consumed = counted("messaging.client.consumed.messages", &[]);
    assert!(sent >= runs.len() as f64 && consumed >= runs.len() as f64, "{sent} {consumed}");
    let services: BTreeSet<&str> =
        points.iter().filter_map(|it| it.resource["service.name"].as_str()).collect();
    match stack.form {
        Form::Distributed => assert_eq!(services, BTreeSet::from(["skein-api", "skein-worker"])),
        Form::Embedded => assert_eq!(services, BTreeSet::from(["skein"])),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_open_until_somebody_leaves_it() {
    let setup = Setup::embedded("open_stream").env("OTEL_METRIC_EXPORT_INTERVAL", "200");
    with_models(SCRIPT, setup, async |stack, _| {
        let nodes = json!([{ "id": "hold", "type": "http", "params": { "method": "GET", "url": stack.outside.url("/gate/shut") } }]);
        stack.client.publish(&json!({ "name": "held", "nodes": nodes })).await;
        let run = stack.client.start("held", &json!({})).await;
        let path = format!("/v1/runs/{}/events", run.id());
        let request = stack.client.request(reqwest::Method::GET, &path);
        let stream = request.send().await.expect("the API answers");
        assert!(stream.status().is_success());
        let active = || total(&stack.collector.points(), "http.server.active_requests", &[]);
        let streams = || {
            let labels = [("http.route", "/v1/runs/{id}/events")];
            total(&stack.collector.points(), "http.server.request.duration", &labels)
        };
        eventually("the stream is counted", async || (active() >= 1.0).then_some(())).await;
        assert_eq!(streams(), 0.0, "it has not ended");
        drop(stream);
        eventually("its end is counted", async || {
            (streams() >= 1.0 && active() < 1.0).then_some(())
        })
        .await;
        stack.outside.open("shut");
        stack.client.ended(run.id()).await;
    })
    .await;
}
