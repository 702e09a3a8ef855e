//! A served API and a client that speaks for an organization of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use skein_api::{Deps, Hosts, Limits, TraceView, digest, ensure_bootstrap_key};
use skein_shared::broker::Broker;
use skein_shared::config::BootstrapKey;
use skein_shared::dispatch::Dispatcher;
use skein_shared::domain::key_id::KeyId;
use skein_shared::domain::key_scopes::KeyScopes;
use skein_shared::domain::tenant::Identity;
use skein_shared::finish::Finisher;
use skein_shared::store::Store;
use skein_shared::store::keys::{KeyCreation, NewKey};
use skein_shared::store::postgres::PostgresStore;
use skein_shared::sweeper::Timers;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{database, documented};

/// How long a case waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Parts of a served API that a test may choose.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) limits: Limits,
    /// One over the store and the broker, unless it is to be another.
    pub(crate) finisher: Option<Finisher>,
    /// Those of the process's sweeper.
    pub(crate) timers: Timers,
    /// Where traces are looked at.
    pub(crate) traces: TraceView,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            store: Arc::new(PostgresStore::connect(database::url(), 4).unwrap()),
            broker: skein_shared::broker::open(None, "test").unwrap(),
            limits: Limits::default(),
            finisher: None,
            timers: Timers::default(),
            traces: TraceView::default(),
        }
    }
}

/// A served API.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<()>,
    http: reqwest::Client,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Parts::default()).await
    }

    pub(crate) async fn with(parts: Parts) -> Self {
        skein_shared::telemetry::install_crypto_provider();
        let Parts { store, broker, limits, finisher, timers, traces } = parts;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let dispatcher =
            Dispatcher::start(&TaskTracker::new(), Arc::clone(&broker), shutdown.clone());
        let finisher =
            finisher.unwrap_or_else(|| Finisher::new(Arc::clone(&store) as _, Arc::clone(&broker)));
        let deps = Deps {
            store: Arc::clone(&store),
            keys: Arc::clone(&store) as _,
            broker: Arc::clone(&broker),
            dispatcher,
            finisher,
            timers,
            hosts: Hosts::Any,
            traces,
        };
        let served = tokio::spawn(skein_api::serve(listener, deps, limits, shutdown.clone()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, store, broker, shutdown, served, http }
    }

    /// A client of a new organization.
    pub(crate) async fn tenant(&self) -> Client {
        let organization = format!("org-{}", unique());
        self.user(&Identity::new(organization, "main", "ada")).await
    }

    /// A client with a new key for this identity.
    pub(crate) async fn user(&self, identity: &Identity) -> Client {
        let key = format!("test-key-{}", unique());
        ensure_bootstrap_key(&*self.store, &BootstrapKey::new(&*key), identity).await.unwrap();
        self.client(Some(key), identity.clone())
    }

    /// A client with a new key for this identity and these scopes only.
    pub(crate) async fn scoped(&self, identity: &Identity, scopes: KeyScopes) -> Client {
        let key = format!("test-key-{}", unique());
        let new = NewKey {
            digest: digest(&key),
            identity: identity.clone(),
            scopes,
            name: "scoped".to_owned(),
            expiry: None,
            ends_with: None,
            created_by: identity.user.clone(),
        };
        let created = self.store.create_key(&new).await.unwrap();
        assert!(matches!(created, KeyCreation::Created(_)), "{created:?}");
        self.client(Some(key), identity.clone())
    }

    /// A client with a key that somebody else was given.
    pub(crate) fn holder(&self, key: &str, identity: &Identity) -> Client {
        self.client(Some(key.to_owned()), identity.clone())
    }

    /// A client without a key.
    pub(crate) fn nobody(&self) -> Client {
        self.client(None, Identity::new("none", "none", "none"))
    }

    fn client(&self, key: Option<String>, identity: Identity) -> Client {
        Client { base: format!("http://{}", self.address), key, identity, http: self.http.clone() }
    }
}

fn unique() -> String {
    skein_shared::domain::ids::LeaseId::generate().0.simple().to_string()
}

/// Somebody who calls the API.
#[derive(Clone)]
pub(crate) struct Client {
    base: String,
    key: Option<String>,
    pub(crate) identity: Identity,
    http: reqwest::Client,
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The body of a problem of this kind.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, slug: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["type"], format!("urn:skein:problem:{slug}"), "{body}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(body["status"], status);
        assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
        let trace = self.header("traceparent").split('-').nth(1).map(str::to_owned);
        assert_eq!(body["trace_id"].as_str(), trace.as_deref(), "{body}");
        body
    }
}

impl Client {
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        }
    }

    /// The id of its key.
    pub(crate) fn key_id(&self) -> String {
        KeyId::of(&digest(self.key.as_deref().unwrap_or_default())).to_string()
    }

    /// What it sends as `Authorization`.
    pub(crate) fn authorization(&self) -> String {
        format!("Bearer {}", self.key.as_deref().unwrap_or_default())
    }

    /// Sends a request. What is answered must be what the OpenAPI document says that its operation answers.
    pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().to_string(), request.url().path().to_owned());
        let answer = Answer::of(client.execute(request).await.unwrap()).await;
        documented::check(&method, &path, answer.status, &answer.text);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Self::send(self.request("GET", path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Self::send(self.request("DELETE", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, body, &[]).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut map = HeaderMap::new();
        map.insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        Self::send(self.request("POST", path).headers(map).body(body.to_string())).await
    }

    /// Publishes a workflow of one node and returns its name.
    pub(crate) async fn publish(&self, name: &str) -> String {
        self.post("/v1/workflows", &workflow(name)).await.expect(201);
        name.to_owned()
    }

    /// The log of a run that has not ended, once there is something in it: somebody else's transaction that is open
    /// holds the newest rows of open runs back.
    pub(crate) async fn open_log(&self, run: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.get(&format!("/v1/runs/{run}/logs")).await.expect(200);
            if log["items"][0].is_object() {
                return log["items"].clone();
            }
            assert!(Instant::now() < deadline, "the log of {run} stays empty");
        }
    }

    /// Starts a run and returns it.
    pub(crate) async fn run(&self, workflow: &str) -> Value {
        let path = format!("/v1/workflows/{workflow}/runs");
        self.post(&path, &json!({ "input": { "n": 1 } })).await.expect(202)
    }

    /// How many rows of each table belong to the organization.
    pub(crate) async fn rows(&self) -> Vec<(&'static str, i64)> {
        const TABLES: [&str; 6] = [
            "workflows",
            "workflow_versions",
            "workflow_drafts",
            "runs",
            "node_runs",
            "event_logs",
        ];
        let mut connection = PgConnection::connect(database::url()).await.unwrap();
        let mut counts = Vec::new();
        for table in TABLES {
            let query = format!("SELECT count(*) FROM {table} WHERE organization_id = $1");
            let count = sqlx::query_scalar(AssertSqlSafe(query))
                .bind(&*self.identity.organization)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            counts.push((table, count));
        }
        counts
    }
}

/// Asks until there is something.
pub(crate) async fn until<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not happen");
        tokio::task::yield_now().await;
    }
}

/// What is answered to a version of `adder`, or a draft, that was stored.
pub(crate) fn published(version: u32, draft: bool, outcome: &str) -> Value {
    json!({
        "name": "adder", "version": version, "draft": draft, "outcome": outcome, "archived": false, "warnings": [],
    })
}

/// A workflow of two nodes whose input needs a number `n`.
pub(crate) fn workflow(name: &str) -> Value {
    json!({
        "name": name,
        "description": "Adds one",
        "input": {
            "type": "object",
            "required": ["n"],
            "properties": { "n": { "type": "integer" }, "note": { "type": "string", "maxLength": 8 } },
            "additionalProperties": false
        },
        "nodes": [
            { "id": "add", "type": "transform", "params": { "value": "{{ input.n + 1 }}" } },
            { "id": "tell", "type": "log", "params": { "message": "got {{ nodes.add }}" } }
        ],
        "edges": [{ "from": "add", "to": "tell" }],
        "output": "{{ nodes.add }}"
    })
}
