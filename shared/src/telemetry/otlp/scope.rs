//! Which part of a program a span or a log record comes from.

use opentelemetry::InstrumentationScope;

use super::protobuf::Message;
use super::value::attributes;

/// Writes what a `ScopeSpans` or a `ScopeLogs` says of its scope. `name` is what it is called there.
pub(super) fn write(to: &mut Vec<u8>, scope: &InstrumentationScope, name: &str) {
    let mut to = Message::new(to);
    to.message(1, |to| {
        to.text(1, name);
        to.text(2, scope.version().unwrap_or_default());
        attributes(to, 3, scope.attributes());
    });
    to.text(3, scope.schema_url().unwrap_or_default());
}
