//! The log of runs beside their spans: each row of `event_logs` that this process has written, as a log record.

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{Context, InstrumentationScope, SpanId, StringValue, TraceId};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};

use crate::domain::event_logs::{EVENTS, EventLogSink, WrittenLog};
use crate::telemetry::{semconv, span};

/// The instrumentation scope of these records, by which they can be told from what the program says itself.
const SCOPE: &str = "event_logs";

/// Makes log records of rows.
#[derive(Debug)]
pub(in crate::telemetry) struct EventLogRecords {
    logger: SdkLogger,
}

impl EventLogRecords {
    pub(in crate::telemetry) fn new(provider: &SdkLoggerProvider) -> Self {
        let scope =
            InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
        Self { logger: provider.logger_with_scope(scope) }
    }
}

impl EventLogSink for EventLogRecords {
    /// Puts them into the exporter's queue. Those that it has no room for are lost, and counted.
    fn written(&self, rows: Vec<WrittenLog>) {
        // One statement writes for many: what is current here is whose turn it was to wait for it.
        let _nobody = Context::new().attach();
        for row in rows {
            let mut record = self.logger.create_log_record();
            describe(&mut record, row);
            self.logger.emit(record);
        }
    }
}

fn describe(record: &mut SdkLogRecord, row: WrittenLog) {
    record.set_timestamp(row.at.into());
    let (severity, text) = severity(&row.level);
    record.set_severity_number(severity);
    record.set_severity_text(text);
    record.set_trace_context(
        TraceId::from_bytes(row.trace.0),
        SpanId::from_bytes(row.span.0),
        None,
    );
    if let Some(name) = EVENTS.iter().copied().find(|name| *name == row.event) {
        record.set_event_name(name);
    }
    record.set_body(row.message.into());
    let mut set = |key: &'static str, value: StringValue| {
        record.add_attribute(key, AnyValue::String(value));
    };
    set(semconv::LOG_RECORD_UID, row.id.to_string().into());
    set(semconv::EVENT_NAME, row.event.into());
    set(semconv::WORKFLOW_EXECUTION_ID, row.run.to_string().into());
    set(semconv::ORGANIZATION_ID, row.identity.organization.into());
    set(semconv::WORKSPACE_ID, row.identity.workspace.into());
    set(semconv::USER_ID, row.identity.user.into());
    if let Some(workflow) = row.workflow {
        set(semconv::WORKFLOW_ID, workflow.into());
    }
    if let Some(node) = row.node {
        set(semconv::NODE_ID, node.into());
    }
    if let Some(scope) = row.scope.filter(|scope| !scope.is_empty()) {
        set(semconv::NODE_SCOPE, scope.into());
    }
    if let Some(data) = row.data {
        set(semconv::EVENT_DATA, span::shortened(&data).unwrap_or(data).into());
    }
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
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::logs::LogProcessor;

    use super::*;
    use crate::domain::ids::RunId;
    use crate::domain::tenant::Identity;
    use crate::domain::trace::TraceContext;
    use crate::telemetry::identity::IdentityLogs;
    use crate::telemetry::within;

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SdkLogRecord>>>);

    impl LogProcessor for Kept {
        fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(record.clone());
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

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
            node: Some("fetch".to_owned()),
            scope: Some("3/0".to_owned()),
            level: "warn".to_owned(),
            event: "node.retrying".to_owned(),
            message: "http node fetch failed and is tried again".to_owned(),
            data: Some(r#"{"attempt":1}"#.to_owned()),
            trace: context.trace,
            span: context.span,
        }
    }

    fn recorded(rows: Vec<WrittenLog>) -> Vec<SdkLogRecord> {
        let kept = Kept::default();
        let scope = InstrumentationScope::builder("skein").build();
        let processor = IdentityLogs { next: kept.clone(), scope };
        let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
        let records = EventLogRecords::new(&provider);
        let somebody = TraceContext::from_traceparent(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
        let eve = Identity::new("zoo", "main", "eve");
        within(somebody.expect("a context"), eve, || records.written(rows));
        kept.0.lock().expect("nobody panicked").clone()
    }

    #[test]
    fn a_row_is_a_record_under_the_keys_of_its_spans_whoever_waited_for_the_statement() {
        let row = row();
        let records = recorded(vec![row.clone()]);
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!(record.timestamp(), Some(row.at.into()));
        assert_eq!(record.severity_number(), Some(Severity::Warn));
        assert_eq!(record.event_name(), Some("node.retrying"));
        assert_eq!(record.body(), Some(&AnyValue::from(row.message.clone())));
        let context = record.trace_context().unwrap();
        assert_eq!(context.trace_id.to_bytes(), row.trace.0);
        assert_eq!(context.span_id.to_bytes(), row.span.0);
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
        let found: Vec<_> = record.attributes_iter().collect();
        assert_eq!(found.len(), expected.len(), "a key came twice: {found:?}");
        let found: BTreeMap<_, _> =
            found.into_iter().map(|(key, value)| (key.as_str(), value)).collect();
        for (key, value) in expected {
            assert_eq!(found[key], &AnyValue::from(value.to_owned()), "{key}");
        }
    }

    #[test]
    fn what_a_row_does_not_have_its_record_has_not_and_long_data_is_cut() {
        let long = format!("\"{}\"", "x".repeat(span::ATTRIBUTE_BYTES_MAX));
        let of_run = WrittenLog { node: None, scope: None, data: None, workflow: None, ..row() };
        let cut = WrittenLog { scope: Some(String::new()), data: Some(long), ..row() };
        let records = recorded(vec![of_run, cut]);
        let keys = |record: &SdkLogRecord| record.attributes_iter().count();
        assert_eq!((keys(&records[0]), keys(&records[1])), (6, 9));
        let data = records[1].attributes_iter().find(|(key, _)| key.as_str() == "event.data");
        let Some((_, AnyValue::String(data))) = data else { panic!("{records:?}") };
        assert!(data.as_str().ends_with('…') && data.as_str().len() < 4_200);
    }

    #[test]
    fn every_level_has_a_severity() {
        let severities = ["debug", "info", "warn", "error"].map(|level| severity(level).1);
        assert_eq!(severities, ["DEBUG", "INFO", "WARN", "ERROR"]);
    }
}
