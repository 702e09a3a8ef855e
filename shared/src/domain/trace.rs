//! Trace identifiers as data: stored on rows, carried in message headers, turned into spans by
//! [`crate::telemetry`]. Formats follow W3C Trace Context, level 1.

use std::fmt;
use std::str::FromStr;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
                if text.len() != $bytes * 2 || !text.bytes().all(is_lower_hex) {
                    return Err(MalformedTrace);
                }
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| MalformedTrace)?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| MalformedTrace)?;
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

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

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
        format!("00-{}-{}-{:02x}", self.trace, self.span, self.flags)
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
}
