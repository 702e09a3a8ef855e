//! What is around items in a request: who sends them.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use super::batch::Batch;
use super::item::Item;
use super::protobuf::{Message, delimited_length, delimiter};
use super::value::attributes;

/// The only field of a request, and the one that holds a scope with its items. Traces and logs have the same numbers.
const RESOURCE: u64 = 1;
const SCOPE: u64 = 2;

/// The resource of the process, encoded once.
#[derive(Debug)]
pub(super) struct Envelope {
    /// The fields of a `ResourceSpans`, or a `ResourceLogs`, besides the scopes.
    resource: Vec<u8>,
}

impl Envelope {
    pub(super) fn new(resource: &Resource) -> Self {
        let mut fields = Vec::new();
        let mut to = Message::new(&mut fields);
        let all: Vec<_> =
            resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
        to.message(1, |to| attributes(to, 1, &all));
        to.text(3, resource.schema_url().unwrap_or_default());
        Self { resource: fields }
    }

    /// Writes a request with the items of a batch: an `ExportTraceServiceRequest`, or that of logs.
    pub(super) fn write(&self, batch: &Batch, to: &mut Vec<u8>) {
        let lengths =
            batch.scopes().map(|(scope, items)| delimited_length(scope.len() + items.len()));
        let length = self.resource.len() + lengths.sum::<usize>();
        to.reserve(delimited_length(length));
        delimiter(to, RESOURCE, length);
        to.extend_from_slice(&self.resource);
        for (scope, items) in batch.scopes() {
            delimiter(to, SCOPE, scope.len() + items.len());
            to.extend_from_slice(scope);
            to.extend_from_slice(items);
        }
    }
}

/// A request with one item.
pub(in crate::telemetry) fn single(resource: &Resource, item: &Item) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.push(item);
    let mut request = Vec::new();
    Envelope::new(resource).write(&batch, &mut request);
    request
}

#[cfg(test)]
mod tests {
    use opentelemetry::InstrumentationScope;
    use opentelemetry::logs::LogRecord as _;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
    use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
    use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
    use opentelemetry_sdk::logs::LogBatch;
    use opentelemetry_sdk::trace::SpanData;
    use prost::Message as _;

    use super::super::{log, span};
    use super::*;

    fn resource() -> Resource {
        let attributes = [KeyValue::new("service.name", "skein-api"), KeyValue::new("pid", 7)];
        let schema = "https://opentelemetry.io/schemas/1.40.0";
        Resource::builder_empty().with_schema_url(attributes, schema).build()
    }

    fn request(resource: &Resource, items: impl Iterator<Item = Item>) -> Vec<u8> {
        let mut batch = Batch::default();
        items.for_each(|item| batch.push(&item));
        let mut request = b"before".to_vec();
        Envelope::new(resource).write(&batch, &mut request);
        request.split_off(b"before".len())
    }

    #[test]
    fn a_request_with_spans_is_what_the_sdks_exporter_makes_of_them() {
        let library = InstrumentationScope::builder("library")
            .with_version("1.2")
            .with_schema_url("https://example.com/schema")
            .with_attributes([KeyValue::new("feature", true)])
            .build();
        let mut spans = vec![span::tests::bare(); 40];
        spans[3].instrumentation_scope = library.clone();
        spans[39].instrumentation_scope = library;
        for (resource, spans) in
            [(resource(), spans.clone()), (Resource::builder_empty().build(), spans[..1].to_vec())]
        {
            let encode = |span: &SpanData| {
                let mut item = Item::default();
                item.set_span(span);
                item
            };
            let found = request(&resource, spans.iter().map(encode));
            let found = ExportTraceServiceRequest::decode(&found[..]).unwrap();
            let resource = ResourceAttributesWithSchema::from(&resource);
            let resource_spans = group_spans_by_resource_and_scope(spans, &resource);
            assert_eq!(found, ExportTraceServiceRequest { resource_spans });
        }
    }

    #[test]
    fn a_request_with_log_records_is_what_the_sdks_exporter_makes_of_them() {
        let scopes =
            [("", "0.1.0"), ("event_logs", "0.1.0"), ("", "0.2.0")].map(|(name, version)| {
                InstrumentationScope::builder(name).with_version(version).build()
            });
        let records: Vec<_> = (0..30_usize)
            .map(|number| {
                let mut record = log::tests::bare();
                record.set_body(i64::try_from(number).unwrap().into());
                if number % 3 != 1 {
                    record.set_target(if number % 4 == 0 { "skein_api" } else { "skein_worker" });
                }
                (record, &scopes[number % 3])
            })
            .collect();
        let encode = |(record, scope): &(_, &InstrumentationScope)| {
            let mut item = Item::default();
            item.set_log(record, scope);
            item
        };
        let resource = resource();
        let found = request(&resource, records.iter().map(encode));
        let mut found = ExportLogsServiceRequest::decode(&found[..]).unwrap();
        let batch: Vec<_> = records.iter().map(|(record, scope)| (record, *scope)).collect();
        let resource = ResourceAttributesWithSchema::from(&resource);
        let mut expected = group_logs_by_resource_and_scope(&LogBatch::new(&batch), &resource);
        // There the order of the scopes is any.
        for all in [&mut found.resource_logs, &mut expected] {
            all[0].scope_logs.sort_by_key(|it| format!("{:?}", it.scope));
        }
        assert_eq!(found.resource_logs, expected);
        assert_eq!(expected[0].scope_logs.len(), 5);
    }

    #[test]
    fn a_single_item_is_a_request() {
        let mut item = Item::default();
        item.set_span(&span::tests::bare());
        let found = single(&resource(), &item);
        let found = ExportTraceServiceRequest::decode(&found[..]).unwrap();
        assert_eq!(found.resource_spans[0].scope_spans[0].spans.len(), 1);
    }
}
