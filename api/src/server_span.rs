//! The outermost layer: one SERVER span a request, whatever becomes of it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::{TraceContext, TraceState};
use skein_shared::telemetry::{ServerRequest, ServerSpan};

use crate::problem::Problem;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// The trace that a request belongs to, for the layers and handlers inside.
#[derive(Debug, Clone)]
pub(crate) struct RequestTrace {
    /// The SERVER span.
    pub(crate) context: TraceContext,
    /// What the caller's systems have added to its context, if it sent one.
    pub(crate) state: Option<TraceState>,
    identity: Arc<OnceLock<Identity>>,
}

impl RequestTrace {
    /// Says whose request it is. The first call counts.
    pub(crate) fn set_identity(&self, identity: &Identity) {
        self.identity.get_or_init(|| identity.clone());
    }
}

impl<S: Sync> FromRequestParts<S> for RequestTrace {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::internal("a route stands outside of the server span"))
    }
}

/// Ends the span with the identity on it, also when the client goes away and the request is dropped.
struct Serving {
    span: Option<ServerSpan>,
    identity: Arc<OnceLock<Identity>>,
}

impl Serving {
    fn end(mut self, status: u16) {
        if let Some(span) = self.take() {
            span.end(status);
        }
    }

    fn take(&mut self) -> Option<ServerSpan> {
        let mut span = self.span.take()?;
        if let Some(identity) = self.identity.get() {
            span.set_identity(identity);
        }
        Some(span)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A span that is dropped before its end says that the client went away.
        drop(self.take());
    }
}

/// Starts the span, hands its context on, writes a problem if one came back, and tells the caller
/// the ids in a `traceparent` header.
pub(crate) async fn server_span(mut request: Request, next: Next) -> Response {
    let state = state(request.headers());
    let span = start(&request, state.as_ref());
    let context = span.context();
    let identity = Arc::new(OnceLock::new());
    request.extensions_mut().insert(RequestTrace {
        context,
        state,
        identity: Arc::clone(&identity),
    });
    let serving = Serving { span: Some(span), identity };
    let mut response = Problem::render(next.run(request).await, context.trace);
    if let Ok(value) = HeaderValue::from_str(&context.to_traceparent()) {
        response.headers_mut().insert(TRACEPARENT, value);
    }
    serving.end(response.status().as_u16());
    response
}

/// The `tracestate` of the request. Without a `traceparent` it means nothing.
fn state(headers: &HeaderMap) -> Option<TraceState> {
    TraceContext::from_traceparent(text(headers, &TRACEPARENT)?).ok()?;
    // It may come in several lines, which are one list.
    let lines = headers.get_all(&TRACESTATE).iter().filter_map(|line| line.to_str().ok());
    lines.collect::<Vec<_>>().join(",").parse().ok()
}

fn start(request: &Request, state: Option<&TraceState>) -> ServerSpan {
    let headers = request.headers();
    ServerSpan::start(&ServerRequest {
        method: request.method().as_str(),
        route: request.extensions().get::<MatchedPath>().map(MatchedPath::as_str),
        scheme: "http",
        host: text(headers, &header::HOST),
        path: request.uri().path(),
        query: request.uri().query(),
        client: request.extensions().get::<ClientAddress>().map(|client| client.0),
        user_agent: text(headers, &header::USER_AGENT),
        traceparent: text(headers, &TRACEPARENT),
        tracestate: state.map(TraceState::as_str),
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
