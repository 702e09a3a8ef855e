//! A collector for tests: takes OTLP over HTTP, keeps what it got, and can be made to misbehave.

mod decode;
mod json;
mod tree;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use skein_shared::domain::trace::{SpanId, TraceContext, TraceId};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

pub use tree::{orphans, render};

/// Bytes of a request: what the exporter sends at most.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Names and values of attributes. A string stays a string and an integer an integer, so types show.
pub type Attributes = BTreeMap<String, Value>;

/// Which side of which kind of communication a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing was said, against the specification.
    Unspecified,
    /// Work within a process.
    Internal,
    /// A request that came in.
    Server,
    /// A request that went out.
    Client,
    /// A message that went out.
    Producer,
    /// A message that came in.
    Consumer,
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing was said, which means well.
    Unset,
    /// Explicitly well.
    Ok,
    /// Failed, with a description.
    Error(String),
}

/// A moment within a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened.
    pub name: String,
    /// When.
    pub time: SystemTime,
    /// Details.
    pub attributes: Attributes,
}

/// A span as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace_id: TraceId,
    /// Itself.
    pub span_id: SpanId,
    /// Its parent.
    pub parent: Option<SpanId>,
    /// What kind of work.
    pub name: String,
    /// Which side.
    pub kind: Kind,
    /// Begin of the work.
    pub start: SystemTime,
    /// End of the work.
    pub end: SystemTime,
    /// Its attributes.
    pub attributes: Attributes,
    /// Keys that came more than once, which no exporter should send.
    pub repeated: Vec<String>,
    /// Spans that it is linked to.
    pub links: Vec<TraceContext>,
    /// How many more there were.
    pub dropped_links: u32,
    /// What its context says besides: the value of a `tracestate`.
    pub state: String,
    /// Moments within it.
    pub events: Vec<Event>,
    /// How it ended.
    pub status: Status,
    /// The version of what has made it.
    pub scope_version: String,
    /// Attributes of the process that it is from.
    pub resource: Attributes,
}

impl Span {
    /// The process that it is from.
    #[must_use]
    pub fn service(&self) -> &str {
        self.resource.get("service.name").and_then(Value::as_str).unwrap_or("?")
    }
}

/// A log record as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// What it says.
    pub body: Value,
    /// When the thing happened; the start of 1970 if nothing was said.
    pub time: SystemTime,
    /// What happened, as a word.
    pub event: String,
    /// `INFO`, `WARN` ...
    pub severity: String,
    /// The trace that it belongs to.
    pub trace_id: Option<TraceId>,
    /// The span that it belongs to.
    pub span_id: Option<SpanId>,
    /// Its attributes.
    pub attributes: Attributes,
    /// When it was taken note of.
    pub observed: SystemTime,
    /// Where in the program it is from.
    pub target: String,
    /// The version of that.
    pub scope_version: String,
    /// Attributes of the process that it is from.
    pub resource: Attributes,
}

/// One series of a histogram as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The name of the metric.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The labels of the series.
    pub attributes: Attributes,
    /// How many values there were.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

/// One series of a counter as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Counter {
    /// The name of the metric.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// What it is said to count.
    pub description: String,
    /// The labels of the series.
    pub attributes: Attributes,
    /// How many there were since the process has started.
    pub value: i64,
}

/// One point of a metric as it arrived, whatever its instrument.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The name of the metric.
    pub name: String,
    /// `Counter`, `UpDownCounter`, `Gauge` or `Histogram`.
    pub instrument: &'static str,
    /// Its unit.
    pub unit: String,
    /// What it is said to measure.
    pub description: String,
    /// The labels of the series.
    pub attributes: Attributes,
    /// Its value; of a histogram the sum of its values.
    pub value: f64,
    /// Of a histogram, how many values there were.
    pub count: u64,
    /// Of a histogram, the upper bounds of its buckets.
    pub bounds: Vec<f64>,
    /// Attributes of the process that it is from.
    pub resource: Attributes,
}

/// A request as it arrived, also one that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `/v1/traces`, `/v1/logs` or `/v1/metrics`.
    pub path: String,
    /// Its headers, as far as they are text.
    pub headers: BTreeMap<String, String>,
}

/// How the receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Takes everything.
    Normal,
    /// Takes nothing and answers with this status.
    Status(u16),
    /// Takes the request and answers when the mode changes.
    Hang,
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<Span>,
    logs: Vec<Log>,
    histograms: Vec<Histogram>,
    counters: Vec<Counter>,
    points: Vec<Point>,
    requests: Vec<Request>,
}

#[derive(Debug)]
struct Shared {
    received: Mutex<Received>,
    /// Counts requests, so that waiters look again.
    changed: watch::Sender<u64>,
    mode: watch::Sender<Mode>,
}

/// An OTLP collector on a loopback port. Stops when dropped.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Receiver {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            changed: watch::Sender::new(0),
            mode: watch::Sender::new(Mode::Normal),
        });
        let routes = Router::new()
            .route("/v1/{signal}", post(receive))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                eprintln!("the OTLP receiver broke down: {error}");
            }
        });
        Self { shared, address, _server: AbortOnDropHandle::new(server) }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` has to say.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how requests are answered, also those that hang.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// The spans so far, in the order of their arrival.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.shared.with(|received| received.spans.clone())
    }

    /// The spans of a trace so far.
    #[must_use]
    pub fn trace(&self, trace: TraceId) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace_id == trace).collect()
    }

    /// All traces so far as text: see [`render`].
    #[must_use]
    pub fn tree(&self) -> String {
        render(&self.spans())
    }

    /// The log records so far.
    #[must_use]
    pub fn logs(&self) -> Vec<Log> {
        self.shared.with(|received| received.logs.clone())
    }

    /// The histograms so far, one for each export.
    #[must_use]
    pub fn histograms(&self) -> Vec<Histogram> {
        self.shared.with(|received| received.histograms.clone())
    }

    /// The counters so far, one for each export.
    #[must_use]
    pub fn counters(&self) -> Vec<Counter> {
        self.shared.with(|received| received.counters.clone())
    }

    /// The points of gauges so far, one for each series and export, in the order of their arrival.
    #[must_use]
    pub fn gauges(&self) -> Vec<Point> {
        let is_gauge = |point: &Point| point.instrument == "Gauge";
        self.points().into_iter().filter(is_gauge).collect()
    }

    /// The points of metrics so far, one for each series and export, in the order of their arrival.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        self.shared.with(|received| received.points.clone())
    }

    /// The requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.with(|received| received.requests.clone())
    }

    /// Waits until the spans are as wanted, and returns them.
    ///
    /// # Errors
    /// When they are not by then; says what there is instead.
    pub async fn wait_for(
        &self,
        wanted: impl Fn(&[Span]) -> bool,
        timeout: Duration,
    ) -> anyhow::Result<Vec<Span>> {
        self.wait(|received| wanted(&received.spans).then(|| received.spans.clone()), timeout)
            .await
            .ok_or_else(|| anyhow::anyhow!("after {timeout:?} there is only:\n{}", self.tree()))
    }

    /// Waits until the log records are as wanted, and returns them.
    ///
    /// # Errors
    /// When they are not by then; says what there is instead.
    pub async fn wait_for_logs(
        &self,
        wanted: impl Fn(&[Log]) -> bool,
        timeout: Duration,
    ) -> anyhow::Result<Vec<Log>> {
        self.wait(|received| wanted(&received.logs).then(|| received.logs.clone()), timeout)
            .await
            .ok_or_else(|| anyhow::anyhow!("after {timeout:?} there is only:\n{:#?}", self.logs()))
    }

    /// Waits until that many requests have come in, answered or not.
    ///
    /// # Errors
    /// When there are fewer by then.
    pub async fn wait_for_requests(&self, count: usize, timeout: Duration) -> anyhow::Result<()> {
        self.wait(|received| (received.requests.len() >= count).then_some(()), timeout)
            .await
            .ok_or_else(|| anyhow::anyhow!("{:?} within {timeout:?}", self.requests()))
    }

    async fn wait<T>(&self, find: impl Fn(&Received) -> Option<T>, timeout: Duration) -> Option<T> {
        let mut changed = self.shared.changed.subscribe();
        tokio::time::timeout(timeout, async {
            loop {
                if let Some(found) = self.shared.with(|received| find(received)) {
                    return found;
                }
                changed.changed().await.expect("the sender lives as long as the receiver");
            }
        })
        .await
        .ok()
    }
}

impl Shared {
    fn with<T>(&self, use_it: impl FnOnce(&mut Received) -> T) -> T {
        use_it(&mut self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |value: &header::HeaderValue| value.to_str().map(str::to_owned).ok();
    let named = headers.iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?)));
    let request = Request { path: uri.path().to_owned(), headers: named.collect() };
    shared.with(|received| received.requests.push(request));
    shared.changed.send_modify(|count| *count += 1);
    let mut mode = shared.mode.subscribe();
    let answer = match mode.wait_for(|mode| *mode != Mode::Hang).await.map(|mode| *mode) {
        Ok(Mode::Status(code)) => StatusCode::from_u16(code).unwrap_or(StatusCode::IM_A_TEAPOT),
        Ok(_) | Err(_) => match decode::decode(uri.path(), &headers, &body) {
            Ok(part) => {
                shared.with(|received| {
                    received.spans.extend(part.spans);
                    received.logs.extend(part.logs);
                    received.histograms.extend(part.histograms);
                    received.counters.extend(part.counters);
                    received.points.extend(part.points);
                });
                StatusCode::OK
            }
            Err(error) => {
                eprintln!("the OTLP receiver cannot read a request to {uri}: {error:#}");
                StatusCode::BAD_REQUEST
            }
        },
    };
    shared.changed.send_modify(|count| *count += 1);
    // An empty body is the encoding of a response that has nothing to complain of.
    (answer, [(header::CONTENT_TYPE, "application/x-protobuf")]).into_response()
}
