//! How telemetry gets to its collector: the HTTP client of the exporters.

use std::io::Read as _;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, ResponseBodyTooLarge};
use reqwest::blocking::Client;
use reqwest::redirect::Policy;

use super::TelemetryError;
use super::exporters::Destination;
use super::failing::{Failure, request_failed};
use super::tally::Signal;

/// Bytes of an answer at most, as in the SDK's clients.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The client of one exporter. It blocks: exporters have threads of their own.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    signal: Signal,
    /// For a request, where nothing else is said.
    timeout: Duration,
}

impl Transport {
    /// A client for what goes to one place. May be called on any thread.
    ///
    /// # Errors
    /// When there is no client to be had: no thread for it, no TLS.
    pub(super) fn new(destination: &Destination) -> Result<Self, TelemetryError> {
        let &Destination { signal, timeout, .. } = destination;
        let refuse = |reason: String| TelemetryError::Client { signal: signal.as_str(), reason };
        // A blocking client waits for the start of its own thread, which threads of a runtime must not.
        let builder = std::thread::Builder::new().name("telemetry-client".to_owned());
        let built = builder.spawn(|| {
            // The headers hold a key, and are for nobody else than whom the URL names.
            Client::builder().redirect(Policy::none()).build()
        });
        let built = built.map_err(|error| refuse(error.to_string()))?.join();
        let built = built.map_err(|_| refuse("it panicked".to_owned()))?;
        let client = built.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { client, signal, timeout })
    }

    /// Sends a request and waits for the answer, the whole of it, for so long at most. Not for threads of a runtime.
    pub(super) fn post(
        &self,
        request: Request<Bytes>,
        wait_max: Duration,
    ) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().to_string();
        let sent = self.exchange(request, wait_max);
        match &sent {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => {
                request_failed(self.signal, Failure::answered(&url, response.status().as_u16()));
            }
            Err(error) => request_failed(self.signal, Failure::unanswered(&url, &**error)),
        }
        sent
    }

    fn exchange(
        &self,
        request: Request<Bytes>,
        wait_max: Duration,
    ) -> Result<Response<Bytes>, HttpError> {
        let mut request = reqwest::blocking::Request::try_from(request)?;
        *request.timeout_mut() = Some(wait_max);
        let mut answer = self.client.execute(request)?;
        let status = answer.status();
        let headers = std::mem::take(answer.headers_mut());
        let mut body = Vec::new();
        answer.take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut body)?;
        if body.len() > ANSWER_BYTES_MAX {
            return Err(Box::new(ResponseBodyTooLarge::new()));
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

#[async_trait]
impl HttpClient for Transport {
    /// Blocks where it is first polled, and is done then.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.post(request, self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_request_has_the_time_that_it_is_given_and_no_more() {
        crate::telemetry::install_crypto_provider();
        // Connections are made, and nobody ever answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/traces", silent.local_addr().unwrap());
        let destination = Destination::of(Signal::Traces, &|_: &str| None).unwrap();
        let transport = Transport::new(&destination).unwrap();
        let request = Request::post(url).body(Bytes::from_static(b"spans")).unwrap();
        let (begun, wait_max) = (Instant::now(), Duration::from_millis(50));
        assert!(transport.post(request, wait_max).is_err());
        let waited = begun.elapsed();
        assert!((wait_max..destination.timeout / 2).contains(&waited), "{waited:?}");
    }
}
