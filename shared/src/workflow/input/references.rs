//! References within a schema, and what they lead to.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// Anchors by name, with the pointers that they stand for.
pub(super) type Anchors = HashMap<String, String>;

/// What a reference leads to, if that is inside of the schema, and where that stands.
pub(super) fn target<'a>(
    schema: &'a Value,
    anchors: &Anchors,
    reference: &str,
) -> Option<(String, &'a Value)> {
    let pointer = match local_pointer(schema, reference) {
        Some(pointer) => pointer,
        None => anchors.get(&fragment(schema, reference)?)?.clone(),
    };
    let value = schema.pointer(&pointer)?;
    Some((pointer, value))
}

/// What stands behind the `#` of a reference into this schema.
fn fragment(schema: &Value, reference: &str) -> Option<String> {
    let own = schema.get("$id").and_then(Value::as_str).unwrap_or_default();
    let own = own.trim_end_matches('#');
    let fragment = reference.strip_prefix(own).unwrap_or(reference);
    let fragment = match fragment {
        "" => "",
        other => other.strip_prefix('#')?,
    };
    Some(percent_decode_str(fragment).decode_utf8().ok()?.into_owned())
}

/// The pointer that a reference is, unless it is an anchor's name or leads outside.
pub(super) fn local_pointer(schema: &Value, reference: &str) -> Option<String> {
    fragment(schema, reference).filter(|it| it.is_empty() || it.starts_with('/'))
}
