//! Against a server made with the official SDK.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use skein_shared::workflow::params::Entries;

use super::*;
use crate::egress::{AllowRule, EgressConfig};
use crate::nodes::sample_context;

/// How long the server may take to start: Python on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The server as a process, killed when dropped.
struct Sdk {
    port: u16,
    process: std::process::Child,
}

impl Drop for Sdk {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Sdk {
    /// Starts it, unless the tests are to do without what comes from PyPI.
    async fn start(mode: &str) -> Option<Self> {
        if std::env::var("SKEIN_TEST_WITHOUT_PYPI").is_ok_and(|value| !value.is_empty()) {
            eprintln!("without the official MCP server, as SKEIN_TEST_WITHOUT_PYPI says");
            return None;
        }
        let python = std::env::var("SKEIN_TEST_MCP_PYTHON").expect(
            "this test needs the MCP SDK: run it by tests/run, or set SKEIN_TEST_WITHOUT_PYPI=1 to go without",
        );
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/mcp/server.py");
        let process = std::process::Command::new(&python)
            .args([script, &port.to_string(), mode])
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{python}: {error}"));
        let server = Self { port, process };
        let listens = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listens).await.expect("the MCP server listens");
        Some(server)
    }

    fn server(&self, allow: &[&str]) -> McpServer {
        server(
            &format!("http://127.0.0.1:{}/mcp", self.port),
            allow,
            &format!("127.0.0.1:{}", self.port),
        )
    }
}

fn server(url: &str, allow: &[&str], rules: &str) -> McpServer {
    let params = McpParams {
        url: url.to_owned(),
        headers: Entries(vec![("Authorization".to_owned(), "Bearer HUSH-hush-1".to_owned())]),
        allow: allow.iter().map(|name| (*name).to_owned()).collect(),
    };
    let allow = AllowRule::parse_list(rules).unwrap();
    McpServer::new(params, Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap())
}

fn context() -> NodeContext {
    NodeContext { timeout: Duration::from_secs(60), ..sample_context() }
}

fn code(observation: &Observation) -> Option<&str> {
    observation.error.as_ref().map(|error| &*error.code)
}

#[tokio::test]
async fn tools_of_the_official_server_are_listed_and_called_however_it_is_set_up() {
    for mode in ["stream", "json", "stateless", "modern"] {
        let Some(sdk) = Sdk::start(mode).await else { return };
        let (server, context) = (sdk.server(&["add", "fail"]), context());
        let pinned = server.list(&context).await.unwrap();
        let names: Vec<_> = pinned.iter().map(|tool| &*tool.0.name).collect();
        assert_eq!(names, ["add", "fail"], "{mode}");
        assert_eq!(pinned[0].0.description, "Adds two numbers.");
        assert_eq!(pinned[0].0.parameters["required"], json!(["a", "b"]));
        // As it is written down and read again.
        let again: Vec<_> =
            pinned.iter().map(|tool| Pinned::of_json(&tool.to_json()).unwrap()).collect();
        assert_eq!(again, pinned);
        let [add, fail] = <[Pinned; 2]>::try_from(pinned).unwrap().map(|it| it.tool(&server));
        assert!(!add.is_repeatable());
        let sum = add.call(&context, "", json!({ "a": 20, "b": 22 })).await;
        assert_eq!((sum.value.as_str(), code(&sum)), (Some("42"), None), "{mode}");
        let failed = fail.call(&context, "", json!({ "why": "no reason" })).await;
        assert_eq!(code(&failed), Some("tool_error"), "{mode}");
        assert!(failed.value.as_str().unwrap().contains("no reason"), "{mode}: {failed:?}");
        // What the server itself finds wrong.
        let malformed = add.call(&context, "", json!({ "a": "x" })).await;
        assert!(malformed.error.is_some(), "{mode}: {malformed:?}");
        server.close(&context).await;
        // A session that is over is begun anew.
        let sum = add.call(&context, "", json!({ "a": 1, "b": 2 })).await;
        assert_eq!(sum.value.as_str(), Some("3"), "{mode}");
    }
}

#[tokio::test]
async fn a_tool_that_the_server_has_changed_is_not_called() {
    let Some(sdk) = Sdk::start("stream").await else { return };
    let (server, context) = (sdk.server(&["add", "change", "large"]), context());
    let pinned = server.list(&context).await.unwrap();
    let [add, change, large] = <[Pinned; 3]>::try_from(pinned).unwrap().map(|it| it.tool(&server));
    let arguments = json!({ "a": 20, "b": 22 });
    for (what, says) in [("description", "has changed"), ("nothing", "is gone")] {
        let done = change.call(&context, "", json!({ "what": what })).await;
        assert_eq!(done.value.as_str(), Some(what));
        let result = add.call(&context, "", arguments.clone()).await;
        assert_eq!(code(&result), Some("tool_changed"), "{what}: {result:?}");
        assert!(result.value.as_str().unwrap().contains(says), "{what}: {result:?}");
    }
    let error = server.list(&context).await.unwrap_err();
    assert_eq!(&*error.failure.code, "mcp_tools");
    assert!(error.failure.message.contains("no tool `add`"), "{error:?}");
    let cut = large.call(&context, "", json!({ "bytes": 300_000 })).await;
    assert!(cut.value.as_str().unwrap().ends_with("of 300000 bytes]"));
    // More than the client reads.
    let refused = large.call(&context, "", json!({ "bytes": 3_000_000 })).await;
    assert_eq!(code(&refused), Some("response_too_large"));
}

#[tokio::test]
async fn the_guard_holds_for_servers_of_tools() {
    let server = server("http://127.0.0.1:9/mcp", &["add"], "");
    let error = server.list(&context()).await.unwrap_err();
    assert_eq!((&*error.failure.code, error.retryable), ("address_refused", false));
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_an_error_without_secrets() {
    use crate::egress::test_server::Server;
    let odd = [
        (200, "text/html", "<html>you sent Bearer HUSH-hush-1</html>"),
        (200, "application/json", "{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":{}}"),
        (200, "text/event-stream", "data: {\n\n"),
        (
            200,
            "application/json",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocolVersion\":\"1999-01-01\"}}",
        ),
        (401, "text/plain", "not with Bearer HUSH-hush-1"),
        (500, "text/plain", "no"),
        (404, "text/plain", "nothing here"),
    ];
    for (status, media, body) in odd {
        let http = Server::start(move |_| {
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            (status, [("content-type", media)], body)
        })
        .await;
        let server = server(&http.url("/mcp"), &["add"], &http.rule());
        let error = server.list(&context()).await.unwrap_err();
        assert_eq!(error.retryable, status == 500, "{status} {body}: {error:?}");
        assert!(!error.failure.message.contains("HUSH"), "{error:?}");
    }
}

/// A server that answers by streams which it leaves open, and lists its tools in pages of one.
async fn open_streams(pages: usize) -> crate::egress::test_server::Server {
    use axum::body::{Body, Bytes};
    use futures_util::StreamExt;
    crate::egress::test_server::Server::start(move |seen| {
        let request: Value = serde_json::from_str(&seen.body).unwrap_or_default();
        let page = request["params"]["cursor"].as_str().map_or(1, |page| page.parse().unwrap());
        let result = match request["method"].as_str().unwrap_or_default() {
            "initialize" => json!({ "protocolVersion": "2025-11-25", "capabilities": {} }),
            "tools/list" => {
                let tool =
                    json!({ "name": format!("tool{page}"), "inputSchema": { "type": "object" } });
                let next = (page < pages).then(|| (page + 1).to_string());
                json!({ "tools": [tool], "nextCursor": next })
            }
            "tools/call" => json!({ "content": [{ "type": "text", "text": "done" }] }),
            _ => Value::Null,
        };
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
        let pieces = [": hello\n\n".to_owned(), format!("event: message\ndata: {answer}\n\n")];
        let pieces = pieces.map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
        let open = futures_util::stream::iter(pieces).chain(futures_util::stream::pending());
        ([("content-type", "text/event-stream")], Body::from_stream(open))
    })
    .await
}

#[tokio::test]
async fn an_answer_is_enough_though_the_server_leaves_its_stream_open() {
    let http = open_streams(2).await;
    let server = server(&http.url("/mcp"), &["tool1", "tool2"], &http.rule());
    let context = context();
    let pinned = server.list(&context).await.unwrap();
    assert_eq!(pinned.len(), 2);
    let tool = pinned.into_iter().next().unwrap().tool(&server);
    let done = tool.call(&context, "", json!({})).await;
    assert_eq!((done.value.as_str(), code(&done)), (Some("done"), None));
    server.close(&context).await;
}
