//! What the environment says about telemetry. Names and meanings are those of the OpenTelemetry
//! specification where it has one; what the SDK and the exporter of metrics read by themselves (limits,
//! and for metrics endpoint, headers and timeout) is only checked here.

use std::time::Duration;

use super::TelemetryError;
use super::exporters::{self, Destination, Lookup};
use super::tally::Signal;

/// Where log lines go besides the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOutput {
    /// Of a command, whose standard output is its result.
    Stderr,
    /// Of a server, which has no other.
    Stdout,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text where they go to a terminal, JSON lines otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// How it is decided whether a trace is recorded, where a request comes in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// Every trace.
    Always,
    /// None.
    Never,
    /// This share of all traces, chosen by trace id: 0.0 to 1.0.
    Ratio(f64),
}

/// Which signals are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// Spans.
    pub traces: bool,
    /// Metrics.
    pub metrics: bool,
    /// Log records.
    pub logs: bool,
}

impl Signals {
    /// Those that are.
    fn all(self) -> impl Iterator<Item = Signal> {
        let each = [
            (Signal::Traces, self.traces),
            (Signal::Metrics, self.metrics),
            (Signal::Logs, self.logs),
        ];
        each.into_iter().filter(|(_, is_exported)| *is_exported).map(|(signal, _)| signal)
    }
}

/// Everything that [`super::init`] needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    /// What is exported; nothing when telemetry is off.
    pub export: Signals,
    /// Where to, of each signal that is exported.
    pub destinations: Vec<Destination>,
    /// Whether the rows of `event_logs` are log records too: `SKEIN_EXPORT_EVENT_LOGS`, on unless it says `false`.
    pub event_logs: bool,
    /// What about the environment can hardly be meant, to be logged.
    pub doubts: Vec<String>,
    /// Decides about traces. `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    pub sampling: Sampling,
    /// Whether the decision of a caller that sent one holds against that: what `parentbased_` says.
    pub follows_caller: bool,
    /// How log lines look. `SKEIN_LOG_FORMAT`: `auto`, `json` or `text`.
    pub log_format: LogFormat,
    /// Where they go.
    pub log_output: LogOutput,
    /// Which log lines are written: `RUST_LOG`, in its usual syntax.
    pub log_filter: String,
    /// Which `tracing` spans of libraries become spans, in the syntax of `RUST_LOG`:
    /// `SKEIN_TRACE_LIBRARIES`. Empty for none.
    pub trace_libraries: String,
    /// `service.name`: `OTEL_SERVICE_NAME`.
    pub service_name: Option<String>,
    /// Further attributes of the process: `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource_attributes: Vec<(String, String)>,
    /// `service.version`: `OTEL_SERVICE_VERSION`, else that of this crate.
    pub service_version: Option<String>,
    /// Spans that wait for the exporter at most; further ones are lost. `OTEL_BSP_MAX_QUEUE_SIZE`.
    pub span_queue: usize,
    /// Milliseconds between exports. `OTEL_BSP_SCHEDULE_DELAY`.
    pub span_delay_ms: u64,
    /// Spans of one request at most. `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
    pub span_batch: usize,
    /// Log records that wait for the exporter at most; further ones are lost. `OTEL_BLRP_MAX_QUEUE_SIZE`.
    pub log_queue: usize,
    /// Milliseconds between exports of log records. `OTEL_BLRP_SCHEDULE_DELAY`.
    pub log_delay_ms: u64,
    /// Log records of one request at most. `OTEL_BLRP_MAX_EXPORT_BATCH_SIZE`.
    pub log_batch: usize,
    /// The time between two exports of metrics. `OTEL_METRIC_EXPORT_INTERVAL`, in milliseconds.
    pub metric_interval: Duration,
    /// Whether metrics are kept for whoever asks this process for them, also where none are exported.
    pub scrape: bool,
}

/// Spans that wait for the exporter. A worker that ends 1,000 nodes a second can bridge 10 s without a
/// collector, at about 700 bytes each.
const SPAN_QUEUE: usize = 16_384;
/// Milliseconds between exports, of spans and of log records. A killed process loses what it has not exported, so it is
/// short.
const DELAY_MS: u64 = 1_000;
/// Milliseconds between exports at least. With none, the exporter's thread would never rest.
const DELAY_MS_MIN: u64 = 10;
/// And at most: an hour.
const DELAY_MS_MAX: u64 = 3_600_000;
/// Spans, and log records, of one request. A request costs both sides as much as a hundred spans do; the specification's
/// 512 would be a fifth of it. Their bytes are bounded besides.
const BATCH: usize = 2_048;
/// Log records that wait for the exporter. The rows of `event_logs` are among them, of which a node has two or three: as many
/// as spans.
const LOG_QUEUE: usize = 16_384;
/// Spans, and log records, that an operator may let wait: a gigabyte of them.
const QUEUE_MAX: usize = 1 << 20;

/// Milliseconds between two exports of metrics where nobody says: panels have a point a minute.
const METRIC_INTERVAL_MS: u64 = 60_000;
/// And at most: an hour, beyond which no alert means anything.
const METRIC_INTERVAL_MS_MAX: u64 = 3_600_000;

/// The log filter where `RUST_LOG` says nothing: connections of libraries are not news. The AMQP client calls a
/// goodbye in good order an error; what really goes wrong with a connection, its supervisor logs.
const LOG_FILTER: &str = "info,lapin=off,sqlx=warn,hyper=warn,reqwest=warn,rustls=warn";

const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const SIGNALS: [&str; 3] = ["TRACES", "METRICS", "LOGS"];

impl TelemetryConfig {
    /// Reads the environment of the process.
    ///
    /// # Errors
    /// When a variable asks for something that does not exist or is not supported.
    pub fn from_env() -> Result<Self, TelemetryError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Where a signal goes, if it is exported.
    #[must_use]
    pub fn destination(&self, signal: Signal) -> Option<&Destination> {
        self.destinations.iter().find(|destination| destination.signal == signal)
    }

    /// As [`Self::from_env`], from any source of variables. An empty variable counts as unset.
    pub(super) fn from_lookup(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, TelemetryError> {
        let var = |name: &str| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let export = signals(&var)?;
        let mut resource_attributes = Vec::new();
        if export != Signals::default() {
            check_exporter(&var)?;
            exporters::check_propagators(&var)?;
            if let Some(list) = var(RESOURCE_ATTRIBUTES) {
                resource_attributes = exporters::attributes(RESOURCE_ATTRIBUTES, &list)?;
            }
        }
        // For all but headers, an empty variable is none. Of a signal's own headers it says that there are none, as the
        // exporter of metrics has it: whoever wrote it would not want a key to be sent.
        let has_no_headers = |signal: Signal| {
            let name = signal.as_str().to_ascii_uppercase();
            let own = lookup(&format!("OTEL_EXPORTER_OTLP_{name}_HEADERS"));
            own.is_some_and(|list| list.trim().is_empty())
        };
        let destinations = export.all().map(|signal| {
            let destination = Destination::of(signal, &var)?;
            Ok(if has_no_headers(signal) { destination.without_headers() } else { destination })
        });
        let destinations = destinations.collect::<Result<Vec<_>, _>>()?;
        let (sampling, follows_caller) = sampling(&var)?;
        Ok(Self {
            doubts: destinations.iter().filter_map(Destination::doubt).collect(),
            export,
            destinations,
            event_logs: flag(&var, "SKEIN_EXPORT_EVENT_LOGS")?.unwrap_or(true),
            sampling,
            follows_caller,
            log_format: log_format(&var)?,
            log_output: LogOutput::Stderr,
            log_filter: var("RUST_LOG").unwrap_or_else(|| LOG_FILTER.to_owned()),
            trace_libraries: var("SKEIN_TRACE_LIBRARIES").unwrap_or_default(),
            service_name: var("OTEL_SERVICE_NAME"),
            resource_attributes,
            service_version: var("OTEL_SERVICE_VERSION"),
            span_queue: queue(&var, "OTEL_BSP_MAX_QUEUE_SIZE", SPAN_QUEUE)?,
            span_delay_ms: delay_ms(&var, "OTEL_BSP_SCHEDULE_DELAY")?,
            span_batch: queue(&var, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH)?,
            log_queue: queue(&var, "OTEL_BLRP_MAX_QUEUE_SIZE", LOG_QUEUE)?,
            log_delay_ms: delay_ms(&var, "OTEL_BLRP_SCHEDULE_DELAY")?,
            log_batch: queue(&var, "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", BATCH)?,
            metric_interval: metric_interval(&var)?,
            scrape: false,
        })
    }

    /// The same, with metrics for whoever asks this process for them, or without.
    #[must_use]
    pub fn with_scrape(self, scrape: bool) -> Self {
        Self { scrape, ..self }
    }
}

/// A signal is exported when telemetry is on, it has somewhere to go, and its exporter is not `none`.
/// With `OTEL_ENABLED=true` and no endpoint at all, everything goes to the exporter's default.
fn signals(var: &Lookup<'_>) -> Result<Signals, TelemetryError> {
    // The specification has anything else count as false.
    if var("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(Signals::default());
    }
    let own = SIGNALS.map(|signal| var(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")).is_some());
    let any = own.contains(&true) || var(ENDPOINT).is_some();
    let on = flag(var, "OTEL_ENABLED")?.unwrap_or(any);
    let everywhere = var(ENDPOINT).is_some() || !any;
    let [traces, metrics, logs] = [0, 1, 2].map(|index| {
        let exporter = var(&format!("OTEL_{}_EXPORTER", SIGNALS[index]));
        on && (everywhere || own[index]) && exporter.as_deref() != Some("none")
    });
    Ok(Signals { traces, metrics, logs })
}

/// Refuses what the exporter would ignore or misread.
fn check_exporter(var: &Lookup<'_>) -> Result<(), TelemetryError> {
    let general = |what: &str| format!("OTEL_EXPORTER_OTLP_{what}");
    let names = |what: &'static str| {
        let own = SIGNALS.map(|signal| general(&format!("{signal}_{what}")));
        std::iter::once(general(what)).chain(own)
    };
    for name in names("PROTOCOL") {
        match var(&name).as_deref() {
            None | Some("http/protobuf") => {}
            Some("grpc") => return Err(TelemetryError::GrpcUnsupported { name }),
            Some(value) => return Err(TelemetryError::invalid(&name, value, "http/protobuf")),
        }
    }
    for what in ["CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"] {
        if let Some(name) = names(what).find(|name| var(name).is_some()) {
            let instead = "no value: the certificates of the system are used";
            return Err(TelemetryError::invalid(&name, "a file", instead));
        }
    }
    for name in names("HEADERS") {
        if let Some(list) = var(&name) {
            exporters::check_headers(&name, &list)?;
        }
    }
    for signal in SIGNALS {
        let name = format!("OTEL_{signal}_EXPORTER");
        if let Some(value) = var(&name).filter(|value| value != "otlp" && value != "none") {
            return Err(TelemetryError::invalid(&name, &value, "otlp or none"));
        }
    }
    for name in names("COMPRESSION") {
        match var(&name).as_deref() {
            None | Some("gzip" | "none") => {}
            Some(value) => return Err(TelemetryError::invalid(&name, value, "gzip or none")),
        }
    }
    Ok(())
}

/// Of anything that would never come, an hour is enough.
fn delay_ms(var: &Lookup<'_>, name: &str) -> Result<u64, TelemetryError> {
    Ok(number(var, name, DELAY_MS)?.clamp(DELAY_MS_MIN, DELAY_MS_MAX))
}

/// A number of items.
fn queue(var: &Lookup<'_>, name: &str, default: usize) -> Result<usize, TelemetryError> {
    let items = number(var, name, default)?;
    if (1..=QUEUE_MAX).contains(&items) {
        return Ok(items);
    }
    Err(TelemetryError::invalid(name, &items.to_string(), "1 to 1048576"))
}

fn metric_interval(var: &Lookup<'_>) -> Result<Duration, TelemetryError> {
    const NAME: &str = "OTEL_METRIC_EXPORT_INTERVAL";
    let millis = number(var, NAME, METRIC_INTERVAL_MS)?;
    if (1..=METRIC_INTERVAL_MS_MAX).contains(&millis) {
        return Ok(Duration::from_millis(millis));
    }
    Err(TelemetryError::invalid(NAME, &millis.to_string(), "1 to 3600000 milliseconds"))
}

/// How it is decided, and whether a caller's decision holds.
fn sampling(var: &Lookup<'_>) -> Result<(Sampling, bool), TelemetryError> {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some(sampler) = var(NAME) else { return Ok((Sampling::Always, true)) };
    let of_roots = sampler.strip_prefix("parentbased_");
    let sampling = match of_roots.unwrap_or(&sampler) {
        "always_on" => Sampling::Always,
        "always_off" => Sampling::Never,
        "traceidratio" => {
            let ratio = number(var, ARGUMENT, 1.0)?;
            if !(0.0..=1.0).contains(&ratio) {
                return Err(TelemetryError::invalid(ARGUMENT, &ratio.to_string(), "0.0 to 1.0"));
            }
            Sampling::Ratio(ratio)
        }
        _ => {
            return Err(TelemetryError::invalid(
                NAME,
                &sampler,
                "always_on, always_off or traceidratio, with or without parentbased_",
            ));
        }
    };
    Ok((sampling, of_roots.is_some()))
}

fn log_format(var: &Lookup<'_>) -> Result<LogFormat, TelemetryError> {
    const NAME: &str = "SKEIN_LOG_FORMAT";
    match var(NAME).as_deref() {
        None | Some("auto") => Ok(LogFormat::Auto),
        Some("json") => Ok(LogFormat::Json),
        Some("text") => Ok(LogFormat::Text),
        Some(value) => Err(TelemetryError::invalid(NAME, value, "auto, json or text")),
    }
}

fn flag(var: &Lookup<'_>, name: &str) -> Result<Option<bool>, TelemetryError> {
    match var(name).map(|value| value.to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(value) => Err(TelemetryError::invalid(name, value, "true or false")),
    }
}

fn number<T: std::str::FromStr>(
    var: &Lookup<'_>,
    name: &str,
    default: T,
) -> Result<T, TelemetryError> {
    let Some(value) = var(name) else { return Ok(default) };
    value.parse().map_err(|_| TelemetryError::invalid(name, &value, "a number"))
}

#[cfg(test)]
mod tests;
