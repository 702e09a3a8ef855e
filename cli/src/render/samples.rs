//! A run for the tests of pictures: `fetch` succeeded, `flaky` failed at its second attempt.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::client::Run;

/// A time, so many milliseconds after the run was accepted.
pub(crate) fn at(millis: i64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2030-01-31T12:00:00Z".parse().unwrap();
    start + TimeDelta::milliseconds(millis)
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
