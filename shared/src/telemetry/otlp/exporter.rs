//! The thread of a signal that sends what waits.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::Context;
use opentelemetry_http::{Bytes, Response};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};

use super::batch::Batch;
use super::envelope::Envelope;
use super::queue::Queue;
use super::request::Requests;
use super::response::rejected;
use super::retry::{Refusal, Repetitions};
use crate::telemetry::TelemetryError;
use crate::telemetry::export::export_outcome;
use crate::telemetry::exporters::Destination;
use crate::telemetry::span::shortened;
use crate::telemetry::tally::Signal;
use crate::telemetry::transport::Transport;

/// Bytes of a request whose memory is kept for the next one.
const KEPT_MAX: usize = 2 * 1024 * 1024;
/// That a part was not taken is said as often.
const REPEAT: Duration = Duration::from_secs(60);

/// Sends what waits in a queue, until that is closed and empty.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: Arc<Queue>,
    envelope: Envelope,
    requests: Requests,
    transport: Transport,
    signal: Signal,
    /// For an export, its repetitions included.
    timeout: Duration,
    /// The memory of the last request.
    content: Vec<u8>,
    told_rejected: Option<Instant>,
}

impl Exporter {
    /// An exporter to one place. May be called on any thread.
    ///
    /// # Errors
    /// When the place is no URL, or there is no client to be had.
    pub(super) fn new(
        queue: Arc<Queue>,
        destination: &Destination,
        resource: &Resource,
    ) -> Result<Self, TelemetryError> {
        Ok(Self {
            queue,
            envelope: Envelope::new(resource),
            requests: Requests::new(destination)?,
            transport: Transport::new(destination)?,
            signal: destination.signal,
            timeout: destination.timeout,
            content: Vec::new(),
            told_rejected: None,
        })
    }

    /// Starts the thread.
    pub(super) fn start(self) -> Result<(), TelemetryError> {
        let signal = self.signal.as_str();
        let thread = thread::Builder::new().name(format!("otlp-{signal}"));
        let started = thread.spawn(move || self.run());
        // Nobody joins it: whoever wants to know when it has ended asks the queue, and waits for so long and no longer.
        started.map(drop).map_err(|error| TelemetryError::Exporter { signal, source: error.into() })
    }

    fn run(mut self) {
        // What is logged here about a record would be another one, and so on for ever.
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let queue = Arc::clone(&self.queue);
        let _emptying = queue.emptying(self.signal);
        while let Some(batch) = queue.next() {
            let items = batch.items();
            let result = self.export(batch);
            export_outcome(self.signal, &result, items);
            queue.settle(items);
        }
    }

    fn export(&mut self, batch: Batch) -> OTelSdkResult {
        let mut content = std::mem::take(&mut self.content);
        content.clear();
        content.shrink_to(KEPT_MAX);
        self.envelope.write(&batch, &mut content);
        self.queue.give_back(batch);
        let body = self.requests.body(&mut content);
        let body = body.map_err(|error| OTelSdkError::InternalFailure(error.to_string()))?;
        let result = self.send(&body);
        self.content =
            if content.capacity() == 0 && body.is_unique() { body.into() } else { content };
        result
    }

    /// Sends a request until it is taken, is refused for good, or its time is over.
    fn send(&mut self, body: &Bytes) -> OTelSdkResult {
        let begun = Instant::now();
        let mut repetitions = Repetitions::new();
        loop {
            let request = self.requests.request(body.clone());
            let left = self.timeout.saturating_sub(begun.elapsed());
            let (refusal, why) = match self.transport.post(request, left) {
                Ok(response) if response.status().is_success() => {
                    self.tell_rejected(&response);
                    return Ok(());
                }
                Ok(response) => {
                    let refusal = Refusal::answered(&response, SystemTime::now());
                    (refusal, format!("HTTP status {}", response.status().as_u16()))
                }
                Err(error) => (Refusal::unanswered(&error), error.to_string()),
            };
            let left = self.timeout.saturating_sub(begun.elapsed());
            match repetitions.pause(&refusal, left, fastrand::f64()) {
                Some(pause) => thread::sleep(pause),
                None => return Err(OTelSdkError::InternalFailure(why)),
            }
        }
    }

    fn tell_rejected(&mut self, response: &Response<Bytes>) {
        let Some((items, why)) = rejected(response) else { return };
        let is_recent = self.told_rejected.is_some_and(|told| told.elapsed() < REPEAT);
        if !is_recent {
            self.told_rejected = Some(Instant::now());
            tracing::warn!(
                telemetry.signal = self.signal.as_str(),
                rejected = items,
                cause = shortened(&why).unwrap_or(why),
                "the collector has not taken all of what it was sent"
            );
        }
    }
}
