//! A run's log beside its spans: the rows of `event_logs` as log records at the collector.

use std::collections::BTreeMap;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use skein_tests::otlp::Log;
use skein_tests::stack::{IDENTITY, PATIENCE, Run, Setup, Stack, with_stack};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_a_runs_log_is_one_record_at_the_collector() {
    for setup in [Setup::distributed("rows_are_records"), Setup::embedded("rows_are_records")] {
        with_stack(setup, async |stack| {
            for run in runs(stack).await {
                assert_rows_are_records(stack, &run).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_stay_in_the_store_where_their_export_is_switched_off() {
    for setup in [Setup::distributed("rows_stay"), Setup::embedded("rows_stay")] {
        let setup = setup.env("SKEIN_EXPORT_EVENT_LOGS", "false").env("RUST_LOG", "info");
        with_stack(setup, async |stack| {
            let runs = runs(stack).await;
            for run in &runs {
                assert!(stack.client.logs(run.id()).await.len() > 3);
            }
            // What programs say themselves is exported, the latest at their end.
            stack.stop().await;
            let logs = stack.collector.logs();
            let of_runs = |log: &&Log| log.trace_id == Some(runs[0].trace());
            let is_told = |log: &Log| is_of(log, &runs[0]) && log.target == "skein_shared::runs";
            assert!(logs.iter().filter(of_runs).any(is_told), "{logs:#?}");
            assert!(!logs.iter().any(is_row), "{logs:#?}");
        })
        .await;
    }
}

/// Runs that end well, fail after another attempt, and are cancelled while they wait.
async fn runs(stack: &Stack) -> Vec<Run> {
    let eventful = json!({
        "name": "eventful",
        "nodes": [
            { "id": "say", "type": "log",
              "params": { "level": "warn", "message": "grüße 😀", "data": { "n": "{{ input.n }}" } } },
            { "id": "ask", "type": "http", "retry": { "max_attempts": 3, "backoff": "50ms" },
              "params": { "method": "POST", "url": stack.outside.url("/flaky/1/{{ input.n }}"), "body": {} } },
            { "id": "skip", "type": "log", "params": { "message": "never" } },
            { "id": "fail", "type": "http", "params": { "url": "{{ input.url }}" } },
        ],
        "edges": [{ "from": "say", "to": "ask" }, { "from": "ask", "to": "fail" },
                  { "from": "ask", "to": "skip", "when": "{{ false }}" }],
    });
    let waiting = json!({ "name": "waiting", "nodes": [{ "id": "wait", "type": "delay", "params": { "for": "1h" } }] });
    stack.client.publish(&eventful).await;
    stack.client.publish(&waiting).await;
    let well = json!({ "n": 3, "url": stack.outside.url("/echo/x") });
    let badly = json!({ "n": 4, "url": stack.outside.url("/status/500") });
    let cancelled = stack.client.start("waiting", &json!({})).await;
    let waits = |run: &Run| run.node_states() == [("wait", "waiting")];
    stack.client.becomes(cancelled.id(), "waits", waits).await;
    let path = format!("/v1/runs/{}/cancel", cancelled.id());
    stack.client.post(&path, &json!({})).await.expect("the API answers");
    vec![
        stack.client.run("eventful", &well).await,
        stack.client.run("eventful", &badly).await,
        stack.client.ended(cancelled.id()).await,
    ]
}

fn is_row(log: &Log) -> bool {
    log.attributes.contains_key("log.record.uid")
}

fn is_of(log: &Log, run: &Run) -> bool {
    log.attributes.get("workflow.execution_id").is_some_and(|id| id == run.id())
}

async fn assert_rows_are_records(stack: &Stack, run: &Run) {
    let rows = stack.client.logs(run.id()).await;
    let of_run = |logs: &[Log]| -> Vec<Log> {
        logs.iter().filter(|log| is_row(log) && is_of(log, run)).cloned().collect()
    };
    let logs = stack.collector.wait_for_logs(|logs| of_run(logs).len() >= rows.len(), PATIENCE);
    let records = of_run(&logs.await.unwrap_or_else(|error| panic!("{error:#}")));
    assert_eq!(records.len(), rows.len(), "{records:#?}");
    let id = |record: &Log| record.attributes["log.record.uid"].as_str().map(str::to_owned);
    let by_id: BTreeMap<_, _> = records.iter().map(|record| (id(record), record)).collect();
    for row in &rows {
        let id = row["id"].to_string().trim_matches('"').to_owned();
        let record = by_id.get(&Some(id));
        let record = record.unwrap_or_else(|| panic!("{row} is not in {by_id:#?}"));
        assert_eq!(of_record(record), of_row(row, run), "{record:#?}");
    }
    // Nobody says the same again in words of his own.
    let logs = stack.collector.logs();
    let is_told_twice = |log: &Log| is_of(log, run) && log.target == "skein_shared::runs";
    assert!(!logs.iter().any(is_told_twice), "{logs:#?}");
}

fn of_record(record: &Log) -> Value {
    let of = |key: &str| record.attributes.get(key).cloned().unwrap_or_default();
    let data = of("event.data").as_str().map(serde_json::from_str::<Value>);
    assert_eq!(record.target, "event_logs");
    assert_eq!(of("event.name"), record.event.as_str());
    json!({
        "ts": micros(record.time),
        "level": record.severity.to_lowercase(),
        "event": record.event,
        "message": record.body,
        "run": of("workflow.execution_id"),
        "workflow": of("workflow.id"),
        "node": of("node.id"),
        "data": data.transpose().expect("it is JSON").unwrap_or_default(),
        "trace": record.trace_id.map(|id| id.to_string()),
        "span": record.span_id.map(|id| id.to_string()),
        "identity": [of("organization.id"), of("workspace.id"), of("user.id")],
    })
}

fn of_row(row: &Value, run: &Run) -> Value {
    let ts: DateTime<Utc> = row["ts"].as_str().expect("a time").parse().expect("a time");
    json!({
        "ts": micros(ts.into()),
        "level": row["level"],
        "event": row["event"],
        "message": row["message"],
        "run": run.id(),
        "workflow": run.0["workflow"],
        "node": row["node"],
        "data": row["data"],
        "trace": row["trace_id"],
        "span": row["span_id"],
        "identity": IDENTITY,
    })
}

fn micros(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_micros()
}
