//! A span or a log record, ready to be sent.

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::logs::SdkLogRecord;
use opentelemetry_sdk::trace::SpanData;

use super::log::TextRecord;
use super::protobuf::Message;
use super::{log, scope, span};

/// The field of a `ScopeSpans` that holds a span; that of a `ScopeLogs` for a log record has the same number.
const ITEM: u64 = 2;
/// Bytes that are kept for the next one. One in a thousand is larger, and gives its memory back.
const KEPT_MAX: usize = 64 * 1024;

/// Buffers that an item and its scope are encoded in, for one after the other.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Item {
    scope: Vec<u8>,
    bytes: Vec<u8>,
}

impl Item {
    /// Encodes a span in place of what was there.
    pub(in crate::telemetry) fn set_span(&mut self, data: &SpanData) {
        self.clear();
        let of = &data.instrumentation_scope;
        scope::write(&mut self.scope, of, of.name());
        Message::new(&mut self.bytes).message(ITEM, |to| span::write(to, data));
    }

    /// Encodes a log record in place of what was there. Its target, where it has one, is the name of its scope.
    pub(in crate::telemetry) fn set_log(
        &mut self,
        record: &SdkLogRecord,
        of: &InstrumentationScope,
    ) {
        self.clear();
        let target = record.target().map(AsRef::as_ref);
        scope::write(&mut self.scope, of, target.unwrap_or(of.name()));
        Message::new(&mut self.bytes).message(ITEM, |to| log::write(to, record));
    }

    /// Encodes such a log record in place of what was there.
    pub(in crate::telemetry) fn set_text_record<'a>(
        &mut self,
        record: TextRecord<'a, impl Iterator<Item = (&'static str, &'a str)>>,
        of: &InstrumentationScope,
    ) {
        self.clear();
        scope::write(&mut self.scope, of, of.name());
        Message::new(&mut self.bytes).message(ITEM, |to| record.write(to));
    }

    /// The fields of its scope.
    pub(super) fn scope(&self) -> &[u8] {
        &self.scope
    }

    /// The item, as a field of what its scope has.
    pub(in crate::telemetry) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn clear(&mut self) {
        self.scope.clear();
        self.bytes.clear();
        self.scope.shrink_to(KEPT_MAX);
        self.bytes.shrink_to(KEPT_MAX);
    }
}
