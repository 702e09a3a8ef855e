//! A span as OTLP has it.

use opentelemetry::SpanId;
use opentelemetry::trace::{Event, Link, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;

use super::protobuf::Message;
use super::value::{attributes, nanos};

/// The bits of the flags that say whether it is known if a context came from elsewhere, and if it did.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Writes the fields of a span.
pub(super) fn write(to: &mut Message<'_>, span: &SpanData) {
    let context = &span.span_context;
    to.bytes(1, &context.trace_id().to_bytes());
    to.bytes(2, &context.span_id().to_bytes());
    to.text(3, &context.trace_state().header());
    if span.parent_span_id != SpanId::INVALID {
        to.bytes(4, &span.parent_span_id.to_bytes());
    }
    to.text(5, &span.name);
    to.uint(6, kind(&span.span_kind));
    to.fixed64(7, nanos(span.start_time));
    to.fixed64(8, nanos(span.end_time));
    attributes(to, 9, &span.attributes);
    to.uint(10, span.dropped_attributes_count.into());
    for happened in &span.events.events {
        to.message(11, |to| event(to, happened));
    }
    to.uint(12, span.events.dropped_count.into());
    for linked in &span.links.links {
        to.message(13, |to| link(to, linked));
    }
    to.uint(14, span.links.dropped_count.into());
    to.message(15, |to| status(to, &span.status));
    // Of a span it is said of its parent, of a link of what is linked.
    to.fixed32(16, flags(context.trace_flags().to_u8(), span.parent_span_is_remote));
}

fn event(to: &mut Message<'_>, event: &Event) {
    to.fixed64(1, nanos(event.timestamp));
    to.text(2, &event.name);
    attributes(to, 3, &event.attributes);
    to.uint(4, event.dropped_attributes_count.into());
}

fn link(to: &mut Message<'_>, link: &Link) {
    let context = &link.span_context;
    to.bytes(1, &context.trace_id().to_bytes());
    to.bytes(2, &context.span_id().to_bytes());
    to.text(3, &context.trace_state().header());
    attributes(to, 4, &link.attributes);
    to.uint(5, link.dropped_attributes_count.into());
    to.fixed32(6, flags(context.trace_flags().to_u8(), context.is_remote()));
}

fn status(to: &mut Message<'_>, status: &Status) {
    match status {
        Status::Unset => {}
        Status::Ok => to.uint(3, 1),
        Status::Error { description } => {
            to.text(2, description);
            to.uint(3, 2);
        }
    }
}

fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn flags(of_trace: u8, is_remote: bool) -> u32 {
    u32::from(of_trace) | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use opentelemetry::trace::{SpanContext, TraceFlags, TraceId, TraceState};
    use opentelemetry::{InstrumentationScope, KeyValue};
    use opentelemetry_proto::tonic::trace::v1 as proto;
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
    use prost::Message as _;

    use super::*;

    pub(in crate::telemetry::otlp) fn bare() -> SpanData {
        SpanData {
            span_context: context(true, ""),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "node.execute.http".into(),
            start_time: UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789),
            end_time: UNIX_EPOCH + Duration::from_nanos(1_700_000_001_000_000_000),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("skein").build(),
        }
    }

    fn context(is_remote: bool, state: &str) -> SpanContext {
        let state: TraceState = state.parse().expect("a state");
        let id = TraceId::from_bytes([3; 16]);
        let span = SpanId::from_bytes([0, 0, 0, 0, 0, 0, 0, 9]);
        SpanContext::new(id, span, TraceFlags::SAMPLED, is_remote, state)
    }

    fn attribute(bytes: usize) -> KeyValue {
        KeyValue::new("node.error", "é".repeat(bytes / 2))
    }

    fn full() -> SpanData {
        let mut events = SpanEvents::default();
        events.events = vec![
            Event::new("exception", UNIX_EPOCH, vec![attribute(300)], 3),
            Event::with_name("cancelled"),
        ];
        events.dropped_count = 4;
        let mut links = SpanLinks::default();
        links.links = vec![
            Link::new(context(true, "a=1,b=2"), vec![attribute(10)], 5),
            Link::with_context(context(false, "")),
        ];
        links.dropped_count = 300;
        SpanData {
            span_context: context(false, "vendor=x,other=y"),
            parent_span_id: SpanId::from_bytes([8; 8]),
            parent_span_is_remote: true,
            span_kind: SpanKind::Consumer,
            name: "größer 日本".into(),
            attributes: vec![attribute(2), attribute(0), KeyValue::new("attempt", 7)],
            dropped_attributes_count: 129,
            events,
            links,
            status: Status::error("it did not work"),
            ..bare()
        }
    }

    fn assert_as_generated(span: &SpanData) {
        let mut found = Vec::new();
        write(&mut Message::new(&mut found), span);
        let expected = proto::Span::from(span.clone());
        assert_eq!(proto::Span::decode(&found[..]).unwrap(), expected);
        assert_eq!(found, expected.encode_to_vec());
    }

    #[test]
    fn a_span_has_the_bytes_of_generated_code() {
        let kinds = [
            SpanKind::Internal,
            SpanKind::Server,
            SpanKind::Client,
            SpanKind::Producer,
            SpanKind::Consumer,
        ];
        for span_kind in kinds {
            assert_as_generated(&SpanData { span_kind, ..bare() });
        }
        for status in [Status::Unset, Status::Ok, Status::error(""), Status::error("failed")] {
            assert_as_generated(&SpanData { status, ..bare() });
        }
        assert_as_generated(&full());
        assert_as_generated(&SpanData { name: "".into(), ..full() });
        let early = UNIX_EPOCH - Duration::from_secs(5);
        assert_as_generated(&SpanData { start_time: early, end_time: UNIX_EPOCH, ..full() });
        let invalid = SpanContext::NONE;
        assert_as_generated(&SpanData { span_context: invalid, ..bare() });
    }

    #[test]
    fn lengths_around_the_bounds_of_their_encoding_are_right() {
        let bounds = [127, 16_383, 16_384 + 127];
        for bytes in bounds.into_iter().flat_map(|bound| bound - 60..bound + 10) {
            assert_as_generated(&SpanData { attributes: vec![attribute(bytes)], ..bare() });
        }
        let attributes = (0..40).map(|_| attribute(4_000)).collect();
        assert_as_generated(&SpanData { attributes, ..full() });
    }
}
