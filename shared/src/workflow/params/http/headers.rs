//! Which headers a workflow may send.

/// The header of which the parameter `idempotency_key` says whether it is sent, in lower case.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Headers that belong to the connection, the client or the trace, in lower case. A workflow that set them could smuggle
/// a second request or tear the trace.
pub const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a text is a header's name, RFC 9110 section 5.1.
pub(super) fn is_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

/// Whether a text can be a header's value: one line without control characters other than tabs, RFC 9110 section 5.5.
pub(super) fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}
