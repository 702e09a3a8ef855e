//! The SERVER span of the API: the only span that is an object while the work is done, because it
//! decides whether the trace is sampled.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;

use super::span::{from_otel, new_span_id, new_trace_id, to_otel_with_state};
use super::{clock, identity, pipeline, redact, semconv};
use crate::domain::ids::RunId;
use crate::domain::tenant::Identity;
use crate::domain::trace::{SAMPLED, TraceContext};

/// What is known of a request when it has come in.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerRequest<'a> {
    /// The method, as it came.
    pub method: &'a str,
    /// The template of the matched route, as `/v1/runs/{id}`; `None` when nothing matched.
    pub route: Option<&'a str>,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The `Host` header.
    pub host: Option<&'a str>,
    /// The path, as it came.
    pub path: &'a str,
    /// The query without its question mark.
    pub query: Option<&'a str>,
    /// The version of HTTP, as `1.1`.
    pub protocol_version: Option<&'static str>,
    /// Who sent it.
    pub client: Option<IpAddr>,
    /// The `User-Agent` header.
    pub user_agent: Option<&'a str>,
    /// The `traceparent` header.
    pub traceparent: Option<&'a str>,
    /// The `tracestate` header.
    pub tracestate: Option<&'a str>,
}

/// A request being served. Dropped before [`Self::end`] it ends as cancelled: the client went away.
#[derive(Debug)]
#[must_use]
pub struct ServerSpan {
    context: TraceContext,
    /// Absent when telemetry was never set up.
    span: Option<Span>,
    arrival: Arrival,
    has_identity: bool,
    has_run: bool,
    has_workflow: bool,
}

/// When a request has come in: by the database's clock as far as it is known then, and by one that nobody sets.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    at: SystemTime,
    since: Instant,
}

impl Arrival {
    fn now() -> Self {
        Self { at: clock::database_time(SystemTime::now()), since: Instant::now() }
    }

    /// The present, by the clock that the arrival was told by: what is learned of that meanwhile does not count.
    fn present(self) -> SystemTime {
        self.at + self.since.elapsed()
    }
}

/// A request that has come in and whose span has not begun: whether the caller's trace may be continued is not known
/// yet.
#[derive(Debug)]
pub struct ArrivedRequest {
    /// Absent when telemetry was never set up.
    builder: Option<SpanBuilder>,
    parent: Option<TraceContext>,
    state: TraceState,
    arrival: Arrival,
}

impl ArrivedRequest {
    /// Takes note of a request, and of the time.
    #[must_use]
    pub fn new(request: &ServerRequest<'_>) -> Self {
        let parent = request.traceparent.and_then(|text| TraceContext::from_traceparent(text).ok());
        let arrival = Arrival::now();
        let builder = pipeline::tracer().map(|_| {
            SpanBuilder::from_name(name(request))
                .with_kind(SpanKind::Server)
                .with_start_time(arrival.at)
                .with_attributes(attributes(request))
        });
        let state = request.tracestate.and_then(|text| TraceState::from_str(text).ok());
        Self { builder, parent, state: state.unwrap_or_default(), arrival }
    }

    /// Begins the span below the caller's, if it sent a usable `traceparent`. The sampler decides here,
    /// for all spans of the trace.
    pub fn begin_below_caller(self) -> ServerSpan {
        ServerSpan::begin(self)
    }

    /// Begins the span in a trace of its own, whatever the caller sent.
    pub fn begin(self) -> ServerSpan {
        ServerSpan::begin(Self { parent: None, ..self })
    }
}

impl ServerSpan {
    fn begin(request: ArrivedRequest) -> Self {
        let ArrivedRequest { builder, parent, state, arrival } = request;
        let span = pipeline::tracer().zip(builder).map(|(tracer, builder)| {
            let context = parent.map_or_else(Context::new, |parent| {
                let parent = to_otel_with_state(parent, state);
                Context::new().with_remote_span_context(parent)
            });
            tracer.build_with_context(builder, &context)
        });
        // After a shutdown the SDK starts spans without ids; a run that is accepted then needs some.
        let context = span.as_ref().map(Span::span_context).filter(|context| context.is_valid());
        let context = context.map_or_else(|| unrecorded(parent), from_otel);
        let (has_identity, has_run, has_workflow) = (false, false, false);
        Self { context, span, arrival, has_identity, has_run, has_workflow }
    }

    /// The ids that everything done for the request continues.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Attributes the span to whoever the key stands for. Only the first call counts.
    pub fn set_identity(&mut self, identity: &Identity) {
        if let Some(span) = self.span.as_mut()
            && !self.has_identity
        {
            self.has_identity = true;
            span.set_attributes(identity::attributes(identity));
        }
    }

    /// Says which run the request is about. Only the first call counts.
    pub fn set_run(&mut self, run: RunId) {
        if let Some(span) = self.span.as_mut()
            && !self.has_run
        {
            self.has_run = true;
            if span.is_recording() {
                span.set_attribute(KeyValue::new(semconv::WORKFLOW_EXECUTION_ID, run.to_string()));
            }
        }
    }

    /// Says which workflow the request is about. Only the first call counts.
    pub fn set_workflow(&mut self, workflow: &str) {
        if let Some(span) = self.span.as_mut()
            && !self.has_workflow
        {
            self.has_workflow = true;
            if span.is_recording() {
                span.set_attribute(KeyValue::new(semconv::WORKFLOW_ID, workflow.to_owned()));
            }
        }
    }

    /// Ends the span. A status from 500 on is the server's error; one below it is the client's. Of an error, `reason` says
    /// which, and why: words of few values, without secrets.
    pub fn end(mut self, status: u16, reason: Option<&ServerError>) {
        if let Some(mut span) = self.span.take() {
            let code = i64::from(status);
            span.set_attribute(KeyValue::new(semconv::HTTP_RESPONSE_STATUS_CODE, code));
            span.set_attribute(KeyValue::new(semconv::HTTP_STATUS_CODE, code));
            if status >= 500 {
                let (kind, description) = match reason {
                    Some(ServerError { kind, cause: Some(cause) }) => {
                        ((*kind).to_owned(), format!("{kind}: {cause}"))
                    }
                    Some(ServerError { kind, cause: None }) => ((*kind).to_owned(), String::new()),
                    None => (status.to_string(), String::new()),
                };
                span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, kind));
                span.set_status(Status::error(description));
            }
            span.end_with_timestamp(self.arrival.present());
        }
    }
}

impl Drop for ServerSpan {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, "cancelled"));
            span.end_with_timestamp(self.arrival.present());
        }
    }
}

/// Why a request could not be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// What kind of error it is: `unavailable`, `overloaded` ...
    pub kind: &'static str,
    /// What has caused it, where that is known: a word, or the code that the database has answered with.
    pub cause: Option<String>,
}

fn unrecorded(parent: Option<TraceContext>) -> TraceContext {
    match parent {
        Some(parent) => parent.with_span(new_span_id()),
        None => TraceContext { trace: new_trace_id(), span: new_span_id(), flags: SAMPLED },
    }
}

fn name(request: &ServerRequest<'_>) -> String {
    let method = semconv::known_method(request.method).unwrap_or("HTTP");
    request.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}

fn attributes(request: &ServerRequest<'_>) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(16);
    let mut set = |key: &'static str, value: String| attributes.push(KeyValue::new(key, value));
    let method = semconv::known_method(request.method);
    set(semconv::HTTP_REQUEST_METHOD, method.unwrap_or("_OTHER").to_owned());
    set(semconv::HTTP_METHOD, method.unwrap_or("_OTHER").to_owned());
    if method.is_none() {
        set(semconv::HTTP_REQUEST_METHOD_ORIGINAL, cut(request.method));
    }
    let path = redact::path(request.path);
    let query = request.query.map(redact::query);
    let host = request.host.unwrap_or_default();
    let question = query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
    set(semconv::HTTP_URL, format!("{}://{}{path}{question}", request.scheme, cut(host)));
    set(semconv::URL_SCHEME, request.scheme.to_owned());
    set(semconv::URL_PATH, path);
    if let Some(query) = query {
        set(semconv::URL_QUERY, query);
    }
    if let Some(route) = request.route {
        set(semconv::HTTP_ROUTE, route.to_owned());
    }
    if let Some(version) = request.protocol_version {
        set(semconv::NETWORK_PROTOCOL_VERSION, version.to_owned());
    }
    if let Some(client) = request.client {
        set(semconv::CLIENT_ADDRESS, client.to_string());
    }
    if let Some(user_agent) = request.user_agent {
        set(semconv::USER_AGENT_ORIGINAL, cut(user_agent));
    }
    let (address, port) = split_host(host);
    if !address.is_empty() {
        set(semconv::SERVER_ADDRESS, cut(address));
    }
    if let Some(port) = port {
        attributes.push(KeyValue::new(semconv::SERVER_PORT, i64::from(port)));
    }
    attributes
}

fn split_host(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':').and_then(|(address, port)| Some((address, port.parse().ok()?))) {
        Some((address, port)) => (address.trim_matches(['[', ']']), Some(port)),
        None => (host.trim_matches(['[', ']']), None),
    }
}

/// Bytes of a header that is traced: a client chooses how long it is.
const HEADER_BYTES_MAX: usize = 256;

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(HEADER_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(attributes: &[KeyValue], key: &str) -> Option<String> {
        let of_key: Vec<_> = attributes.iter().filter(|a| a.key.as_str() == key).collect();
        assert!(of_key.len() <= 1, "{key} is set twice");
        of_key.first().map(|attribute| attribute.value.to_string())
    }

    #[test]
    fn a_request_is_described_by_the_current_and_the_former_names() {
        let request = ServerRequest {
            method: "POST",
            route: Some("/v1/workflows/{name}/runs"),
            scheme: "http",
            host: Some("skein.example:8080"),
            path: "/v1/workflows/digest/runs",
            query: Some("wait=5s&token=abc"),
            protocol_version: Some("1.1"),
            client: Some(IpAddr::from([203, 0, 113, 9])),
            user_agent: Some("curl/8"),
            ..ServerRequest::default()
        };
        assert_eq!(name(&request), "POST /v1/workflows/{name}/runs");
        let attributes = attributes(&request);
        for (key, expected) in [
            (semconv::HTTP_REQUEST_METHOD, "POST"),
            (semconv::HTTP_METHOD, "POST"),
            (semconv::HTTP_ROUTE, "/v1/workflows/{name}/runs"),
            (semconv::URL_PATH, "/v1/workflows/digest/runs"),
            (semconv::URL_QUERY, "wait=5s&token=REDACTED"),
            (semconv::URL_SCHEME, "http"),
            (
                semconv::HTTP_URL,
                "http://skein.example:8080/v1/workflows/digest/runs?wait=5s&token=REDACTED",
            ),
            (semconv::SERVER_ADDRESS, "skein.example"),
            (semconv::SERVER_PORT, "8080"),
            (semconv::NETWORK_PROTOCOL_VERSION, "1.1"),
            (semconv::CLIENT_ADDRESS, "203.0.113.9"),
            (semconv::USER_AGENT_ORIGINAL, "curl/8"),
        ] {
            assert_eq!(value(&attributes, key).as_deref(), Some(expected), "{key}");
        }
    }

    #[test]
    fn an_unknown_method_does_not_name_the_span() {
        let request = ServerRequest { method: "BREW", path: "/", ..ServerRequest::default() };
        assert_eq!(name(&request), "HTTP");
        let attributes = attributes(&request);
        assert_eq!(value(&attributes, semconv::HTTP_REQUEST_METHOD).as_deref(), Some("_OTHER"));
        assert_eq!(
            value(&attributes, semconv::HTTP_REQUEST_METHOD_ORIGINAL).as_deref(),
            Some("BREW")
        );
    }

    #[test]
    fn hosts_are_split_from_their_ports() {
        assert_eq!(split_host("a.example"), ("a.example", None));
        assert_eq!(split_host("a.example:1"), ("a.example", Some(1)));
        assert_eq!(split_host("[::1]:80"), ("::1", Some(80)));
        assert_eq!(split_host("[::1]"), ("::1", None));
    }

    #[test]
    fn a_request_gets_ids_even_before_telemetry_is_set_up() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let request = ServerRequest { traceparent: Some(parent), ..ServerRequest::default() };
        let context = ArrivedRequest::new(&request).begin_below_caller().context();
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(context.span.to_string(), "00f067aa0ba902b7");
        assert!(!context.is_sampled());
        let fresh = ArrivedRequest::new(&request).begin().context();
        assert!(fresh.is_sampled());
        assert_ne!(fresh.trace, context.trace);
    }
}
