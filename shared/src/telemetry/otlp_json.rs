//! Spans in the JSON encoding of OTLP, for whoever fetches them from the API: the body of a request to a collector's
//! `/v1/traces`.
//!
//! Each becomes protobuf as the exporter has it, and that becomes JSON by the rules of the specification: ids in hex, 64-bit
//! integers as text, enums as numbers, and what is empty left out.

use std::fmt::Write as _;
use std::sync::LazyLock;

use opentelemetry::{Key, KeyValue};
use opentelemetry_proto::tonic::common::v1 as proto_common;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1 as proto;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector as _};
use serde_json::{Map, Number, Value, json};

use super::resource::NAMESPACE;
use super::span::to_span_data;
use super::spans::{Maker, RebuiltSpan};
use super::{pipeline, semconv};

/// What the processes call themselves whose spans are made once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceNames {
    /// The API.
    pub api: &'static str,
    /// The workers.
    pub worker: &'static str,
}

impl Default for ServiceNames {
    /// The programs' own names.
    fn default() -> Self {
        Self { api: "skein-api", worker: "skein-worker" }
    }
}

impl ServiceNames {
    /// Those of one process that is both.
    #[must_use]
    pub fn same(name: &'static str) -> Self {
        Self { api: name, worker: name }
    }

    fn of(self, maker: Maker) -> &'static str {
        match maker {
            Maker::Api => self.api,
            Maker::Worker => self.worker,
        }
    }
}

/// The spans as the `resourceSpans` of an `ExportTraceServiceRequest`: an entry for each service that has any.
#[must_use]
pub fn resource_spans(spans: Vec<RebuiltSpan>, services: ServiceNames) -> Vec<Value> {
    let mut by_service: Vec<(&'static str, Vec<Value>)> = Vec::new();
    for RebuiltSpan { maker, span } in spans {
        let service = services.of(maker);
        let span = span_json(to_span_data(span, pipeline::scope()).into());
        match by_service.iter_mut().find(|(name, _)| *name == service) {
            Some((_, spans)) => spans.push(span),
            None => by_service.push((service, vec![span])),
        }
    }
    let scope = pipeline::scope();
    let scope = json!({ "name": scope.name(), "version": scope.version().unwrap_or_default() });
    let entry = |(service, spans): (&'static str, Vec<Value>)| {
        json!({
            "resource": { "attributes": resource(service) },
            "scopeSpans": [{ "scope": scope, "spans": spans }],
        })
    };
    by_service.into_iter().map(entry).collect()
}

/// The environment that this process is deployed in, under both of its names: backends filter by either.
static DEPLOYED_IN: LazyLock<Option<String>> = LazyLock::new(|| {
    let given = EnvResourceDetector::new().detect();
    let names = [semconv::DEPLOYMENT_ENVIRONMENT_NAME, semconv::DEPLOYMENT_ENVIRONMENT];
    let mut found = names.into_iter().filter_map(|name| given.get(&Key::from_static_str(name)));
    found.next().map(|value| value.to_string())
});

/// What is known of a process that this one is not: which it was, nobody has noted.
fn resource(service: &'static str) -> Value {
    let mut all = vec![
        KeyValue::new(semconv::SERVICE_NAME, service),
        KeyValue::new(semconv::SERVICE_NAMESPACE, NAMESPACE),
        KeyValue::new(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
    ];
    if let Some(environment) = &*DEPLOYED_IN {
        all.push(KeyValue::new(semconv::DEPLOYMENT_ENVIRONMENT_NAME, environment.clone()));
        all.push(KeyValue::new(semconv::DEPLOYMENT_ENVIRONMENT, environment.clone()));
    }
    let attribute = |it: KeyValue| {
        let value = proto_common::AnyValue::from(it.value);
        json!({ "key": it.key.as_str(), "value": value_json(value) })
    };
    all.into_iter().map(attribute).collect()
}

fn span_json(span: proto::Span) -> Value {
    let mut fields = Fields::default();
    fields.set("traceId", hex(&span.trace_id));
    fields.set("spanId", hex(&span.span_id));
    fields.set_unless_empty("traceState", span.trace_state);
    fields.set_unless_empty("parentSpanId", hex(&span.parent_span_id));
    fields.set("flags", span.flags);
    fields.set("name", span.name);
    fields.set("kind", span.kind);
    fields.set("startTimeUnixNano", span.start_time_unix_nano.to_string());
    fields.set("endTimeUnixNano", span.end_time_unix_nano.to_string());
    fields.set_attributes(span.attributes);
    fields.set_unless_zero("droppedAttributesCount", span.dropped_attributes_count);
    if !span.events.is_empty() {
        fields.set("events", span.events.into_iter().map(event_json).collect::<Value>());
    }
    fields.set_unless_zero("droppedEventsCount", span.dropped_events_count);
    if !span.links.is_empty() {
        fields.set("links", span.links.into_iter().map(link_json).collect::<Value>());
    }
    fields.set_unless_zero("droppedLinksCount", span.dropped_links_count);
    if let Some(status) = span.status {
        let mut said = Fields::default();
        said.set_unless_empty("message", status.message);
        if status.code != 0 {
            said.set("code", status.code);
        }
        fields.set("status", said.0);
    }
    fields.0.into()
}

fn event_json(event: proto::span::Event) -> Value {
    let mut fields = Fields::default();
    fields.set("timeUnixNano", event.time_unix_nano.to_string());
    fields.set("name", event.name);
    fields.set_attributes(event.attributes);
    fields.set_unless_zero("droppedAttributesCount", event.dropped_attributes_count);
    fields.0.into()
}

fn link_json(link: proto::span::Link) -> Value {
    let mut fields = Fields::default();
    fields.set("traceId", hex(&link.trace_id));
    fields.set("spanId", hex(&link.span_id));
    fields.set_unless_empty("traceState", link.trace_state);
    fields.set_attributes(link.attributes);
    fields.set_unless_zero("droppedAttributesCount", link.dropped_attributes_count);
    fields.set("flags", link.flags);
    fields.0.into()
}

fn value_json(value: proto_common::AnyValue) -> Value {
    use any_value::Value as Any;
    match value.value {
        Some(Any::StringValue(text)) => json!({ "stringValue": text }),
        Some(Any::BoolValue(flag)) => json!({ "boolValue": flag }),
        Some(Any::IntValue(number)) => json!({ "intValue": number.to_string() }),
        Some(Any::DoubleValue(number)) => json!({ "doubleValue": double(number) }),
        Some(Any::ArrayValue(values)) => {
            let values: Vec<_> = values.values.into_iter().map(value_json).collect();
            json!({ "arrayValue": { "values": values } })
        }
        // The SDK's attributes are none of these.
        Some(_) | None => json!({}),
    }
}

/// A number as JSON has it, or the word for it where JSON has none.
fn double(number: f64) -> Value {
    let word = if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    Number::from_f64(number).map_or_else(|| word.into(), Value::Number)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}

/// The fields of a message.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn set_unless_empty(&mut self, name: &str, text: String) {
        if !text.is_empty() {
            self.set(name, text);
        }
    }

    fn set_unless_zero(&mut self, name: &str, count: u32) {
        if count > 0 {
            self.set(name, count);
        }
    }

    fn set_attributes(&mut self, attributes: Vec<proto_common::KeyValue>) {
        if attributes.is_empty() {
            return;
        }
        let attribute = |it: proto_common::KeyValue| json!({ "key": it.key, "value": value_json(it.value.unwrap_or_default()) });
        self.set("attributes", attributes.into_iter().map(attribute).collect::<Value>());
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

    use super::*;

    fn attribute(key: &str, value: any_value::Value) -> proto_common::KeyValue {
        let value = Some(proto_common::AnyValue { value: Some(value) });
        proto_common::KeyValue { key: key.to_owned(), value, ..Default::default() }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(pair).collect()
    }

    /// The span of `examples/trace.json` of opentelemetry-proto 1.x. Ids are compared without regard to case, as the
    /// specification reads them; flags and the status are not in that file.
    #[test]
    fn the_specifications_example_is_written_as_the_specification_has_it() {
        let expected = json!({
            "traceId": "5B8EFFF798038103D269B633813FC60C",
            "spanId": "EEE19B7EC3C1B174",
            "parentSpanId": "EEE19B7EC3C1B173",
            "name": "I'm a server span",
            "startTimeUnixNano": "1544712660000000000",
            "endTimeUnixNano": "1544712661000000000",
            "kind": 2,
            "attributes": [{ "key": "my.span.attr", "value": { "stringValue": "some value" } }],
        });
        let span = proto::Span {
            trace_id: bytes("5B8EFFF798038103D269B633813FC60C"),
            span_id: bytes("EEE19B7EC3C1B174"),
            parent_span_id: bytes("EEE19B7EC3C1B173"),
            name: "I'm a server span".to_owned(),
            kind: proto::span::SpanKind::Server.into(),
            start_time_unix_nano: 1_544_712_660_000_000_000,
            end_time_unix_nano: 1_544_712_661_000_000_000,
            attributes: vec![attribute(
                "my.span.attr",
                any_value::Value::StringValue("some value".to_owned()),
            )],
            ..Default::default()
        };
        let mut written = span_json(span);
        assert_eq!(written.as_object_mut().unwrap().shift_remove("flags"), Some(json!(0)));
        for (key, expected) in expected.as_object().unwrap() {
            let found = written[key].clone();
            let is_same = match (found.as_str(), expected.as_str()) {
                (Some(found), Some(expected)) => found.eq_ignore_ascii_case(expected),
                _ => found == *expected,
            };
            assert!(is_same, "{key}: {found}");
        }
        assert_eq!(written.as_object().unwrap().len(), expected.as_object().unwrap().len());
    }

    #[test]
    fn every_value_is_of_its_type() {
        use any_value::Value as Any;
        let texts = ["a", "b"]
            .map(|text| proto_common::AnyValue { value: Some(Any::StringValue(text.to_owned())) });
        for (value, expected) in [
            (Any::StringValue("x".to_owned()), json!({ "stringValue": "x" })),
            (Any::BoolValue(true), json!({ "boolValue": true })),
            (Any::IntValue(i64::MIN), json!({ "intValue": "-9223372036854775808" })),
            (Any::DoubleValue(0.25), json!({ "doubleValue": 0.25 })),
            (Any::DoubleValue(f64::NEG_INFINITY), json!({ "doubleValue": "-Infinity" })),
            (
                Any::ArrayValue(proto_common::ArrayValue { values: texts.into() }),
                json!({ "arrayValue": { "values": [{ "stringValue": "a" }, { "stringValue": "b" }] } }),
            ),
        ] {
            assert_eq!(value_json(proto_common::AnyValue { value: Some(value) }), expected);
        }
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let link = proto::span::Link {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            flags: 0x301,
            ..Default::default()
        };
        let event = proto::span::Event {
            time_unix_nano: 7,
            name: "exception".to_owned(),
            ..Default::default()
        };
        let status = |code: StatusCode, message: &str| {
            let message = message.to_owned();
            Some(proto::Status { code: code.into(), message })
        };
        let span = proto::Span {
            trace_id: vec![0xab; 16],
            span_id: vec![0xcd; 8],
            flags: 0x101,
            name: "work".to_owned(),
            kind: 1,
            start_time_unix_nano: u64::MAX,
            links: vec![link],
            dropped_links_count: 2,
            events: vec![event],
            status: status(StatusCode::Error, "it failed"),
            ..Default::default()
        };
        let expected = json!({
            "traceId": "ab".repeat(16), "spanId": "cd".repeat(8), "flags": 257, "name": "work", "kind": 1,
            "startTimeUnixNano": "18446744073709551615", "endTimeUnixNano": "0",
            "events": [{ "timeUnixNano": "7", "name": "exception" }],
            "links": [{ "traceId": "01".repeat(16), "spanId": "02".repeat(8), "flags": 769 }],
            "droppedLinksCount": 2,
            "status": { "message": "it failed", "code": 2 },
        });
        assert_eq!(span_json(span.clone()), expected);
        let unset = proto::Span { status: status(StatusCode::Unset, ""), ..span };
        assert_eq!(span_json(unset)["status"], json!({}));
    }

    #[test]
    fn spans_stand_below_the_service_that_made_them() {
        use crate::telemetry::spans::samples;
        let of = |maker| {
            let context = samples::context();
            let span = samples::publish(&context).into();
            RebuiltSpan { maker, span }
        };
        let spans = vec![of(Maker::Worker), of(Maker::Api), of(Maker::Worker)];
        let entries = resource_spans(spans.clone(), ServiceNames::default());
        let told: Vec<_> = entries
            .iter()
            .map(|entry| {
                let name = &entry["resource"]["attributes"][0];
                assert_eq!(name["key"], "service.name");
                let scope = &entry["scopeSpans"][0];
                assert_eq!(scope["scope"]["name"], "skein");
                let count = scope["spans"].as_array().unwrap().len();
                (name["value"]["stringValue"].as_str().unwrap(), count)
            })
            .collect();
        assert_eq!(told, [("skein-worker", 2), ("skein-api", 1)]);
        assert_eq!(resource_spans(spans, ServiceNames::same("skein")).len(), 1);
        assert_eq!(resource_spans(Vec::new(), ServiceNames::default()), [] as [Value; 0]);
    }
}
