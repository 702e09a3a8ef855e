//! A request that a node sends to the outside world.

use std::time::SystemTime;

use opentelemetry::trace::SpanKind;
use url::Url;

use super::workflow::set_run;
use crate::domain::ids::ActivationKey;
use crate::domain::run::RunHeader;
use crate::domain::trace::{SpanId, TraceContext};
use crate::telemetry::span::{FinishedSpan, count};
use crate::telemetry::{redact, semconv};

/// One request, from its first byte to the last one of the response.
#[derive(Debug, Clone)]
pub struct HttpClient<'a> {
    /// Its reserved ids: what the request carries as its `traceparent`.
    pub context: TraceContext,
    /// The span of the node.
    pub parent: SpanId,
    /// The run.
    pub header: &'a RunHeader,
    /// Which node of it.
    pub key: &'a ActivationKey,
    /// The method.
    pub method: &'a str,
    /// The URL with everything in it; secrets are taken out here.
    pub url: &'a str,
    /// The status of the response, if one came.
    pub status: Option<u16>,
    /// A low-cardinality word for why none came, as `timeout`, `connect` or `refused_address`; `cancelled` is no error.
    pub error: Option<&'a str>,
    /// Which repetition this is, whatever the reason, a redirect or another attempt: 0 for the first request of the node,
    /// or of its step.
    pub resend_count: u32,
    /// The version of HTTP that was spoken, as `1.1`, if it came to that.
    pub protocol_version: Option<&'static str>,
    /// When it was sent.
    pub start: SystemTime,
    /// When the response had been read, or given up.
    pub end: SystemTime,
}

impl From<HttpClient<'_>> for FinishedSpan {
    fn from(request: HttpClient<'_>) -> Self {
        let method = semconv::known_method(request.method);
        let times = (request.start, request.end);
        let name = method.unwrap_or("HTTP");
        let mut span = Self::new(name, SpanKind::Client, request.context, times);
        span.state.clone_from(&request.header.trace.state);
        span.parent = Some(request.parent);
        span.identity = Some(request.header.identity.clone());
        set_run(&mut span, request.header);
        span.set(semconv::NODE_ID, request.key.node.clone());
        span.set(semconv::HTTP_REQUEST_METHOD, method.unwrap_or("_OTHER"));
        span.set(semconv::HTTP_METHOD, method.unwrap_or("_OTHER"));
        if method.is_none() {
            span.set(semconv::HTTP_REQUEST_METHOD_ORIGINAL, request.method.to_owned());
        }
        set_url(&mut span, request.url);
        if request.resend_count > 0 {
            span.set(semconv::HTTP_REQUEST_RESEND_COUNT, count(request.resend_count));
        }
        if let Some(version) = request.protocol_version {
            span.set(semconv::NETWORK_PROTOCOL_VERSION, version);
        }
        if let Some(status) = request.status {
            span.set(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status));
            span.set(semconv::HTTP_STATUS_CODE, i64::from(status));
        }
        // A response that broke off has both a status and an error; the error is what happened.
        let refused = request.status.filter(|status| *status >= 400);
        match (request.error, refused) {
            (Some(error), _) => span.fail_with(error),
            (None, Some(status)) => {
                span.set(semconv::ERROR_TYPE, status.to_string());
                span.error = Some(String::new());
            }
            (None, None) => {}
        }
        span
    }
}

fn set_url(span: &mut FinishedSpan, text: &str) {
    let full = redact::url(text);
    span.set(semconv::HTTP_URL, full.clone());
    span.set(semconv::URL_FULL, full);
    let Ok(url) = Url::parse(text) else { return };
    span.set(semconv::URL_SCHEME, url.scheme().to_owned());
    if let Some(host) = url.host_str() {
        span.set(semconv::SERVER_ADDRESS, host.trim_matches(['[', ']']).to_owned());
    }
    if let Some(port) = url.port_or_known_default() {
        span.set(semconv::SERVER_PORT, i64::from(port));
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, attributes};
    use super::*;

    fn send(url: &str, status: Option<u16>, error: Option<&str>) -> FinishedSpan {
        let header = samples::header();
        let key = ActivationKey::root(header.id, "fetch");
        FinishedSpan::from(HttpClient {
            context: samples::context(),
            parent: crate::telemetry::new_span_id(),
            header: &header,
            key: &key,
            method: "GET",
            url,
            status,
            error,
            resend_count: 2,
            protocol_version: status.map(|_| "1.1"),
            start: samples::now(),
            end: samples::now(),
        })
    }

    #[test]
    fn a_request_follows_the_http_conventions_and_shows_no_secret() {
        let span = send("https://me:pw@api.example:8443/v1/x?token=t&n=1", Some(200), None);
        assert_eq!((span.name.as_ref(), &span.kind), ("GET", &SpanKind::Client));
        assert_eq!(span.error, None);
        assert_eq!(
            attributes(&span),
            serde_json::json!({
                "workflow.id": "digest",
                "workflow.version": 4,
                "workflow.execution_id": samples::RUN,
                "node.id": "fetch",
                "http.request.method": "GET",
                "http.method": "GET",
                "http.url": "https://REDACTED@api.example:8443/v1/x?token=REDACTED&n=1",
                "url.full": "https://REDACTED@api.example:8443/v1/x?token=REDACTED&n=1",
                "url.scheme": "https",
                "server.address": "api.example",
                "server.port": 8443,
                "http.request.resend_count": 2,
                "network.protocol.version": "1.1",
                "http.response.status_code": 200,
                "http.status_code": 200,
            })
        );
    }

    #[test]
    fn refusals_and_failures_are_errors() {
        let refused = send("http://[::1]/", Some(404), None);
        assert_eq!(attributes(&refused)["error.type"], "404");
        assert_eq!(attributes(&refused)["server.address"], "::1");
        assert_eq!(attributes(&refused)["server.port"], 80);
        assert!(refused.error.is_some());
        let broken = send("http://a.example/", Some(200), Some("timeout"));
        assert_eq!(attributes(&broken)["error.type"], "timeout");
        assert_eq!(broken.error.as_deref(), Some("timeout"));
    }

    #[test]
    fn a_request_that_was_stopped_has_not_failed() {
        let stopped = send("http://a.example/", None, Some("cancelled"));
        assert_eq!((&stopped.error, attributes(&stopped).get("error.type")), (&None, None));
        assert_eq!(stopped.events[0].name, semconv::EVENT_CANCELLED);
    }
}
