//! One export of each signal, by the exporters and settings of every process, for whoever wants to know what a collector
//! makes of it.
//!
//! What the SDK says of a failed export is not enough for that. So the exporter gets a client that takes note of what it
//! is asked to send where, and of the answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{SpanKind, TraceFlags};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    LogExporter, MetricExporter, RetryPolicy, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::SpanExporter as _;
use prost::Message as _;
use tokio::runtime::Handle;

use super::config::TelemetryConfig;
use super::failing::{cause, shown};
use super::pipeline::{SCOPE, scope};
use super::span::{FinishedSpan, new_span_id, new_trace_id, to_span_data};
use super::{TelemetryError, resource, semconv};
use crate::domain::trace::{SAMPLED, TraceContext, TraceId};

/// What the log record says.
const LOG_BODY: &str = "`skein doctor` sends this to find out whether logs arrive";

/// What came of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Where it went, without what is secret in it.
    pub url: String,
    /// The answer, or the text of why there is none, with its causes.
    pub answer: Result<Answer, String>,
}

/// An answer of a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// Its header `Date`.
    pub date: Option<String>,
    /// Why a part of it was not taken, although the status says yes.
    pub rejected: Option<String>,
}

/// Sends one span, one log record and one point of a metric.
#[derive(Debug)]
pub struct Prober {
    http: reqwest::Client,
    resource: Resource,
    context: TraceContext,
    answer_max: Duration,
}

impl Prober {
    /// A prober that waits so long for each answer. Its telemetry is that of `service`, unless the environment gives
    /// another name.
    ///
    /// # Errors
    /// The text of why there can be no HTTP client, as without a CA that the system trusts.
    pub fn new(
        service: &'static str,
        config: &TelemetryConfig,
        answer_max: Duration,
    ) -> Result<Self, String> {
        super::install_crypto_provider();
        // As the exporters' own: the headers hold a key, which is for this collector.
        let http = reqwest::Client::builder()
            .timeout(answer_max)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let context = TraceContext { trace: new_trace_id(), span: new_span_id(), flags: SAMPLED };
        Ok(Self {
            http: http.map_err(|error| cause(&error))?,
            resource: resource::resource(service, config),
            context,
            answer_max,
        })
    }

    /// The trace that the span and the log record belong to.
    #[must_use]
    pub fn trace(&self) -> TraceId {
        self.context.trace
    }

    /// Exports a span.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub async fn traces(&self) -> Result<Probe, TelemetryError> {
        let client = self.client();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_retry_policy(RetryPolicy::disabled())
            .with_timeout(self.answer_max)
            .build();
        let mut exporter =
            exporter.map_err(|source| TelemetryError::Exporter { signal: "traces", source })?;
        exporter.set_resource(&self.resource);
        let now = SystemTime::now();
        let span =
            FinishedSpan::new(semconv::SPAN_DOCTOR, SpanKind::Internal, self.context, (now, now));
        // How it ended, the client has seen in more detail.
        let _ended = exporter.export(vec![to_span_data(span, scope())]).await;
        Ok(client.seen())
    }

    /// Exports a log record, which belongs to the span.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub async fn logs(&self) -> Result<Probe, TelemetryError> {
        let client = self.client();
        let exporter = LogExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_retry_policy(RetryPolicy::disabled())
            .with_timeout(self.answer_max)
            .build();
        let mut exporter =
            exporter.map_err(|source| TelemetryError::Exporter { signal: "logs", source })?;
        exporter.set_resource(&self.resource);
        let mut record = SdkLoggerProvider::builder().build().logger(SCOPE).create_log_record();
        let now = SystemTime::now();
        record.set_timestamp(now);
        record.set_observed_timestamp(now);
        record.set_severity_number(Severity::Info);
        record.set_severity_text(Severity::Info.name());
        record.set_body(AnyValue::from(LOG_BODY));
        record.set_trace_context(
            opentelemetry::TraceId::from_bytes(self.context.trace.0),
            opentelemetry::SpanId::from_bytes(self.context.span.0),
            Some(TraceFlags::new(self.context.flags)),
        );
        let _ended = exporter.export(LogBatch::new(&[(&record, &scope())])).await;
        Ok(client.seen())
    }

    /// Exports a point of a metric. Starts a thread for it, which ends within the time of the answer.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub async fn metrics(&self) -> Result<Probe, TelemetryError> {
        let client = self.client();
        let exporter = MetricExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_retry_policy(RetryPolicy::disabled())
            .with_timeout(self.answer_max)
            .build();
        let exporter =
            exporter.map_err(|source| TelemetryError::Exporter { signal: "metrics", source })?;
        let provider = SdkMeterProvider::builder()
            .with_resource(self.resource.clone())
            .with_periodic_exporter(Bridged { exporter, runtime: Handle::current() })
            .build();
        // A metric that there is, with a value that changes no sum: nobody finds a stranger among the metrics.
        let meter = provider.meter(SCOPE);
        let counter = meter.u64_counter(semconv::METRIC_LIVE_LOST);
        counter.with_unit("{event}").build().add(0, &[]);
        let (done, exported) = tokio::sync::oneshot::channel();
        let exporting = std::thread::Builder::new().name("metrics-probe".to_owned());
        // It exports what there is, once, and blocks meanwhile. Without a thread, nothing is seen to be sent.
        let _spawned = exporting.spawn(move || {
            let _ended = provider.shutdown();
            let _listened = done.send(());
        });
        let _ended = tokio::time::timeout(self.answer_max, exported).await;
        Ok(client.seen())
    }

    fn client(&self) -> Watching {
        Watching { http: self.http.clone(), seen: Arc::default() }
    }
}

/// A client that takes note of what it has sent, and of the answer.
#[derive(Debug, Clone)]
struct Watching {
    http: reqwest::Client,
    seen: Arc<Mutex<Option<Probe>>>,
}

impl Watching {
    fn note(&self, probe: Probe) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(probe);
    }

    fn seen(&self) -> Probe {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        seen.unwrap_or_else(|| Probe {
            url: String::new(),
            answer: Err("the exporter has sent nothing".to_owned()),
        })
    }
}

#[async_trait]
impl HttpClient for Watching {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let url = shown(&request.uri().to_string());
        // Until there is an answer: whoever has waited long enough looks at what there is.
        let answer = Err("operation timed out".to_owned());
        self.note(Probe { url: url.clone(), answer });
        let sent = self.http.send_bytes(request).await;
        let answer = match &sent {
            Ok(response) => Ok(Answer {
                status: response.status().as_u16(),
                date: header(response, "date"),
                rejected: rejected(response),
            }),
            Err(error) => Err(cause(&**error)),
        };
        self.note(Probe { url, answer });
        sent
    }
}

fn header(response: &Response<Bytes>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

/// What a collector says of a part that it has not taken. The three signals' answers differ in nothing but names.
fn rejected(response: &Response<Bytes>) -> Option<String> {
    if !response.status().is_success() {
        return None;
    }
    let said = ExportTraceServiceResponse::decode(response.body().clone()).ok()?.partial_success?;
    if said.rejected_spans == 0 && said.error_message.is_empty() {
        return None;
    }
    Some(format!("{} rejected: {}", said.rejected_spans, said.error_message))
}

/// Lets the thread of a metric reader, which knows no runtime, wait for an export that needs one.
struct Bridged {
    exporter: MetricExporter,
    runtime: Handle,
}

impl PushMetricExporter for Bridged {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.runtime.block_on(self.exporter.export(metrics))
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    fn answer(status: u16, rejected_spans: i64, error_message: &str) -> Response<Bytes> {
        let said =
            ExportTracePartialSuccess { rejected_spans, error_message: error_message.to_owned() };
        let body = ExportTraceServiceResponse { partial_success: Some(said) }.encode_to_vec();
        Response::builder().status(status).body(body.into()).unwrap()
    }

    #[test]
    fn what_was_not_taken_is_told() {
        assert_eq!(rejected(&answer(200, 1, "too old")), Some("1 rejected: too old".to_owned()));
        assert_eq!(rejected(&answer(200, 0, "")), None);
        assert_eq!(rejected(&answer(400, 1, "the status says it")), None);
        assert_eq!(rejected(&Response::new(Bytes::new())), None, "nothing to complain of");
        assert_eq!(rejected(&Response::new(Bytes::from_static(b"{}"))), None, "no protobuf");
    }
}
