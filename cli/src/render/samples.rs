//! Runs for the tests of pictures. In the first one `fetch` succeeded and `flaky` failed at its second attempt.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::plan::Plan;
use crate::client::{Run, Step, Usage};

/// A time, so many milliseconds after the run was accepted.
pub(crate) fn at(millis: i64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2030-01-31T12:00:00Z".parse().unwrap();
    start + TimeDelta::milliseconds(millis)
}

/// What [`run`] was planned to do; it never came to `titles`.
pub(crate) fn plan() -> Plan {
    let node = |id: &str, kind: &str| json!({"id": id, "type": kind});
    Plan::of(&json!({
        "nodes": [node("fetch", "http"), node("titles", "transform"), node("flaky", "http")],
        "edges": [{"from": "fetch", "to": "titles"}, {"from": "fetch", "to": "flaky"}],
    }))
}

pub(crate) fn run() -> Run {
    let error = json!({"code": "connect", "message": "connection refused"});
    serde_json::from_value(json!({
        "id": "019c0000-0000-7000-8000-000000000001", "workflow": "digest", "version": 3,
        "status": "failed", "cancelling": false, "output": null,
        "error": {"code": "connect", "message": "connection refused", "node": "flaky"},
        "trace_id": "aa".repeat(16), "root_span_id": "b0".repeat(8), "publish_span_id": "c0".repeat(8),
        "earlier_traces": [], "resumed_at": null,
        "created_at": at(0), "started_at": at(5), "finished_at": at(1500),
        "nodes": [
            {"node": "fetch", "scope": "", "type": "http", "status": "succeeded", "attempts": 1,
             "error": null, "trace_id": "aa".repeat(16), "span_id": "d0".repeat(8), "queued_at": at(0), "started_at": at(5),
             "finished_at": at(45), "earlier_attempts": []},
            {"node": "flaky", "scope": "", "type": "http", "status": "failed", "attempts": 2,
             "error": error, "trace_id": "aa".repeat(16), "span_id": "e2".repeat(8), "queued_at": at(45),
             "started_at": at(1000), "finished_at": at(1500),
             "earlier_attempts": [
                {"attempt": 1, "outcome": "retry", "error": error, "trace_id": "aa".repeat(16),
                 "span_id": "e1".repeat(8), "started_at": at(60), "finished_at": at(400)}]}
        ]
    }))
    .unwrap()
}

/// A run whose node `research` has asked a model twice, and waits for a decision about its second tool.
pub(crate) fn waiting_run() -> Run {
    let mut waiting = run();
    (waiting.workflow, waiting.version) = ("research".to_owned(), 1);
    (waiting.status, waiting.error) = ("suspended".to_owned(), None);
    (waiting.finished_at, waiting.cost_usd) = (None, Some(0.0013));
    (waiting.calls, waiting.steps) = (Some(2), Some(3));
    waiting.usage = Usage { input_tokens: 9120, output_tokens: 40, total_tokens: 9160 };
    let node = json!({
        "node": "research", "scope": "", "type": "agent", "status": "waiting", "attempts": 1, "error": null,
        "trace_id": "aa".repeat(16), "span_id": "d0".repeat(8), "queued_at": at(0), "started_at": at(10),
        "finished_at": null, "wake_at": at(3_600_000),
        "waiting_for": {
            "type": "decision", "step": 4, "tool": "write_down",
            "arguments": {"text": "it's \u{1b}[31mred"}, "expires_at": at(3_600_000)
        },
        "earlier_attempts": [{
            "attempt": 1, "outcome": "waiting", "error": null, "trace_id": "aa".repeat(16),
            "span_id": "d0".repeat(8), "started_at": at(10), "finished_at": at(1000)
        }]
    });
    waiting.nodes = vec![serde_json::from_value(node).unwrap()];
    waiting
}

/// A step of `research` that began and ended then.
pub(crate) fn step(
    index: u32,
    (kind, name): (&str, &str),
    status: &str,
    from: i64,
    to: i64,
) -> Step {
    let is_model = kind == "model";
    let usage = json!({"input_tokens": 9000, "output_tokens": 22, "cached_tokens": 0, "total_tokens": 9022});
    serde_json::from_value(json!({
        "node": "research", "scope": "", "index": index, "attempt": 1, "kind": kind, "name": name,
        "status": status, "arguments": null, "observation": null, "thought": null, "error": null,
        "usage": is_model.then_some(usage), "cost_usd": is_model.then_some(0.00125),
        "latency_ms": to - from, "trace_id": "aa".repeat(16), "span_id": format!("{index:x}").repeat(16),
        "started_at": at(from), "expires_at": null,
    }))
    .unwrap()
}

/// The steps of [`waiting_run`].
pub(crate) fn steps() -> Vec<Step> {
    let asks = Step { latency_ms: None, ..step(4, ("tool", "write_down"), "pending", 990, 990) };
    vec![
        step(1, ("model", "gpt-4o-mini"), "succeeded", 15, 415),
        step(2, ("tool", "describe"), "failed", 420, 520),
        step(3, ("model", "gpt-4o-mini"), "succeeded", 525, 985),
        asks,
    ]
}
