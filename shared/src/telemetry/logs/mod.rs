//! The log of the process: lines for whoever watches it, records to the collector. Both carry the ids and the identity of
//! the work that was going on. To the collector also goes the log of the runs.

mod event_logs;
mod line;
mod noise;

use std::io::IsTerminal as _;
use std::sync::Arc;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracer;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, FilterFn, Targets, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::event_logs::EventLogRecords;
use self::line::Lines;
use super::TelemetryError;
use super::config::{LogFormat, LogOutput, TelemetryConfig};
use super::otlp::Producer;
use crate::domain::event_logs::EventLogSink;

/// The target of lines about what the log of a run tells of as well. Whoever watches a process wants to see them; where
/// the rows of that log are exported, they are not exported besides.
pub const RUN_LOG: &str = "skein_shared::runs";

/// Installs the subscriber of the process.
pub(super) fn install(
    config: &TelemetryConfig,
    logger: Option<&SdkLoggerProvider>,
    tracer: &SdkTracer,
) -> Result<(), TelemetryError> {
    let (writer, is_terminal) = match config.log_output {
        LogOutput::Stderr => (BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal()),
        LogOutput::Stdout => (BoxMakeWriter::new(std::io::stdout), std::io::stdout().is_terminal()),
    };
    let json = match config.log_format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !is_terminal,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(!json && is_terminal)
        .event_format(Lines::new(json))
        .with_filter(env_filter(config)?.and(without_frames()));
    let records = match logger {
        Some(logger) => {
            let filter = env_filter(config)?.and(not_of_the_exporter()).and(without_frames());
            let filter = filter.and(told_once(config.event_logs));
            Some(OpenTelemetryTracingBridge::new(logger).with_filter(filter))
        }
        None => None,
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(records)
        .with(libraries(config, tracer)?)
        .try_init()
        .map_err(|_| TelemetryError::AlreadyInitialised)
}

/// What makes log records of the rows of `event_logs`.
pub(super) fn event_log_records(to: Producer) -> Arc<dyn EventLogSink> {
    Arc::new(EventLogRecords::new(to))
}

fn env_filter(config: &TelemetryConfig) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(&config.log_filter).map_err(|_| {
        TelemetryError::invalid(
            "RUST_LOG",
            &config.log_filter,
            "directives as info,skein_api=debug",
        )
    })
}

/// The crates that send telemetry away. A record about sending a record would be sent as well, and so
/// on for ever; the SDK suppresses that only in its own threads, not in those of its HTTP client.
const EXPORTER: &[&str] =
    &["opentelemetry", "reqwest", "hyper", "h2", "rustls", "tower", "want", "mio"];

fn of_the_exporter(target: &str) -> bool {
    EXPORTER.iter().any(|name| target.starts_with(name))
}

fn foreign(event: &Metadata<'_>) -> bool {
    !of_the_exporter(event.target())
}

fn not_of_the_exporter() -> FilterFn {
    // Without the hint, the levels that the other filter switches off would be looked at every time.
    FilterFn::new(foreign as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::TRACE)
}

/// Leaves out what rows of `event_logs` say already, if those are exported.
fn told_once(event_logs: bool) -> FilterFn {
    let is_news: fn(&Metadata<'_>) -> bool = if event_logs { no_run_log } else { any_log };
    FilterFn::new(is_news).with_max_level_hint(LevelFilter::TRACE)
}

fn no_run_log(event: &Metadata<'_>) -> bool {
    event.target() != RUN_LOG
}

fn any_log(_: &Metadata<'_>) -> bool {
    true
}

/// Leaves out what the AMQP client says at its lowest level: the frames that it sends, and in one of them the password,
/// byte by byte.
fn without_frames() -> FilterFn {
    FilterFn::new(no_frame as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::TRACE)
}

fn no_frame(event: &Metadata<'_>) -> bool {
    *event.level() != Level::TRACE || !event.target().starts_with("lapin")
}

/// Turns the `tracing` spans of libraries into spans. Our own crates have none: their spans are
/// described once they have ended.
fn libraries<S>(
    config: &TelemetryConfig,
    tracer: &SdkTracer,
) -> Result<Option<impl Layer<S>>, TelemetryError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if config.trace_libraries.is_empty() {
        return Ok(None);
    }
    let targets: Targets = config.trace_libraries.parse().map_err(|_| {
        let value = &config.trace_libraries;
        TelemetryError::invalid("SKEIN_TRACE_LIBRARIES", value, "directives as h2=debug")
    })?;
    let spans =
        filter_fn(|span| span.is_span() && !span.target().starts_with("skein") && foreign(span));
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer.clone())
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(targets.and(spans));
    Ok(Some(layer))
}
