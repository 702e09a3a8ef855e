//! A collector, and what it says to spans.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, Url};
use serde_json::Value;

use super::batch::Batch;
use super::destination::Destination;
use super::error::{SendError, hint, said};
use crate::http::client;

/// How long an answer may take: thrice what exporters wait unless told otherwise.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes that are read of an answer: what is rejected, and why.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How often a request is made at most, where a collector is away or asks to wait.
const TRIES_MAX: u32 = 5;
/// The pause before the second try; it doubles with each.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest that a collector may ask to wait: somebody sits in front of it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// What a collector has made of a request that it took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Spans that it has thrown away.
    pub rejected: u64,
    /// What it says to that.
    pub message: Option<String>,
}

/// A collector.
#[derive(Debug, Clone)]
pub struct Collector {
    http: reqwest::Client,
    url: Url,
}

impl Collector {
    /// The collector at a destination. Nobody is asked yet.
    ///
    /// # Errors
    /// When there can be no client, as without certificates.
    pub fn new(destination: Destination) -> anyhow::Result<Self> {
        let Destination { url, headers } = destination;
        Ok(Self { http: client(&url, headers, ANSWER_TIME_MAX)?, url })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Sends a request, and again where the collector is away or asks to wait.
    ///
    /// # Errors
    /// See [`SendError`]. What was sent without an answer may have arrived; spans that arrive twice have the same ids.
    pub async fn send(&self, batch: &Batch) -> Result<Delivered, SendError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let request = self.http.post(self.url.clone());
            let request = request.header(CONTENT_TYPE, "application/json").body(batch.body.clone());
            let pause = match request.send().await {
                Ok(response) if response.status().is_success() => {
                    return Ok(delivered(&read(response).await));
                }
                Ok(response) => {
                    let status = response.status().as_u16();
                    match pause(tries, status, response.headers()) {
                        Some(pause) => pause,
                        None => return Err(self.refused(status, &read(response).await)),
                    }
                }
                Err(_) if tries < TRIES_MAX => backoff(tries),
                Err(source) => return Err(self.unanswered(tries, source)),
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn refused(&self, status: u16, body: &[u8]) -> SendError {
        let (url, said) = (self.url().to_owned(), said(body));
        SendError::Refused { url, status, said, hint: hint(status) }
    }

    fn unanswered(&self, tries: u32, source: reqwest::Error) -> SendError {
        // A server of gRPC hangs up on HTTP/1.1.
        let hint = match self.url.port() {
            Some(4317) => ": port 4317 is for gRPC, and OTLP over HTTP is on 4318",
            _ => "",
        };
        let (url, source) = (self.url().to_owned(), source.without_url());
        SendError::Unanswered { url, tries, hint, source }
    }
}

/// The pause before the next try after a refusal; absent where another try does not help.
fn pause(tries: u32, status: u16, headers: &HeaderMap) -> Option<Duration> {
    // Those that the specification says may be tried again.
    let is_passing = matches!(status, 429 | 502 | 503 | 504);
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let pause = backoff(tries).max(asked.map_or(Duration::ZERO, Duration::from_secs));
    (is_passing && tries < TRIES_MAX && pause <= RETRY_AFTER_MAX).then_some(pause)
}

fn backoff(tries: u32) -> Duration {
    PAUSE * 2_u32.pow(tries.saturating_sub(1).min(TRIES_MAX))
}

/// As much of an answer as is looked at. What is cut off or does not come tells nothing.
async fn read(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    body
}

/// What an `ExportTraceServiceResponse` says. One that cannot be read says nothing: the spans were taken.
fn delivered(body: &[u8]) -> Delivered {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    let rejected = &partial["rejectedSpans"];
    // 64-bit integers are text in this encoding; some write a number all the same.
    let rejected = rejected.as_str().and_then(|text| text.parse().ok()).or(rejected.as_u64());
    let message = partial["errorMessage"].as_str().filter(|text| !text.is_empty());
    Delivered {
        rejected: rejected.unwrap_or_default(),
        message: message.map(|it| said(it.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_says_what_it_has_thrown_away() {
        let partial = br#"{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "too old"}}"#;
        let message = Some("too old".to_owned());
        assert_eq!(delivered(partial), Delivered { rejected: 3, message });
        assert_eq!(delivered(br#"{"partialSuccess": {"rejectedSpans": 2}}"#).rejected, 2);
        // What says nothing, and a response in protobuf, which takes no bytes.
        for body in [&b"{}"[..], br#"{"partialSuccess": {}}"#, b"", b"\x0a\x00"] {
            assert_eq!(delivered(body), Delivered::default());
        }
    }

    #[test]
    fn only_what_passes_is_tried_again_and_not_for_ever() {
        let none = HeaderMap::new();
        for status in [429, 502, 503, 504] {
            assert_eq!(pause(1, status, &none), Some(PAUSE));
            assert_eq!(pause(3, status, &none), Some(PAUSE * 4));
            assert_eq!(pause(TRIES_MAX, status, &none), None);
        }
        for status in [400, 401, 404, 413, 500, 501] {
            assert_eq!(pause(1, status, &none), None, "{status}");
        }
    }

    #[test]
    fn a_collector_may_ask_to_wait_a_while() {
        let asked = |seconds: &str| HeaderMap::from_iter([(RETRY_AFTER, seconds.parse().unwrap())]);
        assert_eq!(pause(1, 503, &asked("7")), Some(Duration::from_secs(7)));
        assert_eq!(pause(1, 503, &asked("0")), Some(PAUSE));
        assert_eq!(pause(1, 503, &asked("3600")), None);
        assert_eq!(pause(1, 503, &asked("later")), Some(PAUSE));
    }
}
