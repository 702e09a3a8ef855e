//! The world that http nodes call: counts what really arrived, and can be slow, broken or closed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The `Idempotency-Key`.
    pub key: Option<String>,
    /// The `traceparent`.
    pub traceparent: Option<String>,
    /// The `tracestate`.
    pub tracestate: Option<String>,
    /// The body as JSON; null when it is none.
    pub body: Value,
}

#[derive(Debug)]
struct Shared {
    hits: Mutex<Vec<Hit>>,
    /// Counts hits, so that waiters look again.
    changed: watch::Sender<u64>,
    open: watch::Sender<BTreeSet<String>>,
    /// Requests beyond so many have to wait.
    let_through: watch::Sender<usize>,
    pace: Mutex<Duration>,
    answers: Mutex<BTreeMap<String, Value>>,
}

/// A server on a loopback port. Stops when dropped.
///
/// - `/gate/{name}` answers when [`Outside::open`] opens the gate;
/// - `/flaky/{n}/...` answers 503 to the first `n` requests for the whole path, 200 to later ones;
/// - `/status/{code}` answers with that status;
/// - everything else answers 200, after the pause that [`Outside::set_pace`] asks for, and not before
///   [`Outside::hold_beyond`] lets it through.
///
/// Answers are `{method, path, body}`, `body` being that of the request, or what [`Outside::serve`] says.
#[derive(Debug)]
pub struct Outside {
    shared: Arc<Shared>,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Outside {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            hits: Mutex::default(),
            changed: watch::Sender::new(0),
            open: watch::Sender::default(),
            let_through: watch::Sender::new(usize::MAX),
            pace: Mutex::default(),
            answers: Mutex::default(),
        });
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                eprintln!("the outside world broke down: {error}");
            }
        });
        Self { shared, address, _server: AbortOnDropHandle::new(server) }
    }

    /// The address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What `SKEIN_HTTP_ALLOW` has to say.
    #[must_use]
    pub fn allow(&self) -> String {
        self.address.to_string()
    }

    /// Lets everybody through who waits, or will wait, at this gate.
    pub fn open(&self, gate: &str) {
        self.shared.open.send_modify(|open| {
            open.insert(gate.to_owned());
        });
    }

    /// How long other requests take from now on.
    pub fn set_pace(&self, pace: Duration) {
        *lock(&self.shared.pace) = pace;
    }

    /// Lets so many requests through, counted from the first, and holds all others that are not at a gate: a load
    /// cannot end before [`Outside::release`].
    pub fn hold_beyond(&self, count: usize) {
        self.shared.let_through.send_replace(count);
    }

    /// Lets everybody through who is held.
    pub fn release(&self) {
        self.shared.let_through.send_replace(usize::MAX);
    }

    /// What a path answers from now on.
    pub fn serve(&self, path: &str, body: Value) {
        lock(&self.shared.answers).insert(path.to_owned(), body);
    }

    /// What has arrived so far, in order.
    #[must_use]
    pub fn hits(&self) -> Vec<Hit> {
        lock(&self.shared.hits).clone()
    }

    /// What has arrived at a path so far.
    #[must_use]
    pub fn hits_at(&self, path: &str) -> Vec<Hit> {
        self.hits().into_iter().filter(|hit| hit.path == path).collect()
    }

    /// How often each idempotency key has arrived.
    #[must_use]
    pub fn effects(&self) -> BTreeMap<String, usize> {
        let mut effects = BTreeMap::new();
        for key in lock(&self.shared.hits).iter().filter_map(|hit| hit.key.clone()) {
            *effects.entry(key).or_default() += 1;
        }
        effects
    }

    /// Waits until that many requests have arrived at paths that begin so.
    ///
    /// # Panics
    /// When there are fewer after a minute.
    pub async fn wait_for(&self, prefix: &str, count: usize) {
        let mut changed = self.shared.changed.subscribe();
        let arrived = || {
            let hits = lock(&self.shared.hits);
            hits.iter().filter(|hit| hit.path.starts_with(prefix)).count()
        };
        let enough = async {
            while arrived() < count {
                changed.changed().await.expect("the sender lives as long as the server");
            }
        };
        let in_time = tokio::time::timeout(super::PATIENCE, enough).await;
        assert!(in_time.is_ok(), "{} of {count} requests to {prefix} arrived", arrived());
    }
}

impl Shared {
    /// Notes a request and says the how manieth it is, of all and of those for its path.
    fn note(&self, hit: Hit) -> (usize, usize) {
        let mut hits = lock(&self.hits);
        let path = hit.path.clone();
        hits.push(hit);
        let count = (hits.len(), hits.iter().filter(|hit| hit.path == path).count());
        drop(hits);
        self.changed.send_modify(|count| *count += 1);
        count
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    let path = uri.path().to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (number, count) = shared.note(Hit {
        method: method.to_string(),
        path: path.clone(),
        key: header("idempotency-key"),
        traceparent: header("traceparent"),
        tracestate: header("tracestate"),
        body: body.clone(),
    });
    let mut words = path.split('/').skip(1);
    let status = match (words.next(), words.next()) {
        (Some("gate"), Some(gate)) => {
            let mut open = shared.open.subscribe();
            // Fails when the server is gone, and then nobody reads the answer.
            let _ = open.wait_for(|open| open.contains(gate)).await;
            StatusCode::OK
        }
        (Some("flaky"), Some(times)) if times.parse().is_ok_and(|times: usize| count <= times) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        (Some("status"), Some(code)) => code.parse().unwrap_or(StatusCode::IM_A_TEAPOT),
        _ => {
            let pace = *lock(&shared.pace);
            tokio::time::sleep(pace).await;
            let mut let_through = shared.let_through.subscribe();
            // As above.
            let _ = let_through.wait_for(|count| number <= *count).await;
            StatusCode::OK
        }
    };
    if let Some(answer) = lock(&shared.answers).get(&path) {
        return (status, Json(answer.clone())).into_response();
    }
    (status, Json(json!({ "method": method.as_str(), "path": path, "body": body }))).into_response()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
