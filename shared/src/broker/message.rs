//! How a wake-up looks on the wire.
//!
//! The body names the row and nothing else: `{"v":1,"run":"…","node":"…","scope":"…"}`, at most
//! [`BODY_BYTES_MAX`] bytes, no inputs and no secrets. Everything that only describes the message
//! (trace context, identity, reason) is a header.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Headers, Outgoing};
use crate::domain::ids::{ActivationKey, RunId};
use crate::domain::limits::{IDENTITY_CHARS_MAX, NAME_CHARS_MAX};
use crate::domain::tenant::Identity;
use crate::domain::trace::TraceContext;
use crate::domain::wakeup::{WakeReason, Wakeup};

/// The version of the body that this process writes, and the only one that it reads.
pub const VERSION: u64 = 1;
/// The AMQP `type` of a wake-up.
pub const MESSAGE_TYPE: &str = "wake.v1";
/// The AMQP `content_type` of a wake-up.
pub const CONTENT_TYPE: &str = "application/json";
/// Bytes of a body. Twice what the longest legal key takes, so that a queue of a million stays small.
pub const BODY_BYTES_MAX: usize = 512;
/// Characters of a scope: some ten levels of nested maps with wide indices.
pub const SCOPE_CHARS_MAX: usize = 100;
/// Bytes that all header names and values may take: a `tracestate` of 512 and room to spare.
pub const HEADERS_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a header's name, the limit that AMQP 0-9-1 sets.
pub const HEADER_NAME_BYTES_MAX: usize = 128;
/// Bytes of what a message is called, those of a short string of AMQP.
pub const ID_BYTES_MAX: usize = 255;

/// W3C trace context: what [`Wakeup::publisher`] is read from.
pub const TRACEPARENT: &str = "traceparent";
/// What goes with it: [`Wakeup::state`].
pub const TRACESTATE: &str = "tracestate";
/// The header of [`Identity::organization`].
pub const ORGANIZATION: &str = "x-organization";
/// The header of [`Identity::workspace`].
pub const WORKSPACE: &str = "x-workspace";
/// The header of [`Identity::user`].
pub const USER: &str = "x-user";
/// The header of [`Wakeup::reason`].
pub const REASON: &str = "x-reason";
/// The header of [`Wakeup::queued_at`]: milliseconds since the Unix epoch.
pub const QUEUED_AT: &str = "x-queued-at";

const OWN_HEADERS: [&str; 5] = [ORGANIZATION, WORKSPACE, USER, REASON, QUEUED_AT];

/// Why a message could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub String);

/// Why a wake-up cannot be sent at all. A fault of the sender: trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsendable {
    #[error("the node's id must have 1 to {NAME_CHARS_MAX} characters")]
    Node,
    #[error("the scope must be a path of indices of at most {SCOPE_CHARS_MAX} characters")]
    Scope,
    #[error("a header's name must have 1 to {HEADER_NAME_BYTES_MAX} bytes")]
    HeaderName,
    #[error("the headers are larger than {HEADERS_BYTES_MAX} bytes")]
    Headers,
    #[error("the body is larger than {BODY_BYTES_MAX} bytes")]
    Body,
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    v: u64,
    run: RunId,
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    scope: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// Appends the body to `buffer`, so that a batch shares one allocation.
///
/// # Errors
/// When the wake-up breaks a limit; `buffer` is as before then.
pub(crate) fn encode(outgoing: &Outgoing, buffer: &mut Vec<u8>) -> Result<(), Unsendable> {
    let ActivationKey { run, node, scope } = &outgoing.wakeup.key;
    if !is_node(node) {
        return Err(Unsendable::Node);
    }
    if !is_scope(scope) {
        return Err(Unsendable::Scope);
    }
    check_headers(outgoing)?;
    let start = buffer.len();
    let body =
        Body { v: VERSION, run: *run, node: Cow::Borrowed(node), scope: Cow::Borrowed(scope) };
    let written = serde_json::to_writer(&mut *buffer, &body);
    if written.is_err() || buffer.len() - start > BODY_BYTES_MAX {
        buffer.truncate(start);
        return Err(Unsendable::Body);
    }
    Ok(())
}

/// Size of the body of a wake-up in bytes; 0 of one that breaks a limit.
pub(crate) fn body_bytes(key: &ActivationKey) -> usize {
    let ActivationKey { run, node, scope } = key;
    let body =
        Body { v: VERSION, run: *run, node: Cow::Borrowed(node), scope: Cow::Borrowed(scope) };
    serde_json::to_vec(&body).map_or(0, |body| body.len())
}

/// What a message is called: `{run}:{node}:{scope}:{number}`, for whoever looks at a queue. Without the middle where a
/// node's id of wide characters would not fit.
pub(crate) fn id(key: &ActivationKey, number: u64) -> String {
    let ActivationKey { run, node, scope } = key;
    let id = format!("{run}:{node}:{scope}:{number}");
    if id.len() <= ID_BYTES_MAX { id } else { format!("{run}:{number}") }
}

/// Hands every header of the message to `put`, in no particular order and each name once.
///
/// The caller's headers are sent as they are; the ones that carry fields of the wake-up are its own.
pub(crate) fn each_header(outgoing: &Outgoing, mut put: impl FnMut(&str, &str)) {
    let Outgoing { wakeup, headers, .. } = outgoing;
    for (name, value) in headers {
        if !OWN_HEADERS.contains(&name.as_str()) {
            put(name, value);
        }
    }
    if let Some(publisher) = wakeup.publisher {
        if !headers.contains_key(TRACEPARENT) {
            put(TRACEPARENT, &publisher.to_traceparent());
        }
        if let Some(state) = wakeup.state.as_ref().filter(|_| !headers.contains_key(TRACESTATE)) {
            put(TRACESTATE, state.as_str());
        }
    }
    put(ORGANIZATION, &wakeup.identity.organization);
    put(WORKSPACE, &wakeup.identity.workspace);
    put(USER, &wakeup.identity.user);
    put(REASON, wakeup.reason.as_str());
    if let Some(millis) = wakeup.queued_at.and_then(unix_millis) {
        put(QUEUED_AT, &millis.to_string());
    }
}

/// Reads a message.
///
/// # Errors
/// When the body is too large, is not JSON, is of another version or names no possible row, or when
/// the identity is missing. A missing or unreadable trace context is no error.
pub(crate) fn decode(body: &[u8], headers: &Headers) -> Result<Wakeup, Malformed> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Malformed(format!(
            "the body has {} bytes, more than {BODY_BYTES_MAX}",
            body.len()
        )));
    }
    let parsed: Body<'_> =
        serde_json::from_slice(body).map_err(|error| unreadable(body, &error))?;
    if parsed.v != VERSION {
        return Err(unknown_version(parsed.v));
    }
    if !is_node(&parsed.node) {
        return Err(Malformed("the node's id is empty, too long or not printable".to_owned()));
    }
    if !is_scope(&parsed.scope) {
        return Err(Malformed("the scope is not a path of indices".to_owned()));
    }
    let text = |name: &str| headers.get(name).map(String::as_str);
    let required =
        |name: &str| text(name).map(bounded).ok_or_else(|| Malformed(format!("no header {name}")));
    let publisher = text(TRACEPARENT).and_then(|value| TraceContext::from_traceparent(value).ok());
    Ok(Wakeup {
        key: ActivationKey {
            run: parsed.run,
            node: parsed.node.into(),
            scope: parsed.scope.into(),
        },
        identity: Identity::new(required(ORGANIZATION)?, required(WORKSPACE)?, required(USER)?),
        reason: text(REASON).map_or(WakeReason::Due, WakeReason::parse),
        // Without the one, the other means nothing.
        state: publisher.and(text(TRACESTATE)).and_then(|value| value.parse().ok()),
        publisher,
        queued_at: text(QUEUED_AT).and_then(from_unix_millis),
    })
}

/// A name as far as it may be one. It is what the sender says, and whoever can publish can say anything: the row says
/// whose work it is.
fn bounded(name: &str) -> &str {
    let end = name.char_indices().nth(IDENTITY_CHARS_MAX).map_or(name.len(), |(end, _)| end);
    &name[..end]
}

/// A body that does not parse may still say that it is of a version that this process cannot know.
fn unreadable(body: &[u8], error: &serde_json::Error) -> Malformed {
    match serde_json::from_slice::<Version>(body) {
        Ok(Version { v }) if v != VERSION => unknown_version(v),
        _ => Malformed(format!("the body is not a wake-up: {error}")),
    }
}

fn unknown_version(version: u64) -> Malformed {
    Malformed(format!("the body is of version {version}, not {VERSION}"))
}

fn is_node(node: &str) -> bool {
    !node.is_empty()
        && node.chars().count() <= NAME_CHARS_MAX
        && !node.chars().any(char::is_control)
}

fn is_scope(scope: &str) -> bool {
    let is_index = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    scope.is_empty() || (scope.len() <= SCOPE_CHARS_MAX && scope.split('/').all(is_index))
}

fn check_headers(outgoing: &Outgoing) -> Result<(), Unsendable> {
    let (mut bytes, mut named) = (0, true);
    each_header(outgoing, |name, value| {
        bytes += name.len() + value.len();
        named &= (1..=HEADER_NAME_BYTES_MAX).contains(&name.len());
    });
    if !named {
        return Err(Unsendable::HeaderName);
    }
    if bytes > HEADERS_BYTES_MAX { Err(Unsendable::Headers) } else { Ok(()) }
}

fn unix_millis(time: SystemTime) -> Option<u128> {
    Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis())
}

fn from_unix_millis(text: &str) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn outgoing(node: &str, scope: &str) -> Outgoing {
        Outgoing {
            pool: "default".to_owned(),
            wakeup: Wakeup {
                key: ActivationKey {
                    run: RunId::generate(),
                    node: node.into(),
                    scope: scope.into(),
                },
                identity: Identity::new("acme", "main", "ann"),
                reason: WakeReason::Next,
                publisher: TraceContext::from_traceparent(PARENT).ok(),
                state: None,
                queued_at: from_unix_millis("1700000000123"),
            },
            headers: Headers::from([(TRACEPARENT.to_owned(), PARENT.to_owned())]),
        }
    }

    fn wire(outgoing: &Outgoing) -> Result<(Vec<u8>, Headers), Unsendable> {
        let (mut body, mut headers) = (Vec::new(), Headers::new());
        encode(outgoing, &mut body)?;
        each_header(outgoing, |name, value| {
            assert!(headers.insert(name.to_owned(), value.to_owned()).is_none(), "{name} twice");
        });
        Ok((body, headers))
    }

    proptest! {
        #[test]
        fn every_legal_wakeup_survives_the_wire(
            node in "[a-zA-Zäß\\\\\"][a-zA-Z0-9_é\\-]{0,63}",
            path in proptest::collection::vec(0_u32..100_000, 0..=16),
            user in "\\PC{0,40}",
        ) {
            let scope = path.iter().map(u32::to_string).collect::<Vec<_>>().join("/");
            let mut sent = outgoing(&node, &scope);
            sent.wakeup.identity.user = user.into();
            let (body, headers) = wire(&sent).expect("it is legal");
            prop_assert!(body.len() <= BODY_BYTES_MAX);
            prop_assert_eq!(body.len(), body_bytes(&sent.wakeup.key));
            prop_assert_eq!(decode(&body, &headers), Ok(sent.wakeup));
        }

        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(decode(&body, &Headers::new()).is_err());
        }
    }

    #[test]
    fn the_longest_legal_key_fits_into_the_body() {
        let sent = outgoing(&"ä".repeat(NAME_CHARS_MAX), &"1".repeat(SCOPE_CHARS_MAX));
        assert!(wire(&sent).is_ok());
    }

    #[test]
    fn wakeups_that_break_a_limit_are_not_sent() {
        let long = "n".repeat(NAME_CHARS_MAX + 1);
        for (node, scope, expected) in [
            ("", "", Unsendable::Node),
            (long.as_str(), "", Unsendable::Node),
            ("a\nb", "", Unsendable::Node),
            ("a", "1/", Unsendable::Scope),
            ("a", "x", Unsendable::Scope),
            ("a", &"1".repeat(SCOPE_CHARS_MAX + 1), Unsendable::Scope),
        ] {
            assert_eq!(wire(&outgoing(node, scope)), Err(expected), "{node} {scope}");
        }
        let mut wide = outgoing("a", "");
        wide.headers.insert("tracestate".to_owned(), "x".repeat(HEADERS_BYTES_MAX));
        assert_eq!(wire(&wide), Err(Unsendable::Headers));
        let mut named = outgoing("a", "");
        named.headers.insert("x".repeat(HEADER_NAME_BYTES_MAX + 1), String::new());
        assert_eq!(wire(&named), Err(Unsendable::HeaderName));
    }

    #[test]
    fn a_message_without_a_readable_trace_context_still_works() {
        let sent = outgoing("a", "3/0");
        let (body, mut headers) = wire(&sent).expect("it is legal");
        headers.insert(TRACEPARENT.to_owned(), "nonsense".to_owned());
        assert_eq!(decode(&body, &headers).expect("readable").publisher, None);
        headers.remove(TRACEPARENT);
        assert_eq!(decode(&body, &headers).expect("readable").publisher, None);
    }

    #[test]
    fn the_trace_context_in_the_headers_wins_over_the_one_in_the_wakeup() {
        let mut sent = outgoing("a", "");
        let other = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-00";
        sent.headers.insert(TRACEPARENT.to_owned(), other.to_owned());
        let (body, headers) = wire(&sent).expect("it is legal");
        let publisher = decode(&body, &headers).expect("readable").publisher;
        assert_eq!(publisher, TraceContext::from_traceparent(other).ok());
    }

    #[test]
    fn a_caller_cannot_forge_the_identity_through_the_headers() {
        let mut sent = outgoing("a", "");
        sent.headers.insert(ORGANIZATION.to_owned(), "somebody else".to_owned());
        let (body, headers) = wire(&sent).expect("it is legal");
        assert_eq!(decode(&body, &headers), Ok(sent.wakeup));
    }

    #[test]
    fn a_name_that_is_none_is_not_kept_whole() {
        let (body, mut headers) = wire(&outgoing("a", "")).expect("it is legal");
        headers.insert(ORGANIZATION.to_owned(), "ä".repeat(4_000));
        let identity = decode(&body, &headers).expect("readable").identity;
        assert_eq!(identity.organization.chars().count(), IDENTITY_CHARS_MAX);
        assert_eq!(&*identity.user, "ann");
    }

    #[test]
    fn malformed_messages_say_what_is_wrong() {
        let (good, headers) = wire(&outgoing("a", "")).expect("it is legal");
        assert!(decode(&good, &headers).is_ok());
        let run = RunId::generate();
        for (body, expected) in [
            (String::new(), "not a wake-up"),
            ("[]".to_owned(), "not a wake-up"),
            (r#"{"v":2,"key":"of a later version"}"#.to_owned(), "version 2"),
            (format!(r#"{{"v":2,"run":"{run}","node":"a","scope":""}}"#), "version 2"),
            (r#"{"v":1,"run":"7","node":"a","scope":""}"#.to_owned(), "not a wake-up"),
            (format!(r#"{{"v":1,"run":"{run}","node":"","scope":""}}"#), "node"),
            (format!(r#"{{"v":1,"run":"{run}","node":"a","scope":"//"}}"#), "scope"),
            (
                format!(r#"{{"v":1,"run":"{run}","node":"{}","scope":""}}"#, "a".repeat(600)),
                "bytes",
            ),
        ] {
            let error = decode(body.as_bytes(), &headers).expect_err(&body);
            assert!(error.0.contains(expected), "{body}: {error}");
        }
        let error = decode(&good, &Headers::new()).expect_err("nobody's work");
        assert!(error.0.contains(ORGANIZATION), "{error}");
    }
}
