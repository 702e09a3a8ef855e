//! Requests to the API.

use std::sync::OnceLock;
use std::time::Instant;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, UpDownCounter};

use super::REQUEST_SECONDS;
use crate::telemetry::semconv;

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    duration: Histogram<f64>,
    active: UpDownCounter<i64>,
}

pub(super) fn install(meter: &Meter) {
    let duration = meter
        .f64_histogram(semconv::METRIC_HTTP_SERVER_DURATION)
        .with_unit("s")
        .with_description("Duration of HTTP server requests.")
        .with_boundaries(REQUEST_SECONDS.to_vec())
        .build();
    let active = meter
        .i64_up_down_counter(semconv::METRIC_HTTP_SERVER_ACTIVE)
        .with_unit("{request}")
        .with_description("Number of active HTTP server requests.")
        .build();
    let _ = INSTRUMENTS.set(Instruments { duration, active });
}

/// A request that is being served, until it is dropped: with the last byte of its answer, or when its client has gone.
#[derive(Debug)]
pub struct ServedRequest {
    method: &'static str,
    scheme: &'static str,
    route: Option<String>,
    begun: Instant,
    status: Option<u16>,
}

impl ServedRequest {
    /// Begins to serve one; `route` is the template of the route, if one matched. `None` while there are no metrics.
    #[must_use]
    pub fn begin(method: &str, route: Option<&str>, scheme: &'static str) -> Option<Self> {
        let instruments = INSTRUMENTS.get()?;
        let request = Self {
            method: semconv::known_method(method).unwrap_or("_OTHER"),
            scheme,
            route: route.map(str::to_owned),
            begun: Instant::now(),
            status: None,
        };
        instruments.active.add(1, &request.active_labels());
        Some(request)
    }

    /// Its answer has begun. Without one it counts as cancelled.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }

    fn active_labels(&self) -> [KeyValue; 2] {
        [
            KeyValue::new(semconv::HTTP_REQUEST_METHOD, self.method),
            KeyValue::new(semconv::URL_SCHEME, self.scheme),
        ]
    }

    fn labels(&mut self) -> Vec<KeyValue> {
        let mut labels = self.active_labels().to_vec();
        if let Some(route) = self.route.take() {
            labels.push(KeyValue::new(semconv::HTTP_ROUTE, route));
        }
        if let Some(status) = self.status {
            labels.push(KeyValue::new(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status)));
        }
        match self.status {
            None => labels.push(KeyValue::new(semconv::ERROR_TYPE, "cancelled")),
            Some(status @ 500..) => {
                labels.push(KeyValue::new(semconv::ERROR_TYPE, status.to_string()));
            }
            Some(_) => {}
        }
        labels
    }
}

impl Drop for ServedRequest {
    fn drop(&mut self) {
        let Some(instruments) = INSTRUMENTS.get() else { return };
        instruments.active.add(-1, &self.active_labels());
        let took = self.begun.elapsed().as_secs_f64();
        instruments.duration.record(took, &self.labels());
    }
}
