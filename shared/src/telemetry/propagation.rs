//! W3C Trace Context in the headers of messages and requests.

use crate::broker::Headers;
use crate::domain::trace::{TraceContext, TraceState};

/// The header with the trace, the parent span and the flags. Also an HTTP header.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what vendors add. Also an HTTP header.
pub const TRACESTATE: &str = "tracestate";

/// Writes the context into the headers, over whatever context was there.
pub fn inject(context: TraceContext, state: Option<&TraceState>, headers: &mut Headers) {
    headers.insert(TRACEPARENT.to_owned(), context.to_traceparent());
    match state {
        Some(state) => headers.insert(TRACESTATE.to_owned(), state.as_str().to_owned()),
        None => headers.remove(TRACESTATE),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_replaces_the_one_that_was_there() {
        let context = TraceContext::from_traceparent(PARENT).unwrap();
        let old = || Headers::from([(TRACESTATE.to_owned(), "vendor=old".to_owned())]);
        let parent = (TRACEPARENT.to_owned(), PARENT.to_owned());
        let mut headers = old();
        inject(context, None, &mut headers);
        assert_eq!(headers, Headers::from([parent.clone()]));
        let mut headers = old();
        inject(context, Some(&"vendor=new".parse().unwrap()), &mut headers);
        let state = (TRACESTATE.to_owned(), "vendor=new".to_owned());
        assert_eq!(headers, Headers::from([parent, state]));
    }
}
