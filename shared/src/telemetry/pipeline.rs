//! The providers of the process: set up once at the start, shut down once at the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_otlp::{MetricExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor};

use super::config::{Sampling, TelemetryConfig};
use super::export::Watched;
use super::exporters::Destination;
use super::identity::{IdentityLogs, IdentitySpans};
use super::otlp::{Batching, Producer, Queued};
use super::sampler::HeadSampler;
use super::scrape::Scrape;
use super::span::{FinishedSpan, to_span_data};
use super::tally::Signal;
use super::transport::Transport;
use super::{TelemetryError, logs, metrics, resource, tls};
use crate::domain::event_logs::EventLogSink;
use crate::domain::trace::TraceContext;

/// The longest that [`Telemetry::shutdown`] takes, whatever the collector does. Short against the
/// 30 s that an orchestrator grants a whole process.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// What the spans may take of it. They come first, and logs still get out after a collector that hangs.
const SHUTDOWN_TRACES: Duration = Duration::from_secs(3);
/// What the metrics may take.
const SHUTDOWN_METRICS: Duration = Duration::from_secs(1);

/// The instrumentation scope of our own spans.
pub(super) const SCOPE: &str = "skein";

/// The same with the version of the program.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}

static PIPELINE: OnceLock<Pipeline> = OnceLock::new();

struct Pipeline {
    tracer: SdkTracer,
    sampling: Sampling,
    spans: Option<Arc<SpanExport>>,
    event_logs: Option<Arc<dyn EventLogSink>>,
}

/// The tracer, for the one span that is an object. `None` before [`init`].
pub(super) fn tracer() -> Option<&'static SdkTracer> {
    PIPELINE.get().map(|pipeline| &pipeline.tracer)
}

/// Where finished spans go. `None` while nothing is exported.
fn span_export() -> Option<&'static SpanExport> {
    PIPELINE.get()?.spans.as_deref().filter(|export| !export.closed.load(Ordering::Relaxed))
}

/// Hands a span to the exporter, encoded. Never waits for it, never fails, and does nothing when the export is off
/// or the span's trace is not sampled. With the queue full the span is lost, and counted.
pub fn emit(span: impl Into<FinishedSpan>) {
    if let Some(export) = span_export() {
        let span = span.into();
        if span.context.is_sampled() {
            export.export(span);
        }
    }
}

/// Whether a span of this context would be exported, for what it costs something to find out.
#[must_use]
pub fn is_exported(context: TraceContext) -> bool {
    context.is_sampled() && span_export().is_some()
}

/// Whether spans leave the process at all.
pub(super) fn exports_spans() -> bool {
    span_export().is_some()
}

/// Decides about a trace of this process's own, in which no caller has a part.
pub(super) fn samples_own_trace() -> bool {
    match PIPELINE.get().map(|pipeline| pipeline.sampling) {
        None | Some(Sampling::Never) => false,
        Some(Sampling::Always) => true,
        Some(Sampling::Ratio(ratio)) => fastrand::f64() < ratio,
    }
}

/// Whom a store tells of the rows that it writes to `event_logs`, so that they leave as log records. `None` where no
/// logs are exported, or not those, and before [`init`].
#[must_use]
pub fn event_log_sink() -> Option<Arc<dyn EventLogSink>> {
    PIPELINE.get()?.event_logs.clone()
}

/// The one processor of the process: fed by [`emit`] and by the SDK's own spans.
#[derive(Debug)]
struct SpanExport {
    processor: IdentitySpans<Queued>,
    scope: InstrumentationScope,
    /// Set by the shutdown. Spans after it are dropped, without a warning for each.
    closed: AtomicBool,
}

impl SpanExport {
    fn new(
        config: &TelemetryConfig,
        destination: &Destination,
        resource: &Resource,
    ) -> Result<Self, TelemetryError> {
        let batching = Batching {
            queue: config.span_queue,
            batch: config.span_batch,
            delay: Duration::from_millis(config.span_delay_ms),
        };
        Ok(Self {
            processor: IdentitySpans { next: Queued::start(batching, destination, resource)? },
            scope: scope(),
            closed: AtomicBool::new(false),
        })
    }

    fn export(&self, span: FinishedSpan) {
        self.processor.on_end(to_span_data(span, self.scope.clone()));
    }
}

/// The provider's share of the processor. The resource was set before it was shared.
#[derive(Debug)]
struct Shared(Arc<SpanExport>);

impl SpanProcessor for Shared {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !self.0.closed.load(Ordering::Relaxed) {
            self.0.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.closed.store(true, Ordering::Relaxed);
        self.0.processor.shutdown_with_timeout(timeout)
    }
}

/// The telemetry of the process. Keep it until the end, and end with [`Self::shutdown`]: what is queued
/// when the process exits without it is lost.
#[derive(Debug)]
#[must_use = "what is queued is lost without a shutdown"]
pub struct Telemetry {
    tracer: SdkTracerProvider,
    meter: Option<SdkMeterProvider>,
    logger: Option<SdkLoggerProvider>,
    scrape: Option<Scrape>,
}

/// Sets up traces, metrics, logs and the log output of the process. `service` is the `service.name`
/// where the environment gives none. Without an exporter there are still ids, sampling decisions, and
/// log lines that carry both.
///
/// May be called on any thread, in or out of an async runtime. Starts one thread for each signal
/// that is exported. Does not connect: a collector may come later.
///
/// # Errors
/// When an exporter cannot be built, a log filter cannot be read, or the process has telemetry already.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    tls::install_crypto_provider();
    let resource = resource::resource(service, config);
    let to = |signal| config.destination(signal);
    let scrape = config.scrape.then(Scrape::new);
    let meter = meter(config, &resource, scrape.as_ref())?;
    let logs = to(Signal::Logs).map(|to| logger(config, to, &resource)).transpose()?;
    let (logger, log_queue) = logs.unzip();
    let spans = to(Signal::Traces).map(|to| SpanExport::new(config, to, &resource)).transpose()?;
    let spans = spans.map(Arc::new);
    let mut builder =
        SdkTracerProvider::builder().with_resource(resource).with_sampler(HeadSampler::of(config));
    if let Some(spans) = &spans {
        builder = builder.with_span_processor(Shared(Arc::clone(spans)));
    }
    let provider = builder.build();
    let tracer = provider.tracer_with_scope(scope());
    logs::install(config, logger.as_ref(), &tracer)?;
    let sampling = config.sampling;
    let event_logs = log_queue.filter(|_| config.event_logs).map(logs::event_log_records);
    let pipeline = Pipeline { tracer, sampling, spans, event_logs };
    PIPELINE.set(pipeline).map_err(|_| TelemetryError::AlreadyInitialised)?;
    if let Some(meter) = &meter {
        metrics::install(&meter.meter_with_scope(scope()), config.metric_interval);
    }
    if !config.destinations.is_empty() {
        let url = |signal| to(signal).map(|destination| destination.url.as_str());
        let [traces, metrics, logs] = [Signal::Traces, Signal::Metrics, Signal::Logs].map(url);
        tracing::info!(traces, metrics, logs, "telemetry is exported");
    }
    for doubt in &config.doubts {
        tracing::warn!("{doubt}");
    }
    Ok(Telemetry { tracer: provider, meter, logger, scrape })
}

impl Telemetry {
    /// The metrics of the process, if [`TelemetryConfig::scrape`] wants them to be kept.
    #[must_use]
    pub fn scrape(&self) -> Option<Scrape> {
        self.scrape.clone()
    }

    /// Exports what is queued and ends the exporters' threads. Takes at most [`SHUTDOWN_MAX`]; with a
    /// collector that does not answer in time, what is queued is lost. Spans that are emitted later
    /// are dropped.
    ///
    /// The SDK's calls block, so they run in a thread of their own. It is not one of the runtime's,
    /// because the runtime would wait for it at its end, without a bound.
    pub async fn shutdown(self) {
        let (done, finished) = tokio::sync::oneshot::channel();
        let closer = std::thread::Builder::new().name("telemetry-shutdown".to_owned());
        let spawned = closer.spawn(move || {
            self.close();
            // Nobody listens any more once the bound has passed.
            let _ = done.send(());
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "telemetry is not flushed: no thread for its shutdown");
            return;
        }
        if tokio::time::timeout(SHUTDOWN_MAX, finished).await.is_err() {
            tracing::warn!("telemetry did not shut down in time: what was queued is lost");
        }
    }

    /// Logs go last, so that what the other two have to say still gets out. The SDK reports failures
    /// in its own log events.
    fn close(self) {
        let deadline = Instant::now() + SHUTDOWN_MAX;
        let _ = self.tracer.shutdown_with_timeout(SHUTDOWN_TRACES);
        if let Some(meter) = self.meter {
            // The SDK's own bound is not kept (0.33): it waits for an export that is under way.
            let (done, finished) = mpsc::channel();
            let closer = std::thread::Builder::new().name("metrics-shutdown".to_owned());
            // Without a thread the channel closes at once, and the metrics of the last minute are lost.
            let _ = closer.spawn(move || done.send(meter.shutdown()));
            let _ = finished.recv_timeout(SHUTDOWN_METRICS);
        }
        if let Some(logger) = self.logger {
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = logger.shutdown_with_timeout(left);
        }
    }
}

/// What makes log records of what the program says, and the way to where they go.
fn logger(
    config: &TelemetryConfig,
    destination: &Destination,
    resource: &Resource,
) -> Result<(SdkLoggerProvider, Producer), TelemetryError> {
    let batching = Batching {
        queue: config.log_queue,
        batch: config.log_batch,
        delay: Duration::from_millis(config.log_delay_ms),
    };
    let next = Queued::start(batching, destination, resource)?;
    let producer = next.producer();
    let provider = SdkLoggerProvider::builder()
        .with_resource(resource.clone())
        .with_log_processor(IdentityLogs { next, scope: scope() })
        .build();
    Ok((provider, producer))
}

/// With nobody to read metrics there are none, and what records them does nothing.
fn meter(
    config: &TelemetryConfig,
    resource: &Resource,
    scrape: Option<&Scrape>,
) -> Result<Option<SdkMeterProvider>, TelemetryError> {
    let destination = config.destination(Signal::Metrics);
    if destination.is_none() && scrape.is_none() {
        return Ok(None);
    }
    let mut builder = SdkMeterProvider::builder().with_resource(resource.clone());
    if let Some(destination) = destination {
        let exporter = MetricExporter::builder()
            .with_http()
            .with_http_client(Transport::new(destination)?)
            .build()
            .map_err(|error| TelemetryError::Exporter {
                signal: "metrics",
                source: error.into(),
            })?;
        let reader =
            PeriodicReader::builder(Watched(exporter)).with_interval(config.metric_interval);
        builder = builder.with_reader(reader.build());
    }
    if let Some(scrape) = scrape {
        builder = builder.with_reader(scrape.reader());
    }
    Ok(Some(builder.build()))
}
