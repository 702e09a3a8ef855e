//! The node against a real server.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as Answer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::egress::test_server::{Seen, Server};
use crate::egress::{AllowRule, EgressConfig};
use crate::nodes::executors;
use crate::nodes::tests::context;

/// Executes the node, with `url` pointing to `path` on the server.
pub(super) async fn call(
    server: &Server,
    path: &str,
    mut params: Value,
) -> Result<Value, NodeError> {
    params["url"] = server.url(path).into();
    execute(&server.rule(), &context(), params).await
}

pub(super) async fn execute(
    rules: &str,
    context: &NodeContext,
    params: Value,
) -> Result<Value, NodeError> {
    let allow = AllowRule::parse_list(rules).unwrap();
    let egress = Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap();
    match Http::new(egress).execute(context, executors::read(params)?).await? {
        Outcome::Done(done) => Ok(done.output),
        other => panic!("{other:?}"),
    }
}

/// Answers with the status in the path: `/503`.
fn status_of(seen: &Seen) -> StatusCode {
    let digits = seen.uri.trim_start_matches('/').split('/').next().unwrap();
    StatusCode::from_bytes(digits.as_bytes()).unwrap()
}

/// The body that a node yields of an answer with this type and these bytes.
pub(super) async fn typed(
    content_type: &'static str,
    body: &'static [u8],
) -> Result<Value, NodeError> {
    let server = Server::start(move |_| ([("content-type", content_type)], body)).await;
    call(&server, "/", json!({})).await.map(|output| output["body"].clone())
}

#[tokio::test]
async fn the_output_is_status_headers_body_and_url() {
    let server = Server::start(|_| {
        let headers = [("X-One", "a"), ("X-ONE", "b"), ("Set-Cookie", "session=s")];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        (StatusCode::CREATED, axum::http::HeaderMap::from_iter(headers), "text").into_response()
    })
    .await;
    let output = call(&server, "/x?q=1", json!({})).await.unwrap();
    assert_eq!(output["status"], 201);
    assert_eq!(output["body"], "text");
    assert_eq!(output["url"], server.url("/x?q=1"));
    let headers = output["headers"].as_object().unwrap();
    assert!(!headers.contains_key("set-cookie"));
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
}

#[tokio::test]
async fn repeated_headers_are_joined() {
    let server = Server::start(|_| {
        let mut headers = axum::http::HeaderMap::new();
        for value in ["a", "b"] {
            headers.append("X-Many", value.parse().unwrap());
        }
        headers
    })
    .await;
    let output = call(&server, "/", json!({})).await.unwrap();
    assert_eq!(output["headers"]["x-many"], "a, b");
}

#[tokio::test]
async fn a_body_is_json_text_or_bytes() {
    let value = json!({ "a": [1, "ü"] });
    for content_type in
        ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"]
    {
        assert_eq!(typed(content_type, r#"{"a":[1,"ü"]}"#.as_bytes()).await.unwrap(), value);
    }
    assert_eq!(typed("application/json", b"\xef\xbb\xbf[]").await.unwrap(), json!([]));
    assert_eq!(typed("application/json", b"").await.unwrap(), Value::Null);
    assert_eq!(typed("text/html", b"{}").await.unwrap(), "{}");
    assert_eq!(typed("text/plain", b"").await.unwrap(), "");
    assert_eq!(typed("image/png", b"\x89PNG").await.unwrap(), json!({ "base64": "iVBORw==" }));
}

#[tokio::test]
async fn json_that_is_none_or_too_deep_is_a_failure_that_quotes_nothing() {
    let error = typed("application/json", b"{\"secret\": oops}").await.unwrap_err();
    assert_eq!(&*error.failure.code, "invalid_response");
    assert!(!error.failure.message.contains("secret") && !error.retryable);
    let deep = typed("application/json", "[".repeat(64).leak().as_bytes()).await.unwrap_err();
    assert_eq!(&*deep.failure.code, "invalid_response");
    let nested: &str = format!("{}{}", "[".repeat(64), "]".repeat(64)).leak();
    let deep = typed("application/json", nested.as_bytes()).await.unwrap_err();
    assert!(deep.failure.message.contains("deeper than 63 levels"), "{deep:?}");
    assert!(typed("application/json", &nested.as_bytes()[1..127]).await.is_ok());
}

#[tokio::test]
async fn an_output_that_grows_beyond_its_limit_is_a_failure() {
    static BYTES: [u8; 900_000] = [0xff; 900_000];
    static NULS: [u8; 500_000] = [0; 500_000];
    for body in [&BYTES[..], &NULS[..]] {
        let error = typed("application/octet-stream", body).await.unwrap_err();
        assert_eq!((&*error.failure.code, error.retryable), ("response_too_large", false));
    }
}

#[tokio::test]
async fn bodies_are_sent_as_what_they_are() {
    let server = Server::start(|_| "ok").await;
    for (body, headers, text, content_type) in [
        (json!({ "a": 1 }), json!({}), r#"{"a":1}"#, "application/json"),
        (json!([1, "x"]), json!({}), r#"[1,"x"]"#, "application/json"),
        (json!(7), json!({}), "7", "application/json"),
        (json!(false), json!({}), "false", "application/json"),
        (json!("x"), json!({}), "x", "text/plain; charset=utf-8"),
        (json!("a=b"), json!({ "Content-Type": "x/y" }), "a=b", "x/y"),
        (json!({}), json!({ "content-type": "a/b+json" }), "{}", "a/b+json"),
    ] {
        call(&server, "/", json!({ "method": "POST", "body": body, "headers": headers }))
            .await
            .unwrap();
        let seen = server.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.body.as_str()), ("POST", text));
        assert_eq!(seen.header("content-type"), Some(content_type));
    }
}

#[tokio::test]
async fn query_and_headers_are_added() {
    let server = Server::start(|_| "ok").await;
    let params = json!({
        "query": { "a": "x y&z", "n": 1, "many": [true, "two"], "none": null },
        "headers": { "X-Number": "5" },
    });
    call(&server, "/p?first=0", params).await.unwrap();
    let seen = server.only();
    assert_eq!(seen.uri, "/p?first=0&a=x+y%26z&n=1&many=true&many=two");
    assert_eq!(seen.header("x-number"), Some("5"));
    assert_eq!(seen.header("user-agent"), Some(concat!("skein/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(seen.header("traceparent"), Some(context().span.to_traceparent().as_str()));
}

#[tokio::test]
async fn requests_that_change_things_carry_the_activations_key() {
    let server = Server::start(|_| "ok").await;
    let context = context();
    let send = async |mut params: Value| {
        params["url"] = server.url("/").into();
        execute(&server.rule(), &context, params).await.unwrap();
        server.seen().pop().unwrap().header("idempotency-key").map(str::to_owned)
    };
    let key = Some(format!("{}_fetch_", context.run.id));
    assert_eq!(send(json!({ "method": "POST" })).await, key);
    assert_eq!(send(json!({ "method": "PATCH" })).await, key);
    assert_eq!(send(json!({ "method": "PUT" })).await, None);
    assert_eq!(send(json!({})).await, None);
    assert_eq!(send(json!({ "method": "POST", "idempotency_key": false })).await, None);
    let own = json!({ "method": "POST", "headers": { "IDEMPOTENCY-KEY": "mine" } });
    assert_eq!(send(own).await.as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_bad_status_fails_the_node_unless_it_is_accepted() {
    let server = Server::start(status_of).await;
    for (status, retryable) in [
        (400, false),
        (401, false),
        (404, false),
        (408, true),
        (425, true),
        (429, true),
        (500, true),
        (501, false),
        (502, true),
        (503, true),
        (504, true),
    ] {
        let error = call(&server, &format!("/{status}"), json!({})).await.unwrap_err();
        assert_eq!((&*error.failure.code, error.retryable), ("http_status", retryable), "{status}");
    }
    let accepting = json!({ "accept_status": [404, 409, "5xx"] });
    for status in [404, 409, 500, 599] {
        let output = call(&server, &format!("/{status}"), accepting.clone()).await.unwrap();
        assert_eq!(output["status"], status);
    }
    assert!(call(&server, "/403", accepting).await.is_err());
    assert_eq!(call(&server, "/304", json!({})).await.unwrap()["status"], 304);
}

#[tokio::test]
async fn a_failure_names_the_request_without_its_secrets() {
    let server = Server::start(|_| {
        (StatusCode::BAD_REQUEST, format!("  no\n such\t thing {}", "x".repeat(500)))
    })
    .await;
    let url = format!("http://user:pass@{}/a/b?key=secret", server.address);
    let params = json!({ "url": url, "method": "DELETE", "headers": { "x-key": "secret" } });
    let error = execute(&server.rule(), &context(), params).await.unwrap_err();
    let message = error.failure.message;
    let start =
        format!("DELETE {}/a/b answered 400 Bad Request: no such thing xxx", server.address);
    assert!(message.starts_with(&start), "{message}");
    let excerpt = message.split_once("Request: ").unwrap().1;
    assert_eq!((excerpt.chars().count(), excerpt.ends_with("x…")), (201, true));
    assert!(!message.contains("secret") && !message.contains("pass"));
}

fn with_headers(
    headers: &'static [(&'static str, &'static str)],
) -> impl Fn(&Seen) -> Answer + Clone {
    move |seen| {
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap())
        });
        (status_of(seen), headers.collect::<axum::http::HeaderMap>()).into_response()
    }
}

#[tokio::test]
async fn retry_after_is_honoured_in_seconds_and_as_a_date() {
    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let cases: [(&'static [_], Option<Duration>); 9] = [
        (&[("retry-after", "7")], Some(Duration::from_secs(7))),
        (&[DATE, ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], Some(Duration::from_secs(10))),
        (&[DATE, ("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")], Some(Duration::ZERO)),
        (&[("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")], Some(Duration::ZERO)),
        (&[("retry-after", "99999999999")], Some(Duration::from_secs(99_999_999_999))),
        (&[("retry-after", "99999999999999999999")], Some(Duration::from_secs(u64::MAX))),
        (&[("retry-after", "")], None),
        (&[("retry-after", "soon")], None),
        (&[], None),
    ];
    for (headers, expected) in cases {
        let server = Server::start(with_headers(headers)).await;
        let error = call(&server, "/429", json!({})).await.unwrap_err();
        assert_eq!(error.retry_after, expected, "{headers:?}");
        let hopeless = call(&server, "/404", json!({})).await.unwrap_err();
        assert_eq!(hopeless.retry_after, None);
    }
}

/// A server without a clock sends no `Date`. Nodes wait by the database's clock, and not by this host's.
#[tokio::test]
async fn a_date_to_retry_after_is_read_by_the_clock_that_waits_are_measured_by() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        let head = "HTTP/1.1 503 Later\r\nContent-Length: 0\r\nRetry-After: Thu, 31 Jan 2030 14:00:00 GMT\r\n\r\n";
        let _ = connection.read(&mut [0; 4096]).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        connection
    };
    let params = json!({ "url": format!("http://{address}/") });
    let rule = address.to_string();
    let context = context();
    let (result, _) = tokio::join!(execute(&rule, &context, params), answer);
    // The attempt began at noon and has taken some of its 20 s.
    let wait = result.unwrap_err().retry_after.unwrap();
    let two_hours = Duration::from_secs(2 * 3600);
    assert!(wait <= two_hours && wait > two_hours - Duration::from_secs(21), "{wait:?}");
}

#[tokio::test]
async fn parameters_that_make_no_request_are_diagnostics_that_quote_no_value() {
    for params in [
        json!("secret"),
        json!({}),
        json!({ "url": 5 }),
        json!({ "url": "secret" }),
        json!({ "url": "/secret" }),
        json!({ "url": "ftp://secret.example/" }),
        json!({ "url": "http://user:secret@/" }),
        json!({ "url": "http://u:secret@[::1/" }),
        json!({ "url": "http://h/a\r\nsecret" }),
        json!({ "url": format!("http://h/{}", "secret".repeat(2000)) }),
        json!({ "url": "http://h/", "method": "CONNECT" }),
        json!({ "url": "http://h/", "method": "TRACE" }),
        json!({ "url": "http://h/", "method": "GET / HTTP/1.1\r\nX: secret" }),
        json!({ "url": "http://h/", "method": 1 }),
        json!({ "url": "http://h/", "headers": ["secret"] }),
        json!({ "url": "http://h/", "headers": { "x": ["secret"] } }),
        json!({ "url": "http://h/", "headers": { "x": "a\r\nX-Evil: secret" } }),
        json!({ "url": "http://h/", "headers": { "x": "a\nsecret" } }),
        json!({ "url": "http://h/", "headers": { "x": "secret\u{0}" } }),
        json!({ "url": "http://h/", "headers": { "x\r\nsecret": "a" } }),
        json!({ "url": "http://h/", "headers": { "": "secret" } }),
        json!({ "url": "http://h/", "headers": { "Host": "secret" } }),
        json!({ "url": "http://h/", "headers": { "content-LENGTH": "0" } }),
        json!({ "url": "http://h/", "headers": { "Transfer-Encoding": "chunked" } }),
        json!({ "url": "http://h/", "headers": { "Connection": "x-secret" } }),
        json!({ "url": "http://h/", "headers": { "Proxy-Authorization": "secret" } }),
        json!({ "url": "http://h/", "headers": { "traceparent": "secret" } }),
        json!({ "url": "http://h/", "headers": { "x": "secret".repeat(4000) } }),
        json!({ "url": "http://h/", "query": { "q": { "a": "secret" } } }),
        json!({ "url": "http://h/", "query": "secret" }),
        json!({ "url": "http://h/", "idempotency_key": "secret" }),
    ] {
        let error = execute("", &context(), params.clone()).await.unwrap_err();
        assert_eq!((&*error.failure.code, error.retryable), ("invalid_params", false), "{params}");
        assert!(!error.failure.message.contains("secret"), "{}", error.failure.message);
    }
    let many: serde_json::Map<_, _> = (0..65).map(|n| (format!("x-{n}"), json!("v"))).collect();
    let error = execute("", &context(), json!({ "url": "http://h/", "headers": many })).await;
    assert_eq!(&*error.unwrap_err().failure.code, "invalid_params");
}

#[tokio::test]
async fn a_refused_address_says_what_an_operator_can_do() {
    let server = Server::start(|_| "secret").await;
    let params = json!({ "url": server.url("/?key=k") });
    let error = execute("", &context(), params).await.unwrap_err();
    assert_eq!((&*error.failure.code, error.retryable), ("address_refused", false));
    assert_eq!(
        error.failure.message,
        "127.0.0.1 is a loopback address, which requests may not reach unless an operator lists it in SKEIN_HTTP_ALLOW"
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_attempt_ends_when_its_time_is_up_or_it_is_cancelled() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let params = json!({ "url": format!("http://{address}/") });

    let short = NodeContext { timeout: Duration::from_millis(100), ..context() };
    let error = execute(&address.to_string(), &short, params.clone()).await.unwrap_err();
    assert_eq!((&*error.failure.code, error.retryable), ("timeout", true));
    assert_eq!(error.failure.message, format!("no answer from {address} within 100ms"));

    let context = context();
    let rule = address.to_string();
    let attempt = execute(&rule, &context, params);
    let cancel = async {
        // Its connection is there, so the request is under way.
        let connections = (silent.accept().await.unwrap(), silent.accept().await.unwrap());
        context.cancelled.cancel();
        connections
    };
    let (result, _) = tokio::join!(attempt, cancel);
    assert_eq!(&*result.unwrap_err().failure.code, "cancelled");
}
