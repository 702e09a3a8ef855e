//! A server on this machine that misbehaves as asked and remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fleet::PATIENCE;

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) name: String,
    pub(crate) key: Option<String>,
}

type Hits = Arc<Mutex<Vec<Hit>>>;

/// The server; it ends with the test's runtime.
pub(crate) struct Server {
    url: String,
    hits: Hits,
    gate: watch::Sender<bool>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let hits = Hits::default();
        let (gate, opened) = watch::channel(false);
        let gated = async move |State(hits), Path(name), headers: HeaderMap| {
            let count = remember(&hits, name, &headers);
            drop(opened.clone().wait_for(|is_open| *is_open).await);
            Json(count)
        };
        let router = Router::new()
            .route("/gate/{name}", any(gated))
            .route("/fail/{times}/{status}/{name}", any(fail))
            .route("/hang/{times}/{name}", any(hang))
            .route("/later/{seconds}/{name}", any(later))
            .route("/echo/{status}", any(echo))
            .with_state(Arc::clone(&hits));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, hits, gate }
    }

    /// Answers no request of that name before the gate is opened.
    pub(crate) fn gate(&self, name: &str) -> String {
        format!("{}/gate/{name}", self.url)
    }

    /// Lets everybody through who waits at the gate, and whoever comes later.
    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Answers every request of that name.
    pub(crate) fn answer(&self, name: &str) -> String {
        self.fail(0, 500, name)
    }

    /// Answers the first `times` requests of that name with `status`, and the others with 200 and how many
    /// there were.
    pub(crate) fn fail(&self, times: usize, status: u16, name: &str) -> String {
        format!("{}/fail/{times}/{status}/{name}", self.url)
    }

    /// Never answers the first `times` requests of that name.
    pub(crate) fn hang(&self, times: usize, name: &str) -> String {
        format!("{}/hang/{times}/{name}", self.url)
    }

    /// Answers requests of that name with 503 and asks to wait so many seconds.
    pub(crate) fn later(&self, seconds: u64, name: &str) -> String {
        format!("{}/later/{seconds}/{name}", self.url)
    }

    /// Answers with that status and with the request's line, headers and body.
    pub(crate) fn echo(&self, status: u16) -> String {
        format!("{}/echo/{status}", self.url)
    }

    /// The requests of a name so far.
    pub(crate) fn hits(&self, name: &str) -> Vec<Hit> {
        self.hits.lock().unwrap().iter().filter(|hit| hit.name == name).cloned().collect()
    }

    /// Waits for a request of that name.
    pub(crate) async fn hit(&self, name: &str) {
        self.hit_by(1, name).await;
    }

    /// Waits for so many requests of that name.
    pub(crate) async fn hit_by(&self, count: usize, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.hits(name).len() < count {
            assert!(Instant::now() < deadline, "fewer than {count} asked for {name}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Remembers a request, and says how many of its name there were with it.
fn remember(hits: &Hits, name: String, headers: &HeaderMap) -> usize {
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let mut hits = hits.lock().unwrap();
    let earlier = hits.iter().filter(|hit| hit.name == name).count();
    hits.push(Hit { name, key });
    earlier + 1
}

async fn fail(
    State(hits): State<Hits>,
    Path((times, status, name)): Path<(usize, u16, String)>,
    headers: HeaderMap,
) -> (StatusCode, Json<usize>) {
    let count = remember(&hits, name, &headers);
    let failing = StatusCode::from_u16(status).unwrap();
    (if count <= times { failing } else { StatusCode::OK }, Json(count))
}

async fn hang(
    State(hits): State<Hits>,
    Path((times, name)): Path<(usize, String)>,
    headers: HeaderMap,
) -> String {
    let count = remember(&hits, name, &headers);
    if count <= times {
        std::future::pending::<()>().await;
    }
    count.to_string()
}

async fn later(
    State(hits): State<Hits>,
    Path((seconds, name)): Path<(u64, String)>,
    headers: HeaderMap,
) -> (StatusCode, [(&'static str, String); 1]) {
    remember(&hits, name, &headers);
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", seconds.to_string())])
}

async fn echo(
    Path(status): Path<u16>,
    uri: OriginalUri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let sent = ["authorization", "cookie"].map(|name| headers.get(name));
    (StatusCode::from_u16(status).unwrap(), format!("{} {body} {sent:?}", uri.0))
}
