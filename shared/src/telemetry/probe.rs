//! One export of each signal, by the exporters and settings of every process, for whoever wants to know what a collector
//! makes of it.
//!
//! What the SDK says of a failed export is not enough for that. So all is sent by a client that takes note of what it
//! is asked to send where, and of the answer.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{SpanKind, TraceFlags};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::runtime::Handle;

use super::config::TelemetryConfig;
use super::exporters::Destination;
use super::failing::{cause, shown};
use super::otlp::{self, Item, Requests};
use super::pipeline::{SCOPE, scope};
use super::span::{FinishedSpan, new_span_id, new_trace_id, to_span_data};
use super::tally::Signal;
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
    destinations: Vec<Destination>,
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
            destinations: config.destinations.clone(),
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
        let now = SystemTime::now();
        let span =
            FinishedSpan::new(semconv::SPAN_DOCTOR, SpanKind::Internal, self.context, (now, now));
        let mut item = Item::default();
        item.set_span(&to_span_data(span, scope()));
        self.sent(Signal::Traces, &item).await
    }

    /// Exports a log record, which belongs to the span.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub async fn logs(&self) -> Result<Probe, TelemetryError> {
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
        let mut item = Item::default();
        item.set_log(&record, &scope());
        self.sent(Signal::Logs, &item).await
    }

    /// Exports a point of a metric. Starts a thread for it, which ends within the time of the answer.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub async fn metrics(&self) -> Result<Probe, TelemetryError> {
        let client = self.client();
        let exporter = MetricExporter::builder()
            .with_http()
            .with_http_client(Bridged { client: client.clone(), runtime: Handle::current() })
            .with_retry_policy(RetryPolicy::disabled())
            .with_timeout(self.answer_max)
            .build();
        let exporter = exporter.map_err(|error| TelemetryError::Exporter {
            signal: "metrics",
            source: error.into(),
        })?;
        let provider = SdkMeterProvider::builder()
            .with_resource(self.resource.clone())
            .with_periodic_exporter(exporter)
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

    /// Sends one item to where its signal goes, once. Of one that is not exported nothing is sent.
    async fn sent(&self, signal: Signal, item: &Item) -> Result<Probe, TelemetryError> {
        let client = self.client();
        if let Some(destination) = self.destinations.iter().find(|it| it.signal == signal) {
            let requests = Requests::new(destination)?;
            let body = requests.body(&mut otlp::single(&self.resource, item));
            let refuse = |error: std::io::Error| TelemetryError::Exporter {
                signal: signal.as_str(),
                source: error.into(),
            };
            // How it ended, the client has seen in more detail.
            let _ended = client.send_bytes(requests.request(body.map_err(refuse)?)).await;
        }
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
                rejected: otlp::rejected(response)
                    .map(|(items, why)| format!("{items} rejected: {why}")),
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

/// The same client for the thread of a metric reader, which knows no runtime, and may outlive the one that it needs.
#[derive(Debug)]
struct Bridged {
    client: Watching,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Bridged {
    /// Blocks where it is first polled, and is done then: with the answer, or with the runtime.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (done, answer) = mpsc::sync_channel(1);
        let client = self.client.clone();
        self.runtime.spawn(async move { done.send(client.send_bytes(request).await) });
        answer.recv().unwrap_or_else(|_| Err("the program has ended".into()))
    }
}
