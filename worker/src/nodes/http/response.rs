//! From an answer to an output or a failure.

use std::io;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use skein_shared::domain::limits;
use skein_shared::telemetry::redact;

use super::secrets::Sent;
use crate::egress::Response;
use crate::nodes::NodeError;

/// Characters of a refusing answer's body that the failure quotes: enough for a reason.
const EXCERPT_CHARS_MAX: usize = 200;

/// `{status, headers, body, url}`; the URL, which a redirect may have changed, without its secrets.
pub(super) fn output(answer: &Response) -> Result<Value, NodeError> {
    let output = json!({
        "status": answer.status.as_u16(),
        "headers": headers_of(&answer.headers),
        "body": body_of(&answer.headers, &answer.body)?,
        "url": redact::url(answer.url.as_str()),
    });
    if depth(&output) > limits::JSON_DEPTH_MAX {
        let message = format!("the body nests deeper than {} levels", limits::JSON_DEPTH_MAX - 1);
        return Err(NodeError::fail("invalid_response", message));
    }
    // Text grows when it is escaped, and bytes grow in base64.
    let mut size = Counter(0);
    if serde_json::to_writer(&mut size, &output).is_err() || size.0 > limits::OUTPUT_BYTES_MAX {
        let message = format!("the output is larger than {} bytes", limits::OUTPUT_BYTES_MAX);
        return Err(NodeError::fail("response_too_large", message));
    }
    Ok(output)
}

/// The failure that stands for a status from 400 on.
pub(super) fn refused(method: &Method, answer: &Response, sent: &Sent) -> NodeError {
    let (status, url) = (answer.status, &answer.url);
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    let path = redact::path(url.path());
    let mut message = format!("{method} {host}{port}{path} answered {status}");
    if let Some(excerpt) = excerpt(&answer.body, sent) {
        message.push_str(": ");
        message.push_str(&excerpt);
    }
    if !is_transient(status) {
        return NodeError::fail("http_status", message);
    }
    let retry_after = retry_after(&answer.headers, answer.received_at.into());
    NodeError { retry_after, ..NodeError::retry("http_status", message) }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// What `Retry-After` asks for: seconds, or a date, which is compared with the server's own `Date`
/// so that our clocks need not agree.
fn retry_after(headers: &HeaderMap, received_at: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let wanted = text(header::RETRY_AFTER)?;
    let wait = if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(wanted.parse().ok()?)
    } else {
        let date = httpdate::parse_http_date(wanted).ok()?;
        let sent_at = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        date.duration_since(sent_at.unwrap_or(received_at)).unwrap_or_default()
    };
    Some(wait.min(limits::BACKOFF_MAX))
}

fn excerpt(body: &[u8], sent: &Sent) -> Option<String> {
    // Before it is cut: half a secret would not be recognized.
    let text = sent.scrub(std::str::from_utf8(body).ok()?);
    let mut rest = text.split_whitespace();
    let mut excerpt = String::new();
    while excerpt.chars().count() <= EXCERPT_CHARS_MAX
        && let Some(word) = rest.next()
    {
        if !excerpt.is_empty() {
            excerpt.push(' ');
        }
        excerpt.extend(word.chars().take(EXCERPT_CHARS_MAX + 1));
    }
    if let Some((end, _)) = excerpt.char_indices().nth(EXCERPT_CHARS_MAX) {
        excerpt.truncate(end);
        excerpt.push('…');
    }
    Some(excerpt).filter(|excerpt| !excerpt.is_empty())
}

/// Headers by lower-case name, repeated ones joined as RFC 9110 section 5.3 allows. `Set-Cookie`
/// cannot be joined and is a credential, so it is left out.
fn headers_of(headers: &HeaderMap) -> Value {
    let joined = headers.keys().filter(|name| **name != header::SET_COOKIE).map(|name| {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        (name.as_str().to_owned(), Value::String(values.join(", ")))
    });
    Value::Object(joined.collect::<Map<_, _>>())
}

fn body_of(headers: &HeaderMap, body: &[u8]) -> Result<Value, NodeError> {
    // Some servers put a byte order mark before UTF-8, where it means nothing.
    let plain = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if is_json(headers) {
        if plain.is_empty() {
            return Ok(Value::Null);
        }
        return serde_json::from_slice(plain).map_err(|error| {
            // The parser's own message may quote the body.
            let (line, column) = (error.line(), error.column());
            let message =
                format!("the body says that it is JSON but is not (line {line}, column {column})");
            NodeError::fail("invalid_response", message)
        });
    }
    Ok(match std::str::from_utf8(plain) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => json!({ "base64": STANDARD.encode(body) }),
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

/// How deep a value nests. The parser gives up at 128 levels, so the recursion is shallow.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Counts bytes and keeps none.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
