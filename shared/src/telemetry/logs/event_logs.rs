//! The log of runs beside their spans: each row of `event_logs` that this process has written, as a log record.

use std::time::SystemTime;

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::Severity;
use uuid::Uuid;

use crate::domain::event_logs::{EVENTS, EventLogSink, WrittenLog};
use crate::telemetry::otlp::{Item, Producer, TextRecord};
use crate::telemetry::{semconv, span};

/// The instrumentation scope of these records, by which they can be told from what the program says itself.
const SCOPE: &str = "event_logs";

/// Makes log records of rows. There are several to a run, so they do not go through the SDK's logger, and nothing is taken
/// from the context: one statement writes for many, and what is current is whose turn it was to wait for it.
#[derive(Debug)]
pub(in crate::telemetry) struct EventLogRecords {
    to: Producer,
    scope: InstrumentationScope,
}

impl EventLogRecords {
    pub(in crate::telemetry) fn new(to: Producer) -> Self {
        let scope =
            InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
        Self { to, scope }
    }
}

impl EventLogSink for EventLogRecords {
    /// Puts them into the exporter's queue. Those that it has no room for are lost, and counted.
    fn written(&self, rows: Vec<WrittenLog>) {
        let observed = SystemTime::now();
        for row in rows {
            self.to.put(|item| encode(item, &self.scope, &row, observed));
        }
    }
}

fn encode(item: &mut Item, scope: &InstrumentationScope, row: &WrittenLog, observed: SystemTime) {
    let (severity, severity_text) = severity(&row.level);
    let event_name = EVENTS.iter().copied().find(|name| *name == row.event).unwrap_or_default();
    let (id, mut run) = (row.id.to_string(), Uuid::encode_buffer());
    let cut = row.data.as_deref().and_then(span::shortened);
    let there = |key, value| Some((key, value));
    let attributes = [
        there(semconv::LOG_RECORD_UID, &*id),
        there(semconv::EVENT_NAME, &row.event),
        there(semconv::WORKFLOW_EXECUTION_ID, row.run.0.hyphenated().encode_lower(&mut run)),
        there(semconv::ORGANIZATION_ID, &row.identity.organization),
        there(semconv::WORKSPACE_ID, &row.identity.workspace),
        there(semconv::USER_ID, &row.identity.user),
        row.workflow.as_deref().map(|workflow| (semconv::WORKFLOW_ID, workflow)),
        row.node.as_deref().map(|node| (semconv::NODE_ID, node)),
        row.scope.as_deref().filter(|it| !it.is_empty()).map(|it| (semconv::NODE_SCOPE, it)),
        cut.as_deref().or(row.data.as_deref()).map(|data| (semconv::EVENT_DATA, data)),
    ];
    let record = TextRecord {
        at: row.at.into(),
        observed,
        severity,
        severity_text,
        body: &row.message,
        attributes: attributes.into_iter().flatten(),
        trace: row.trace.0,
        span: row.span.0,
        event_name,
    };
    item.set_text_record(record, scope);
}

fn severity(level: &str) -> (Severity, &'static str) {
    match level {
        "debug" => (Severity::Debug, "DEBUG"),
        "warn" => (Severity::Warn, "WARN"),
        "error" => (Severity::Error, "ERROR"),
        _ => (Severity::Info, "INFO"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ScopeLogs};
    use prost::Message as _;

    use super::*;
    use crate::domain::ids::RunId;
    use crate::domain::tenant::Identity;
    use crate::domain::trace::TraceContext;

    fn row() -> WrittenLog {
        let context = TraceContext::from_traceparent(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
        let context = context.expect("a context");
        WrittenLog {
            id: 42,
            at: "2030-01-31T12:00:00.123456Z".parse().expect("a time"),
            identity: Identity::new("acme", "research", "ada"),
            run: RunId::generate(),
            workflow: Some("digest".into()),
            node: Some("fetch".into()),
            scope: Some("3/0".into()),
            level: "warn".into(),
            event: "node.retrying".into(),
            message: "http node fetch failed and is tried again".into(),
            data: Some(r#"{"attempt":1}"#.to_owned()),
            trace: context.trace,
            span: context.span,
        }
    }

    /// What a collector reads of it.
    fn record(row: &WrittenLog) -> LogRecord {
        let mut item = Item::default();
        let scope = InstrumentationScope::builder(SCOPE).build();
        encode(&mut item, &scope, row, UNIX_EPOCH + Duration::from_nanos(7));
        let mut decoded = ScopeLogs::decode(item.bytes()).expect("a record").log_records;
        let record = decoded.pop().expect("a record");
        assert!(decoded.is_empty());
        record
    }

    fn attributes(record: &LogRecord) -> Vec<(&str, &str)> {
        fn pair(pair: &KeyValue) -> Option<(&str, &str)> {
            match pair.value.as_ref()?.value.as_ref()? {
                Value::StringValue(text) => Some((pair.key.as_str(), text.as_str())),
                _ => None,
            }
        }
        let mut pairs: Vec<_> =
            record.attributes.iter().map(|it| pair(it).expect("a text")).collect();
        pairs.sort_unstable();
        pairs
    }

    #[test]
    fn a_row_is_a_record_under_the_keys_of_its_spans() {
        let row = row();
        let record = record(&row);
        assert_eq!(record.time_unix_nano, 1_896_091_200_123_456_000);
        assert_eq!(record.observed_time_unix_nano, 7);
        assert_eq!((record.severity_number, &*record.severity_text), (13, "WARN"));
        assert_eq!((&*record.event_name, record.flags), ("node.retrying", 0));
        let body = record.body.clone().and_then(|body| body.value);
        assert_eq!(body, Some(Value::StringValue(row.message.to_string())));
        assert_eq!(
            (&record.trace_id[..], &record.span_id[..]),
            (&row.trace.0[..], &row.span.0[..])
        );
        let run = row.run.to_string();
        let expected = [
            ("event.data", r#"{"attempt":1}"#),
            ("event.name", "node.retrying"),
            ("log.record.uid", "42"),
            ("node.id", "fetch"),
            ("node.scope", "3/0"),
            ("organization.id", "acme"),
            ("user.id", "ada"),
            ("workflow.execution_id", run.as_str()),
            ("workflow.id", "digest"),
            ("workspace.id", "research"),
        ];
        assert_eq!(attributes(&record), expected);
    }

    #[test]
    fn what_a_row_does_not_have_its_record_has_not_and_long_data_is_cut() {
        let long = format!("\"{}\"", "x".repeat(span::ATTRIBUTE_BYTES_MAX));
        let of_run = WrittenLog { node: None, scope: None, data: None, workflow: None, ..row() };
        let cut = WrittenLog { scope: Some("".into()), data: Some(long), ..row() };
        let (of_run, cut) = (record(&of_run), record(&cut));
        assert_eq!((attributes(&of_run).len(), attributes(&cut).len()), (6, 9));
        let (key, data) = attributes(&cut)[0];
        assert_eq!(key, "event.data");
        assert!(data.ends_with('…') && data.len() < 4_200);
    }

    #[test]
    fn every_level_has_a_severity() {
        let severities = ["debug", "info", "warn", "error"].map(|level| severity(level).1);
        assert_eq!(severities, ["DEBUG", "INFO", "WARN", "ERROR"]);
    }
}
