//! From an answer to an output or a failure.

use std::io;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use skein_shared::document;
use skein_shared::domain::limits;
use skein_shared::telemetry::redact::{self, REDACTED};

use super::charset::{MediaType, header_text};
use super::secrets::{Secrets, conceal_body, is_answered_credential};
use crate::egress::Response;
use crate::mask::Masker;
use crate::nodes::NodeError;

/// Characters of a refusing answer's body that the failure quotes: enough for a reason.
const EXCERPT_CHARS_MAX: usize = 200;

/// `{status, headers, body, url}`; the URL, which a redirect may have changed, without its secrets, and all of it
/// without those that were sent.
pub(super) fn output(answer: &Response, secrets: &Secrets) -> Result<Value, NodeError> {
    let output = secrets.sure().value(json!({
        "status": answer.status.as_u16(),
        "headers": headers_of(&answer.headers),
        "body": body_of(answer, secrets)?,
        "url": redact::url(answer.url.as_str()),
    }));
    if !document::nests_within(&output, limits::JSON_DEPTH_MAX) {
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
/// It was received at this time of the database's clock.
pub(super) fn refused(
    method: &Method,
    answer: &Response,
    received_at: DateTime<Utc>,
    secrets: &Secrets,
) -> NodeError {
    let (status, url) = (answer.status, &answer.url);
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    let path = redact::path(url.path());
    let message = format!("{method} {host}{port}{path} answered {status}");
    let mut message = secrets.sure().text(&message).into_owned();
    if let Some(excerpt) = excerpt(answer, secrets) {
        message.push_str(": ");
        message.push_str(&excerpt);
    }
    if !is_transient(status) {
        return NodeError::fail("http_status", message);
    }
    let retry_after = retry_after(&answer.headers, received_at.into());
    NodeError { retry_after, ..NodeError::retry("http_status", message) }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// What `Retry-After` asks for: seconds, or a date, which is compared with the server's own `Date`
/// so that our clocks need not agree. A server without a clock of its own sends none; then it is the database's that
/// counts, by which the wait will be measured.
fn retry_after(headers: &HeaderMap, received_at: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let wanted = text(header::RETRY_AFTER)?;
    if wanted.is_empty() {
        return None;
    }
    Some(if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a longer wait than anybody has time for.
        Duration::from_secs(wanted.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(wanted).ok()?;
        let sent_at = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        date.duration_since(sent_at.unwrap_or(received_at)).unwrap_or_default()
    })
}

/// The beginning of the body, without what was sent in confidence and without the answer's own credentials.
fn excerpt(answer: &Response, secrets: &Secrets) -> Option<String> {
    let media = MediaType::of(&answer.headers);
    let text = media.text_of(&answer.body)?;
    let text = match media.is_json().then(|| concealed(&text)).flatten() {
        Some(concealed) => concealed.into(),
        None => text,
    };
    // Before it is cut: half a secret would not be recognized.
    let text = secrets.quote(&text)?;
    Some(shortened(&credentials_of(&answer.headers).text(&text))).filter(|text| !text.is_empty())
}

/// The text of JSON that has fields whose names say that they are secret, without their values.
fn concealed(text: &str) -> Option<String> {
    let body: Value = serde_json::from_str(text).ok()?;
    let mut concealed = body.clone();
    conceal_body(&mut concealed);
    (concealed != body).then(|| concealed.to_string())
}

/// Knows the credentials that an answer brings in its head.
fn credentials_of(headers: &HeaderMap) -> Masker {
    let secret = headers.iter().filter(|(name, _)| is_answered_credential(name.as_str()));
    Masker::of(secret.flat_map(|(_, value)| {
        let text = header_text(value.as_bytes());
        // `Bearer abc`, or `session=abc; Path=/`.
        let first = text.split(';').next().unwrap_or_default();
        let part = first.split_once([' ', '=']).map(|(_, part)| part.trim().to_owned());
        [Some(text.into_owned()), part].into_iter().flatten()
    }))
}

/// On one line, cut where it is long enough for a reason.
fn shortened(text: &str) -> String {
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
    excerpt
}

/// Headers by lower-case name, repeated ones joined as RFC 9110 section 5.3 allows. Credentials are masked;
/// `Set-Cookie` and `Set-Cookie2` cannot be joined either, so they are left out.
fn headers_of(headers: &HeaderMap) -> Value {
    let kept = headers.keys().filter(|name| !name.as_str().starts_with("set-cookie"));
    let joined = kept.map(|name| {
        let shown = match is_answered_credential(name.as_str()) {
            true => REDACTED.to_owned(),
            false => {
                let values = headers.get_all(name).iter();
                values.map(|value| header_text(value.as_bytes())).collect::<Vec<_>>().join(", ")
            }
        };
        (name.as_str().to_owned(), Value::String(shown))
    });
    Value::Object(joined.collect::<Map<_, _>>())
}

/// A body as JSON, as text, or as bytes. JSON is read as strictly as inputs are: what cannot be kept exactly is refused.
fn body_of(answer: &Response, secrets: &Secrets) -> Result<Value, NodeError> {
    let media = MediaType::of(&answer.headers);
    let text = media.text_of(&answer.body);
    // Some servers put a byte order mark before UTF-8, where it means nothing.
    let text = text.as_deref().map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
    match text {
        Some(text) if media.is_json() => json_of(text, secrets),
        Some(text) => Ok(Value::String(text.to_owned())),
        None if media.is_json() => {
            let message =
                "the body says that it is JSON but is not text in its charset, or in UTF-8";
            Err(NodeError::fail("invalid_response", message))
        }
        None => Ok(json!({ "base64": STANDARD.encode(secrets.sure().bytes(&answer.body)) })),
    }
}

fn json_of(text: &str, secrets: &Secrets) -> Result<Value, NodeError> {
    if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() {
        return Ok(Value::Null);
    }
    document::json::parse(text, limits::JSON_DEPTH_MAX).map_err(|diagnostic| {
        let at = if diagnostic.pointer.is_empty() { "" } else { " at " };
        // It names fields, and how a server calls those is the server's choice.
        let quoted = secrets
            .quote(&format!("{}{at}{}", diagnostic.placed_message(), diagnostic.pointer))
            .map(|quoted| shortened(&quoted));
        let message = match quoted {
            Some(quoted) => format!("the body cannot be read as JSON: {quoted}"),
            None => "the body cannot be read as JSON".to_owned(),
        };
        NodeError::fail("invalid_response", message)
    })
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
