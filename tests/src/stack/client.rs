//! The API as its users see it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use skein_shared::domain::trace::TraceId;
use skein_shared::telemetry::install_crypto_provider;

use super::eventually;

/// How long a request may take; the longest `?wait=` is 60 s.
const REQUEST_MAX: Duration = Duration::from_secs(75);

/// Calls one API with one key.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

/// What the API said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null when it is no JSON.
    pub body: Value,
}

/// A run as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run(pub Value);

impl Run {
    /// Its id.
    ///
    /// # Panics
    /// When the answer was no run.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0["id"].as_str().unwrap_or_else(|| panic!("no run: {}", self.0))
    }

    /// Where it is in its life.
    #[must_use]
    pub fn status(&self) -> &str {
        self.0["status"].as_str().unwrap_or_default()
    }

    /// Its trace.
    ///
    /// # Panics
    /// When the answer was no run.
    #[must_use]
    pub fn trace(&self) -> TraceId {
        let text = self.0["trace_id"].as_str().unwrap_or_default();
        text.parse().unwrap_or_else(|_| panic!("no trace id: {}", self.0))
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.status(), "succeeded" | "failed" | "cancelled" | "timed_out")
    }

    /// Its nodes as far as they are known.
    #[must_use]
    pub fn nodes(&self) -> &[Value] {
        self.0["nodes"].as_array().map_or(&[], Vec::as_slice)
    }

    /// One of its nodes.
    ///
    /// # Panics
    /// When it is not known yet.
    #[must_use]
    pub fn node(&self, name: &str) -> &Value {
        let found = self.nodes().iter().find(|node| node["node"] == name);
        found.unwrap_or_else(|| panic!("no node {name} in {:#}", self.0))
    }

    /// The states of its nodes by name, in the order of becoming known.
    #[must_use]
    pub fn node_states(&self) -> Vec<(&str, &str)> {
        let text = |value: &'static str, node| -> &str {
            let node: &Value = node;
            node[value].as_str().unwrap_or_default()
        };
        self.nodes().iter().map(|node| (text("node", node), text("status", node))).collect()
    }
}

impl Client {
    /// A client of the API at `base`, like `http://127.0.0.1:8080`.
    ///
    /// # Panics
    /// When no HTTP client can be made.
    #[must_use]
    pub fn new(base: &str, key: &str) -> Self {
        install_crypto_provider();
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST_MAX).build();
        Self { http: http.expect("an HTTP client"), base: base.to_owned(), key: key.to_owned() }
    }

    /// A request with the key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await?;
        Ok(Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// GETs a path.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    /// POSTs JSON to a path.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Publishes a workflow and returns its version.
    ///
    /// # Panics
    /// When the API does not take it.
    pub async fn publish(&self, document: &Value) -> u64 {
        let answer = self.post("/v1/workflows", document).await.expect("the API answers");
        assert!(answer.status.is_success(), "{answer:#?}");
        answer.body["version"].as_u64().unwrap_or_else(|| panic!("{answer:#?}"))
    }

    /// Starts a run.
    ///
    /// # Panics
    /// When the API does not accept it.
    pub async fn start(&self, workflow: &str, input: &Value) -> Run {
        let path = format!("/v1/workflows/{workflow}/runs");
        let answer = self.post(&path, &json!({ "input": input })).await.expect("the API answers");
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:#?}");
        Run(answer.body)
    }

    /// Starts a run under an idempotency key, again and again until the API has accepted it: what a client
    /// that must not lose it does.
    ///
    /// # Panics
    /// When the API refuses it, or takes none for a minute.
    pub async fn start_surely(&self, workflow: &str, input: &Value, key: &str) -> Run {
        let path = format!("/v1/workflows/{workflow}/runs");
        let until = Instant::now() + super::PATIENCE;
        loop {
            let request = self.request(Method::POST, &path).header("Idempotency-Key", key);
            let answer = self.send(request.json(&json!({ "input": input }))).await;
            if let Ok(answer) = &answer
                && !answer.status.is_server_error()
            {
                assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:#?}");
                return Run(answer.body.clone());
            }
            assert!(Instant::now() < until, "the API accepts no run: {answer:?}");
            tokio::time::sleep(super::polling::POLL_INTERVAL).await;
        }
    }

    /// Starts a run and waits for its end.
    ///
    /// # Panics
    /// When the API does not accept it, or it does not end within a minute.
    pub async fn run(&self, workflow: &str, input: &Value) -> Run {
        let path = format!("/v1/workflows/{workflow}/runs?wait=30");
        let answer = self.post(&path, &json!({ "input": input })).await.expect("the API answers");
        assert!(answer.status.is_success(), "{answer:#?}");
        let run = Run(answer.body);
        if run.has_ended() { run } else { self.ended(run.id()).await }
    }

    /// A run as it is now.
    ///
    /// # Errors
    /// When there is no answer, or not that one.
    pub async fn find(&self, id: &str) -> Result<Run> {
        let answer = self.get(&format!("/v1/runs/{id}")).await?;
        anyhow::ensure!(answer.status == StatusCode::OK, "{answer:?}");
        Ok(Run(answer.body))
    }

    /// Waits for a run's end.
    ///
    /// # Panics
    /// When it does not end within a minute.
    pub async fn ended(&self, id: &str) -> Run {
        self.becomes(id, "has ended", Run::has_ended).await
    }

    /// Waits until a run is as wanted.
    ///
    /// # Panics
    /// When it is not within a minute; shows what it is.
    pub async fn becomes(&self, id: &str, what: &str, wanted: impl Fn(&Run) -> bool) -> Run {
        let mut last = None;
        let found = super::poll(super::PATIENCE, async || {
            last = self.find(id).await.ok().or(last.take());
            last.clone().filter(&wanted)
        });
        if let Some(run) = found.await {
            return run;
        }
        let log = self.log_rows(id).await.unwrap_or_default();
        panic!("after {:?} it is not so that the run {what}: {last:#?}\n{log:#?}", super::PATIENCE)
    }

    /// The log rows of an ended run, the row of its end included.
    ///
    /// # Panics
    /// When they do not appear within a minute.
    pub async fn logs(&self, id: &str) -> Vec<Value> {
        eventually("the log shows the run's end", async || {
            let rows = self.log_rows(id).await.ok()?;
            rows.iter().any(is_end).then_some(rows)
        })
        .await
    }

    /// The log rows of a run that are shown now.
    ///
    /// # Errors
    /// When the API does not give them.
    pub async fn log_rows(&self, id: &str) -> Result<Vec<Value>> {
        let mut rows = Vec::new();
        let mut after = String::new();
        loop {
            let answer = self.get(&format!("/v1/runs/{id}/logs?limit=500{after}")).await?;
            anyhow::ensure!(answer.status == StatusCode::OK, "{answer:?}");
            let items = answer.body["items"].as_array().context("a list")?;
            if items.is_empty() {
                return Ok(rows);
            }
            rows.extend(items.iter().cloned());
            let Some(cursor) = answer.body["next_cursor"].as_str() else { return Ok(rows) };
            after = format!("&after={cursor}");
        }
    }
}

/// Whether a log row is about a run's end.
#[must_use]
pub fn is_end(row: &Value) -> bool {
    let event = row["event"].as_str().unwrap_or_default();
    matches!(event, "run.succeeded" | "run.failed" | "run.cancelled" | "run.timed_out")
}
