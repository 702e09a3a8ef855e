//! One server: how it is spoken to, and requests to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap};
use serde_json::{Value, json};
use skein_shared::workflow::params::http::{HttpParams, Method};
use skein_shared::workflow::params::{Entries, Rendered};
use tokio::sync::Mutex;

use super::answer::{self, AnswerWatch};
use crate::egress::{Egress, IsEnough};
use crate::nodes::http::{self, Answered};
use crate::nodes::{NodeContext, NodeError};

/// Revisions of the protocol that have a handshake, the newest first: it is what is asked for.
const WITH_HANDSHAKE: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// The revision that has none.
const WITHOUT_HANDSHAKE: &str = "2026-07-28";
/// How long the end of a session is waited for, which nobody needs.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// Bytes of what a server says about an error that are shown.
const ERROR_TEXT_BYTES_MAX: usize = 300;

pub(super) struct Client {
    url: String,
    headers: Entries<String>,
    egress: Egress,
    next_id: AtomicU64,
    /// How the server is spoken to, once that is known.
    dialect: Mutex<Option<Dialect>>,
}

#[derive(Debug, Clone)]
enum Dialect {
    /// After a handshake, in a session if the server has given it a name.
    Session { version: &'static str, id: Option<String> },
    /// Each request stands for itself.
    Stateless,
}

/// Why a request has no result.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The request was not sent, or there is no whole answer.
    Failed(NodeError),
    /// The server has refused it.
    Refused { status: StatusCode, code: Option<i64>, message: String },
    /// The server knows nothing of the session.
    Gone,
}

impl Unanswered {
    pub(super) fn malformed(message: &str) -> Self {
        Self::Failed(NodeError::fail("mcp_protocol", message))
    }

    /// As the node or the model is shown it.
    pub(super) fn into_node_error(self, url: &str) -> NodeError {
        match self {
            Self::Failed(error) => error,
            Self::Gone => NodeError::retry("mcp_session", format!("{url} has lost the session")),
            Self::Refused { status, code, message } => {
                let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
                let own = format!("{url} answered {}{code}", status.as_u16());
                let error =
                    match status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
                        true => NodeError::retry("mcp_refused", own),
                        false => NodeError::fail("mcp_refused", own),
                    };
                error.with_details(message)
            }
        }
    }
}

impl Client {
    pub(super) fn new(url: String, headers: Entries<String>, egress: Egress) -> Self {
        Self { url, headers, egress, next_id: AtomicU64::new(1), dialect: Mutex::new(None) }
    }

    /// Makes a request and returns its result. It is sent once; a second time only if the server says that it knows
    /// nothing of the session, and so has not looked at it.
    pub(super) async fn request(
        &self,
        context: &NodeContext,
        method: &str,
        params: Value,
    ) -> Result<Value, Unanswered> {
        let dialect = self.open(context).await?;
        match self.post(context, &dialect, method, params.clone()).await {
            Err(Unanswered::Gone) => {
                *self.dialect.lock().await = None;
                let dialect = self.open(context).await?;
                self.post(context, &dialect, method, params).await
            }
            result => result,
        }
    }

    /// Ends the session, if there is one.
    pub(super) async fn close(&self, context: &NodeContext) {
        let Some(Dialect::Session { version, id: Some(id) }) = self.dialect.lock().await.take()
        else {
            return;
        };
        let mut headers = self.headers.clone();
        headers.0.push(("mcp-session-id".to_owned(), id));
        headers.0.push(("mcp-protocol-version".to_owned(), version.to_owned()));
        let context = NodeContext { timeout: CLOSE_TIME_MAX, ..context.clone() };
        if let Ok(params) = params(Method::Delete, &self.url, headers, None)
            && let Err(error) =
                http::exchange(&self.egress, &context, params, "", &mut |_, _| true).await
        {
            tracing::debug!(code = %error.failure.code, "a session of an MCP server was left open");
        }
    }

    /// Finds out how the server is spoken to.
    async fn open(&self, context: &NodeContext) -> Result<Dialect, Unanswered> {
        let mut dialect = self.dialect.lock().await;
        if let Some(known) = &*dialect {
            return Ok(known.clone());
        }
        let found = match self.shake_hands(context).await {
            // One that has no handshake does not know the method, or refuses what has no version.
            Err(Unanswered::Refused { status, code, .. })
                if code == Some(-32601)
                    || matches!(status.as_u16(), 400 | 404 | 405) && code != Some(-32602) =>
            {
                Dialect::Stateless
            }
            found => found?,
        };
        Ok(dialect.insert(found).clone())
    }

    async fn shake_hands(&self, context: &NodeContext) -> Result<Dialect, Unanswered> {
        let params = json!({
            "protocolVersion": WITH_HANDSHAKE[0],
            "capabilities": {},
            "clientInfo": client_info(),
        });
        let (result, head) = self.send(context, self.headers.clone(), "initialize", params).await?;
        let offered = result["protocolVersion"].as_str().unwrap_or_default();
        let Some(version) = WITH_HANDSHAKE.into_iter().find(|version| *version == offered) else {
            return Err(Unanswered::malformed(
                "the server speaks a revision of MCP that is not known here",
            ));
        };
        let id = head.get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let dialect = Dialect::Session { version, id };
        let message = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let headers = self.headers_of(&dialect, "notifications/initialized", &Value::Null);
        // Nothing comes back that would say anything.
        self.exchange(context, headers, message, &mut |_, _| true).await?;
        Ok(dialect)
    }

    async fn post(
        &self,
        context: &NodeContext,
        dialect: &Dialect,
        method: &str,
        mut params: Value,
    ) -> Result<Value, Unanswered> {
        let headers = self.headers_of(dialect, method, &params);
        if matches!(dialect, Dialect::Stateless) {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": WITHOUT_HANDSHAKE,
                "io.modelcontextprotocol/clientInfo": client_info(),
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let sent = self.send(context, headers, method, params).await;
        match (sent, dialect) {
            (
                Err(Unanswered::Refused { status: StatusCode::NOT_FOUND, .. }),
                Dialect::Session { id: Some(_), .. },
            ) => Err(Unanswered::Gone),
            (sent, _) => sent.map(|(result, _)| result),
        }
    }

    fn headers_of(&self, dialect: &Dialect, method: &str, params: &Value) -> Entries<String> {
        let mut headers = self.headers.clone();
        let mut add = |name: &str, value: &str| headers.0.push((name.to_owned(), value.to_owned()));
        match dialect {
            Dialect::Session { version, id } => {
                add("mcp-protocol-version", version);
                id.iter().for_each(|id| add("mcp-session-id", id));
            }
            Dialect::Stateless => {
                add("mcp-protocol-version", WITHOUT_HANDSHAKE);
                add("mcp-method", method);
                params["name"].as_str().into_iter().for_each(|name| add("mcp-name", name));
            }
        }
        headers
    }

    /// Sends a request and finds its result.
    async fn send(
        &self,
        context: &NodeContext,
        headers: Entries<String>,
        method: &str,
        params: Value,
    ) -> Result<(Value, HeaderMap), Unanswered> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        // A server SHOULD end a stream behind the answer, and need not.
        let mut stream = AnswerWatch::new(id);
        let mut is_enough =
            |headers: &HeaderMap, piece: &[u8]| is_stream(headers) && stream.is_answered_by(piece);
        let answered = self.exchange(context, headers, message, &mut is_enough).await?;
        let status = answered.answer.status;
        let is_stream = is_stream(&answered.answer.headers);
        let text = answered.text();
        let mut message = answer::find(&text, is_stream, id);
        // A server that cannot read a request does not know its id.
        if message.is_none() && !status.is_success() {
            message = answer::find_error(&text);
        }
        let Some(mut message) = message else {
            return Err(match status.is_success() {
                true => Unanswered::malformed("the server did not answer the request"),
                false => Unanswered::Refused { status, code: None, message: shortened(&text) },
            });
        };
        if let Some(error) = message.get("error") {
            let text = error["message"].as_str().unwrap_or_default();
            let (code, message) = (error["code"].as_i64(), shortened(text));
            return Err(Unanswered::Refused { status, code, message });
        }
        Ok((message["result"].take(), answered.answer.headers))
    }

    async fn exchange(
        &self,
        context: &NodeContext,
        mut headers: Entries<String>,
        message: Value,
        is_enough: &mut IsEnough<'_>,
    ) -> Result<Answered, Unanswered> {
        let accept = "application/json, text/event-stream";
        headers.0.push(("accept".to_owned(), accept.to_owned()));
        headers.0.push(("content-type".to_owned(), "application/json".to_owned()));
        let params =
            params(Method::Post, &self.url, headers, Some(message)).map_err(Unanswered::Failed)?;
        let answered = http::exchange(&self.egress, context, params, "", is_enough).await;
        answered.map_err(Unanswered::Failed)
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE);
    media.is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"))
}

fn client_info() -> Value {
    json!({ "name": "skein", "version": env!("CARGO_PKG_VERSION") })
}

fn params(
    method: Method,
    url: &str,
    Entries(headers): Entries<String>,
    body: Option<Value>,
) -> Result<HttpParams, NodeError> {
    // The last one of a name counts.
    let headers: serde_json::Map<_, _> =
        headers.into_iter().map(|(name, text)| (name.to_ascii_lowercase(), text.into())).collect();
    let mut params = json!({
        "method": method.as_str(), "url": url, "headers": headers, "idempotency_key": false,
    });
    if let Some(body) = body {
        params["body"] = body;
    }
    HttpParams::read(params).map_err(|error| NodeError::invalid_params(error.to_string()))
}

/// On one line, cut where it is long enough for a reason.
fn shortened(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text[..text.floor_char_boundary(ERROR_TEXT_BYTES_MAX)].to_owned()
}
