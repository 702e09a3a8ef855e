//! The wire format of server-sent events (WHATWG HTML, section 9.2).

use std::time::Duration;

use serde::Serialize;

/// Says that the stream is alive.
pub(crate) const HEARTBEAT: &[u8] = b": alive\n\n";

/// An event. `id` is what a client sends as `Last-Event-ID` when it comes back.
///
/// # Errors
/// When the data cannot be written as JSON.
pub(crate) fn event(
    name: &str,
    id: Option<&str>,
    data: &impl Serialize,
) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    field(&mut bytes, "event", name);
    if let Some(id) = id {
        field(&mut bytes, "id", id);
    }
    bytes.extend_from_slice(b"data: ");
    let start = bytes.len();
    serde_json::to_writer(&mut bytes, data)?;
    // JSON that was stored with line breaks has them between its tokens only: within strings they are escaped.
    for byte in bytes[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    bytes.extend_from_slice(b"\n\n");
    Ok(bytes)
}

/// Tells the client after which time to come back should the stream end, and people why it may.
pub(crate) fn retry(after: Duration, why: &str) -> Vec<u8> {
    format!("retry: {}\n: {why}\n\n", after.as_millis()).into_bytes()
}

/// A field of one line, whatever the text.
fn field(bytes: &mut Vec<u8>, name: &str, text: &str) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend(text.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn an_event_is_a_block_of_lines_whatever_stands_in_it() {
        let raw = RawValue::from_string("{\n\"a\": \"x\\ny\"\r\n}".to_owned()).unwrap();
        let bytes = event("a\nevent: b", Some("1.2~ab"), &raw).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text, "event: a event: b\nid: 1.2~ab\ndata: { \"a\": \"x\\ny\"  }\n\n");
        let text = String::from_utf8(event("end", None, &1).unwrap()).unwrap();
        assert_eq!(text, "event: end\ndata: 1\n\n");
        assert_eq!(retry(Duration::from_secs(2), "why"), b"retry: 2000\n: why\n\n");
    }
}
