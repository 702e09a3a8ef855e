//! A log record as OTLP has it.

use std::time::SystemTime;

use opentelemetry::logs::Severity;
use opentelemetry_sdk::logs::SdkLogRecord;

use super::protobuf::Message;
use super::value::{any, any_attribute, nanos, string, text_attribute};

/// A log record that no logger has made, of what somebody has anyway.
#[derive(Debug)]
pub(in crate::telemetry) struct TextRecord<'a, A> {
    /// When it happened.
    pub(in crate::telemetry) at: SystemTime,
    /// When it was told of.
    pub(in crate::telemetry) observed: SystemTime,
    /// As a number.
    pub(in crate::telemetry) severity: Severity,
    /// As a word.
    pub(in crate::telemetry) severity_text: &'static str,
    /// What happened.
    pub(in crate::telemetry) body: &'a str,
    /// Keys and values, each key once.
    pub(in crate::telemetry) attributes: A,
    /// The trace.
    pub(in crate::telemetry) trace: [u8; 16],
    /// The span.
    pub(in crate::telemetry) span: [u8; 8],
    /// A word of a few, or nothing.
    pub(in crate::telemetry) event_name: &'static str,
}

impl<'a, A: Iterator<Item = (&'static str, &'a str)>> TextRecord<'a, A> {
    /// Writes its fields.
    pub(super) fn write(self, to: &mut Message<'_>) {
        to.fixed64(1, nanos(self.at));
        to.uint(2, self.severity as u64);
        to.text(3, self.severity_text);
        to.message(5, |to| string(to, self.body));
        for (key, value) in self.attributes {
            text_attribute(to, 6, key, value);
        }
        to.bytes(9, &self.trace);
        to.bytes(10, &self.span);
        to.fixed64(11, nanos(self.observed));
        to.text(12, self.event_name);
    }
}

/// Writes the fields of a log record.
pub(super) fn write(to: &mut Message<'_>, record: &SdkLogRecord) {
    to.fixed64(1, record.timestamp().map_or(0, nanos));
    to.uint(2, record.severity_number().map_or(0, |severity| severity as u64));
    to.text(3, record.severity_text().unwrap_or_default());
    if let Some(body) = record.body() {
        to.message(5, |to| any(to, body));
    }
    for (key, value) in record.attributes_iter() {
        any_attribute(to, 6, key, value);
    }
    let context = record.trace_context();
    let flags = context.and_then(|context| context.trace_flags);
    to.fixed32(8, flags.map_or(0, |flags| flags.to_u8().into()));
    if let Some(context) = context {
        to.bytes(9, &context.trace_id.to_bytes());
        to.bytes(10, &context.span_id.to_bytes());
    }
    to.fixed64(11, record.observed_timestamp().map_or(0, nanos));
    to.text(12, record.event_name().unwrap_or_default());
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use opentelemetry::logs::{
        AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity,
    };
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId};
    use opentelemetry_proto::tonic::logs::v1 as proto;
    use opentelemetry_sdk::logs::SdkLoggerProvider;
    use prost::Message as _;

    use super::*;

    pub(in crate::telemetry::otlp) fn bare() -> SdkLogRecord {
        let logger = SdkLoggerProvider::builder().build().logger("test");
        let mut record = logger.create_log_record();
        record.set_observed_timestamp(UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001));
        record
    }

    fn full(bytes: usize) -> SdkLogRecord {
        let mut record = bare();
        record.set_timestamp(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        record.set_severity_text("WARN");
        record.set_severity_number(Severity::Warn);
        record.set_body("größer 日本".repeat(bytes / 10).into());
        record.set_event_name("node.retrying");
        record.set_target("skein_worker::engine");
        let ids = (TraceId::from_bytes([1; 16]), SpanId::from_bytes([2; 8]));
        record.set_trace_context(ids.0, ids.1, Some(TraceFlags::SAMPLED));
        for number in 0..8 {
            record.add_attribute(format!("key{number}"), "v".repeat(number * 40));
        }
        record.add_attribute("attempt", 2);
        record.add_attribute("", AnyValue::Boolean(false));
        record.add_attribute("raw", AnyValue::Bytes(Box::new(vec![0, 255])));
        record
    }

    fn assert_as_generated(record: &SdkLogRecord) {
        let mut found = Vec::new();
        write(&mut Message::new(&mut found), record);
        let expected = proto::LogRecord::from(record);
        assert_eq!(proto::LogRecord::decode(&found[..]).unwrap(), expected);
        assert_eq!(found, expected.encode_to_vec());
    }

    #[test]
    fn a_record_has_the_bytes_of_generated_code() {
        assert_as_generated(&bare());
        for bytes in [0, 10, 100, 110, 120, 130, 16_370, 16_380, 16_390, 100_000] {
            assert_as_generated(&full(bytes));
        }
        let mut without_flags = full(10);
        without_flags.set_trace_context(TraceId::INVALID, SpanId::INVALID, None);
        assert_as_generated(&without_flags);
    }

    #[test]
    fn every_severity_has_its_number() {
        for severity in [
            Severity::Trace,
            Severity::Trace4,
            Severity::Debug,
            Severity::Info,
            Severity::Info3,
            Severity::Warn,
            Severity::Error,
            Severity::Error2,
            Severity::Fatal,
            Severity::Fatal4,
        ] {
            let mut record = bare();
            record.set_severity_number(severity);
            assert_as_generated(&record);
        }
    }
}
