//! Pages of spans, put together into requests of a size that collectors like.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// Spans of a request: what the SDKs send at most unless told otherwise.
const SPANS_MAX: usize = 512;
/// Bytes of a request: a fifth of what a collector takes at most unless told otherwise (20 MiB).
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// What stands around the entries of a request.
const AROUND: [&str; 2] = [r#"{"resourceSpans":["#, "]}"];

/// A request: an `ExportTraceServiceRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its body.
    pub body: String,
    /// Spans in it.
    pub spans: usize,
}

/// Puts requests together.
#[derive(Debug, Default)]
pub struct Batcher {
    entries: Vec<String>,
    bytes: usize,
    spans: usize,
}

impl Batcher {
    /// Adds entries of `resourceSpans`. A request that is full by then is returned; entries are not taken apart, so one
    /// may be somewhat larger than the limit.
    pub fn add(&mut self, resource_spans: &[Value]) -> Option<Batch> {
        let entries: Vec<_> = resource_spans.iter().map(Value::to_string).collect();
        let bytes: usize = entries.iter().map(String::len).sum();
        let spans = spans_of(resource_spans).count();
        let is_full = self.spans + spans > SPANS_MAX || self.bytes + bytes > BYTES_MAX;
        let full = if is_full { self.take() } else { None };
        self.entries.extend(entries);
        self.bytes += bytes;
        self.spans += spans;
        full
    }

    /// What is left, if anything is.
    pub fn take(&mut self) -> Option<Batch> {
        let Self { entries, spans, .. } = std::mem::take(self);
        let [begin, end] = AROUND;
        (spans > 0).then(|| Batch { body: format!("{begin}{}{end}", entries.join(",")), spans })
    }
}

/// The spans in entries of `resourceSpans`.
pub fn spans_of(resource_spans: &[Value]) -> impl Iterator<Item = &Value> {
    resource_spans.iter().flat_map(|entry| {
        let scopes = entry["scopeSpans"].as_array().into_iter().flatten();
        scopes.flat_map(|scope| scope["spans"].as_array().into_iter().flatten())
    })
}

/// When a span began, if it says so.
#[must_use]
pub fn begun_at(span: &Value) -> Option<DateTime<Utc>> {
    let nanos: i64 = span["startTimeUnixNano"].as_str()?.parse().ok()?;
    Some(DateTime::from_timestamp_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(spans: usize, text: &str) -> Value {
        let span = json!({ "name": text, "startTimeUnixNano": "1700000000000000000" });
        json!({ "resource": {}, "scopeSpans": [{ "spans": vec![span; spans] }] })
    }

    #[test]
    fn small_pages_go_together() {
        let mut batcher = Batcher::default();
        assert_eq!(batcher.add(&[entry(3, "a"), entry(1, "b")]), None);
        assert_eq!(batcher.add(&[]), None);
        assert_eq!(batcher.add(&[entry(2, "c")]), None);
        let batch = batcher.take().unwrap();
        assert_eq!(batch.spans, 6);
        let body: Value = serde_json::from_str(&batch.body).unwrap();
        assert_eq!(body, json!({ "resourceSpans": [entry(3, "a"), entry(1, "b"), entry(2, "c")] }));
        assert_eq!(batcher.take(), None, "nothing is sent twice");
    }

    #[test]
    fn what_does_not_fit_any_more_is_the_next_request() {
        let mut batcher = Batcher::default();
        assert_eq!(batcher.add(&[entry(SPANS_MAX, "a")]), None);
        let full = batcher.add(&[entry(1, "b")]).unwrap();
        assert_eq!(full.spans, SPANS_MAX);
        let large = "x".repeat(BYTES_MAX);
        let full = batcher.add(&[entry(1, &large)]).unwrap();
        assert_eq!(full.spans, 1);
        assert!(batcher.take().unwrap().body.len() > BYTES_MAX);
    }

    #[test]
    fn a_span_says_when_it_began() {
        let entries = [entry(2, "a")];
        let times: Vec<_> = spans_of(&entries).filter_map(begun_at).collect();
        assert_eq!(times.iter().map(DateTime::timestamp).collect::<Vec<_>>(), [1_700_000_000; 2]);
        assert_eq!(begun_at(&json!({})), None);
    }
}
