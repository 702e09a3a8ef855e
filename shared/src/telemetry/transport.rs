//! How telemetry gets to its collector: the HTTP client of the exporters.

use async_trait::async_trait;
use futures_util::FutureExt as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::blocking::Client;
use reqwest::redirect::Policy;

use super::TelemetryError;
use super::exporters::Destination;
use super::failing::{Failure, request_failed};
use super::tally::Signal;

/// The client of one exporter. It blocks: exporters have threads of their own.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    signal: Signal,
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
        let built = builder.spawn(move || {
            // The headers hold a key, and are for nobody else than whom the URL names.
            Client::builder().timeout(timeout).redirect(Policy::none()).build()
        });
        let built = built.map_err(|error| refuse(error.to_string()))?.join();
        let built = built.map_err(|_| refuse("it panicked".to_owned()))?;
        let client = built.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { client, signal })
    }

    /// Sends a request and waits for the answer. Not for threads of a runtime.
    pub(super) fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The client blocks where it is first polled, and is done then.
        let sent = self.send_bytes(request).now_or_never();
        sent.unwrap_or_else(|| Err("the HTTP client has not waited for an answer".into()))
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().to_string();
        let sent = self.client.send_bytes(request).await;
        match &sent {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => {
                request_failed(self.signal, Failure::answered(&url, response.status().as_u16()));
            }
            Err(error) => request_failed(self.signal, Failure::unanswered(&url, &**error)),
        }
        sent
    }
}
