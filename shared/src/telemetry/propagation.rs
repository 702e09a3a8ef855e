//! W3C Trace Context in the headers of messages and requests.
//!
//! Only `traceparent` travels through the broker. `tracestate` belongs to the vendors along the way,
//! is not stored with a run, and so ends at the API's SERVER span.

use crate::broker::Headers;
use crate::domain::trace::TraceContext;

/// The header with the trace, the parent span and the flags. Also an HTTP header.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what vendors add. Also an HTTP header.
pub const TRACESTATE: &str = "tracestate";

/// Writes the context into the headers, over whatever context was there.
pub fn inject(context: TraceContext, headers: &mut Headers) {
    headers.remove(TRACESTATE);
    headers.insert(TRACEPARENT.to_owned(), context.to_traceparent());
}

/// Reads the context from the headers. A malformed one counts as none, as the specification asks.
#[must_use]
pub fn extract(headers: &Headers) -> Option<TraceContext> {
    TraceContext::from_traceparent(headers.get(TRACEPARENT)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_survives_the_headers() {
        let context = TraceContext::from_traceparent(PARENT).unwrap();
        let mut headers = Headers::from([(TRACESTATE.to_owned(), "vendor=old".to_owned())]);
        inject(context, &mut headers);
        assert_eq!(headers, Headers::from([(TRACEPARENT.to_owned(), PARENT.to_owned())]));
        assert_eq!(extract(&headers), Some(context));
    }

    #[test]
    fn headers_without_a_usable_context_yield_none() {
        assert_eq!(extract(&Headers::new()), None);
        let garbage = Headers::from([(TRACEPARENT.to_owned(), "00-xyz".to_owned())]);
        assert_eq!(extract(&garbage), None);
    }
}
