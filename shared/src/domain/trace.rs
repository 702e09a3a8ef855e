//! Trace identifiers as data: stored on rows, carried in message headers, turned into spans by
//! [`crate::telemetry`]. Formats follow W3C Trace Context, level 1.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Ids are written and read many times a run, so neither goes through a formatter byte by byte.
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0_u8; $bytes * 2];
                for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
                    pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
                    pair[1] = HEX_DIGITS[usize::from(byte & 0xf)];
                }
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = MalformedTrace;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0_u8; $bytes];
                if text.len() != $bytes * 2 {
                    return Err(MalformedTrace);
                }
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
                }
                if bytes == [0; $bytes] { Err(MalformedTrace) } else { Ok(Self(bytes)) }
            }
        }
    };
}

hex_id!(
    /// A trace: 16 bytes, shown as 32 lower-case hex digits, never all zero.
    TraceId,
    16
);
hex_id!(
    /// A span: 8 bytes, shown as 16 lower-case hex digits, never all zero.
    SpanId,
    8
);

/// Text that is no trace identifier or `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed trace context")]
pub struct MalformedTrace;

/// What a lower-case hex digit stands for.
fn hex_value(digit: u8) -> Result<u8, MalformedTrace> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(MalformedTrace),
    }
}

fn is_lower_hex(byte: u8) -> bool {
    hex_value(byte).is_ok()
}

/// Characters of a `traceparent` of version 00.
const TRACEPARENT_CHARS: usize = 55;

/// The bit of the trace flags that says that spans are recorded.
pub const SAMPLED: u8 = 1;

/// A span's address: what a `traceparent` header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span that children name as their parent.
    pub span: SpanId,
    /// W3C trace flags; only [`SAMPLED`] has a meaning.
    pub flags: u8,
}

impl TraceContext {
    /// Whether the spans of this trace are recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }

    /// The same trace with another span as the parent.
    #[must_use]
    pub fn with_span(self, span: SpanId) -> Self {
        Self { span, ..self }
    }

    /// The value of a `traceparent` header.
    #[must_use]
    pub fn to_traceparent(&self) -> String {
        let mut text = String::with_capacity(TRACEPARENT_CHARS);
        // Writing to a text does not fail.
        let _ = write!(text, "00-{}-{}-{:02x}", self.trace, self.span, self.flags);
        text
    }

    /// Reads a `traceparent` header. A future version is read as far as version 00 goes, as the
    /// specification asks.
    ///
    /// # Errors
    /// When the text is not of the form `version-trace-span-flags`.
    pub fn from_traceparent(text: &str) -> Result<Self, MalformedTrace> {
        let mut parts = text.trim().split('-');
        let mut next = || parts.next().ok_or(MalformedTrace);
        let (version, trace, span, flags) = (next()?, next()?, next()?, next()?);
        let is_byte = |part: &str| part.len() == 2 && part.bytes().all(is_lower_hex);
        if !is_byte(version) || version == "ff" || !is_byte(flags) {
            return Err(MalformedTrace);
        }
        if version == "00" && parts.next().is_some() {
            return Err(MalformedTrace);
        }
        let flags = u8::from_str_radix(flags, 16).map_err(|_| MalformedTrace)?;
        Ok(Self { trace: trace.parse()?, span: span.parse()?, flags: flags & SAMPLED })
    }
}

/// What the systems before Skein have added to a trace's context: the value of a `tracestate` header. Nobody here
/// reads it; it is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceState(Arc<str>);

/// Characters of a `tracestate` that is passed on: what the specification asks for at least.
const TRACE_STATE_CHARS_MAX: usize = 512;
/// Members of a `tracestate` at most, by the specification.
const TRACE_STATE_MEMBERS_MAX: usize = 32;

impl TraceState {
    /// The value of a `tracestate` header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TraceState {
    type Err = MalformedTrace;

    /// Reads a `tracestate` header. One that is malformed or too long is not passed on at all: cut in half it would say
    /// something else.
    fn from_str(text: &str) -> Result<Self, MalformedTrace> {
        let text = text.trim_matches([' ', '\t', ',']);
        let members = || text.split(',').map(|member| member.trim_matches([' ', '\t']));
        let is_member = |member: &str| {
            let Some((key, value)) = member.split_once('=') else { return member.is_empty() };
            let is_key =
                |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
            let is_value = |byte| matches!(byte, b' '..=b'~') && byte != b'=';
            !key.is_empty()
                && key.bytes().all(is_key)
                && !value.is_empty()
                && value.bytes().all(is_value)
        };
        let fits = !text.is_empty()
            && text.len() <= TRACE_STATE_CHARS_MAX
            && members().count() <= TRACE_STATE_MEMBERS_MAX;
        if fits && members().all(is_member) { Ok(Self(text.into())) } else { Err(MalformedTrace) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_survives_a_round_trip() {
        let context = TraceContext::from_traceparent(PARENT).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.to_traceparent(), PARENT);
    }

    #[test]
    fn malformed_traceparents_are_refused() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
        ] {
            assert_eq!(TraceContext::from_traceparent(text), Err(MalformedTrace), "{text}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_the_first_goes() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-what-comes-next";
        assert_eq!(TraceContext::from_traceparent(later).unwrap().to_traceparent(), PARENT);
    }

    #[test]
    fn a_state_is_passed_on_as_it_came_or_not_at_all() {
        for text in ["rojo=00f067aa0ba902b7", "a=1,b=2 3 , ,tenant@vendor=x/y", "ot=th:8;rv:1"] {
            assert_eq!(text.parse::<TraceState>().unwrap().as_str(), text);
        }
        assert_eq!(" a=1, ".parse::<TraceState>().unwrap().as_str(), "a=1");
        let long = format!("a={}", "x".repeat(TRACE_STATE_CHARS_MAX));
        let many = vec!["a=1"; TRACE_STATE_MEMBERS_MAX + 1].join(",");
        for text in
            ["", " , ", "a", "a=", "=1", "A=1", "a=1=2", "a=\u{e9}", "a=1\r\nb=2", &long, &many]
        {
            assert_eq!(text.parse::<TraceState>(), Err(MalformedTrace), "{text:?}");
        }
    }
}
