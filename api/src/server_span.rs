//! Around everything: one SERVER span a request, whatever becomes of it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use axum::response::Response;
use skein_shared::domain::ids::RunId;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::{TraceContext, TraceState};
use skein_shared::telemetry::metrics::ServedRequest;
use skein_shared::telemetry::{ArrivedRequest, ServerRequest, ServerSpan};

use crate::holding_body::HoldingBody;
use crate::problem::Problem;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// TLS ends before the API.
const SCHEME: &str = "http";

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// The trace that a request with a key belongs to, for the handlers. Only [`Tracing::begin`] makes one.
#[derive(Debug, Clone)]
pub(crate) struct RequestTrace {
    /// The SERVER span.
    pub(crate) context: TraceContext,
    /// What the caller's systems have added to its context, if it sent one.
    pub(crate) state: Option<TraceState>,
    span: Tracing,
}

impl RequestTrace {
    /// The request has made this run, or has made it before.
    pub(crate) fn concerns_run(&self, run: RunId) {
        self.span.concerns_run(run);
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

/// The server span of a request. It begins when it is known whose the request is: whoever has no key adds nothing to a
/// trace of somebody else's, however well he knows its id.
#[derive(Debug, Clone)]
pub(crate) struct Tracing {
    span: Arc<Mutex<Option<Span>>>,
    state: Option<TraceState>,
}

#[derive(Debug)]
enum Span {
    Arrived(ArrivedRequest),
    Begun(ServerSpan),
}

impl Tracing {
    fn lock(&self) -> MutexGuard<'_, Option<Span>> {
        self.span.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the span of a request that is this identity's, below the caller's.
    pub(crate) fn begin(&self, identity: &Identity) -> RequestTrace {
        let mut slot = self.lock();
        let mut span = match slot.take() {
            Some(Span::Begun(span)) => span,
            Some(Span::Arrived(request)) => request.begin_below_caller(),
            None => ArrivedRequest::new(&ServerRequest::default()).begin(),
        };
        span.set_identity(identity);
        let context = span.context();
        *slot = Some(Span::Begun(span));
        RequestTrace { context, state: self.state.clone(), span: self.clone() }
    }

    /// The request is about this run.
    pub(crate) fn concerns_run(&self, run: RunId) {
        if let Some(Span::Begun(span)) = &mut *self.lock() {
            span.set_run(run);
        }
    }

    /// The request is about this workflow.
    pub(crate) fn concerns_workflow(&self, workflow: &str) {
        if let Some(Span::Begun(span)) = &mut *self.lock() {
            span.set_workflow(workflow);
        }
    }

    fn take(&self) -> Option<ServerSpan> {
        Some(match self.lock().take()? {
            Span::Begun(span) => span,
            Span::Arrived(request) => request.begin(),
        })
    }
}

/// Ends the span also when the client goes away and the request is dropped.
struct Serving(Tracing);

impl Drop for Serving {
    fn drop(&mut self) {
        // A span that is dropped before its end says that the client went away.
        drop(self.0.take());
    }
}

/// Makes the span, writes a problem if one came back, and answers the caller with the ids in a `traceparent` header.
pub(crate) async fn server_span<F: Future<Output = Response>>(
    mut request: Request,
    serve: impl FnOnce(Request) -> F,
) -> Response {
    let traceparent = traceparent(request.headers()).map(str::to_owned);
    let state = traceparent.as_ref().and_then(|_| state(request.headers()));
    let arrived = arrived(&request, traceparent.as_deref(), state.as_ref());
    let span = Arc::new(Mutex::new(Some(Span::Arrived(arrived))));
    let tracing = Tracing { span, state };
    request.extensions_mut().insert(tracing.clone());
    let serving = Serving(tracing);
    let counted = counted(&request);
    let response = serve(request).await;
    let Some(span) = serving.0.take() else { return response };
    let context = span.context();
    let reason = response.extensions().get::<Problem>().map(Problem::reason);
    let mut response = Problem::render(response, context.trace);
    if let Ok(value) = HeaderValue::from_str(&context.to_traceparent()) {
        response.headers_mut().insert(TRACEPARENT, value);
    }
    let status = response.status().as_u16();
    span.end(status, reason.as_ref());
    let Some(mut counted) = counted else { return response };
    counted.answered(status);
    // It counts as open until its last byte has left.
    response.map(|body| Body::new(HoldingBody { body, _held: counted }))
}

/// What is counted of a request; nothing while there are no metrics.
fn counted(request: &Request) -> Option<ServedRequest> {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    ServedRequest::begin(request.method().as_str(), route, SCHEME)
}

/// The caller's context. Of two that differ none is believed, as W3C Trace Context asks.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(&TRACEPARENT).iter();
    let first = values.next()?;
    let text = values.all(|other| other == first).then_some(first)?.to_str().ok()?;
    TraceContext::from_traceparent(text).is_ok().then_some(text)
}

/// What goes with it. Without a `traceparent` it means nothing.
fn state(headers: &HeaderMap) -> Option<TraceState> {
    // It may come in several lines, which are one list.
    let lines = headers.get_all(&TRACESTATE).iter().filter_map(|line| line.to_str().ok());
    lines.collect::<Vec<_>>().join(",").parse().ok()
}

fn arrived(
    request: &Request,
    traceparent: Option<&str>,
    state: Option<&TraceState>,
) -> ArrivedRequest {
    let headers = request.headers();
    ArrivedRequest::new(&ServerRequest {
        method: request.method().as_str(),
        route: request.extensions().get::<MatchedPath>().map(MatchedPath::as_str),
        scheme: SCHEME,
        host: text(headers, &header::HOST),
        path: request.uri().path(),
        query: request.uri().query(),
        protocol_version: protocol_version(request.version()),
        client: request.extensions().get::<ClientAddress>().map(|client| client.0),
        user_agent: text(headers, &header::USER_AGENT),
        traceparent,
        tracestate: state.map(TraceState::as_str),
    })
}

fn protocol_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
