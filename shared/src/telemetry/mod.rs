//! Spans, logs and their export. The only place (besides the wiring in `main.rs`) that names an
//! exporter or a provider.
//!
//! Telemetry may be slow, down or off: the work never waits for it and never fails by it. A span is
//! described when it has ended ([`spans`]) and handed over in one call ([`emit`]); its ids were
//! reserved before, so that a crash loses at most the spans of the last second, and never tears a
//! trace apart.

mod brief;
mod clock;
mod config;
mod database;
mod export;
mod exporters;
mod failing;
mod identity;
mod logs;
pub mod metrics;
mod otlp;
mod otlp_json;
mod pipeline;
pub mod probe;
mod prometheus;
pub mod redact;
mod remedy;
mod resource;
mod sampler;
mod scrape;
pub mod semconv;
mod server;
mod span;
pub mod spans;
mod statement;
pub mod tally;
mod tls;
mod transport;

pub use clock::{ClockQuestion, database_time};
pub use config::{LogFormat, LogOutput, Sampling, Signals, TelemetryConfig};
pub use database::Running;
pub use exporters::Destination;
pub use logs::RUN_LOG;
pub use otlp_json::{ServiceNames, resource_spans};
pub use pipeline::{SHUTDOWN_MAX, Telemetry, emit, event_log_sink, init, is_exported};
pub use remedy::remedy;
pub use scrape::{Scrape, ScrapeFailed};
pub use server::{ArrivedRequest, ServerError, ServerRequest, ServerSpan};
pub use span::{
    Clock, FinishedSpan, LINKS_MAX, current, in_context, new_span_id, new_trace_id, within,
};
pub use statement::{Database, DatabaseError, Statement};
pub use tls::install_crypto_provider;

/// Why telemetry could not be set up. The process should not start: its operator asked for something
/// that will not happen. A collector that does not answer is no such error.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// An environment variable has a value that is not understood.
    #[error("{name} is {value:?}, expected {expected}")]
    Invalid {
        /// The variable.
        name: String,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
    /// OTLP over gRPC was asked for.
    #[error("{name} is \"grpc\", which is not supported yet: use \"http/protobuf\" (port 4318)")]
    GrpcUnsupported {
        /// The variable.
        name: String,
    },
    /// An exporter could not be built, as its endpoint is no URL or there is no thread for it.
    #[error("cannot build the exporter of {signal}")]
    Exporter {
        /// `traces`, `metrics` or `logs`.
        signal: &'static str,
        /// What the exporter says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client of an exporter could not be built.
    #[error("cannot build the HTTP client for {signal}: {reason}")]
    Client {
        /// `traces`, `metrics` or `logs`.
        signal: &'static str,
        /// What was in the way.
        reason: String,
    },
    /// An environment variable holds a list that cannot be read. It may hold keys, so nothing of it is shown.
    #[error("{name} is malformed: {problem}")]
    Malformed {
        /// The variable.
        name: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// Providers and the log subscriber belong to the process, and there can be only one of each.
    #[error("telemetry was initialised before in this process")]
    AlreadyInitialised,
}

impl TelemetryError {
    fn invalid(name: &str, value: &str, expected: &'static str) -> Self {
        Self::Invalid { name: name.to_owned(), value: value.to_owned(), expected }
    }
}
