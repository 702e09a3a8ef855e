//! Requests to the outside: of nodes and tools, and to the providers of models.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use super::REQUEST_SECONDS;
use crate::telemetry::semconv;

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    duration: Histogram<f64>,
}

/// What [`semconv::SERVER_ADDRESS`] says of all hosts that workflows name.
const OTHER: &str = "other";

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct SentRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The URL; of it only the scheme becomes a label.
    pub url: &'a str,
    /// The host, if the operator has named it. MUST be `None` for one that a workflow may choose: they could be any
    /// number.
    pub named_host: Option<&'a str>,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// A low-cardinality word for what went wrong besides the status.
    pub error: Option<&'static str>,
    /// From its begin to the end of the answer.
    pub took: Duration,
}

pub(super) fn install(meter: &Meter) {
    let duration = meter
        .f64_histogram(semconv::METRIC_HTTP_CLIENT_DURATION)
        .with_unit("s")
        .with_description("Duration of HTTP client requests.")
        .with_boundaries(REQUEST_SECONDS.to_vec())
        .build();
    let _ = INSTRUMENTS.set(Instruments { duration });
}

/// Counts a request.
pub fn request_sent(request: &SentRequest<'_>) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments.duration.record(request.took.as_secs_f64(), &labels(request));
}

fn labels(request: &SentRequest<'_>) -> Vec<KeyValue> {
    let method = semconv::known_method(request.method).unwrap_or("_OTHER");
    let mut labels = vec![KeyValue::new(semconv::HTTP_REQUEST_METHOD, method)];
    labels.push(match request.named_host {
        Some(host) => KeyValue::new(semconv::SERVER_ADDRESS, host.to_owned()),
        None => KeyValue::new(semconv::SERVER_ADDRESS, OTHER),
    });
    let scheme = if request.url.starts_with("https:") { "https" } else { "http" };
    labels.push(KeyValue::new(semconv::URL_SCHEME, scheme));
    if let Some(status) = request.status {
        labels.push(KeyValue::new(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status)));
    }
    let refused = || request.status.filter(|status| *status >= 400).map(|s| s.to_string());
    if let Some(error) = request.error.map(str::to_owned).or_else(refused) {
        labels.push(KeyValue::new(semconv::ERROR_TYPE, error));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_a_workflow_has_chosen_is_no_label() {
        let request = SentRequest {
            method: "BREW",
            url: "https://tenant-7.example/secret",
            named_host: None,
            status: Some(404),
            error: None,
            took: Duration::from_secs(1),
        };
        let text = |request: &SentRequest<'_>| {
            let labels = labels(request).into_iter();
            labels.map(|label| format!("{}={}", label.key, label.value)).collect::<Vec<_>>()
        };
        let expected = [
            "http.request.method=_OTHER",
            "server.address=other",
            "url.scheme=https",
            "http.response.status_code=404",
            "error.type=404",
        ];
        assert_eq!(text(&request), expected);
        let provider = SentRequest {
            method: "POST",
            url: "http://models.example/v1",
            named_host: Some("models.example"),
            status: None,
            error: Some("connect"),
            ..request
        };
        let expected = [
            "http.request.method=POST",
            "server.address=models.example",
            "url.scheme=http",
            "error.type=connect",
        ];
        assert_eq!(text(&provider), expected);
    }
}
