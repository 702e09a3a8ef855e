//! The client against real servers.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as Answer};
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt as _, stream};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use skein_shared::domain::trace::{SpanId, TraceContext};
use tokio::net::TcpListener;

use super::guard::{Answer as LookupAnswer, Lookup};
use super::test_server::{Seen, Server};
use super::*;
use crate::mask::Masker;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn origin() -> Origin {
    let span = TraceContext::from_traceparent(PARENT).unwrap();
    let context = crate::nodes::sample_context();
    Origin { span, run: context.run, key: context.key, resends: 0, masker: Masker::default() }
}

fn config(rules: &[String]) -> EgressConfig {
    let allow = AllowRule::parse_list(&rules.join(",")).unwrap();
    EgressConfig { allow, ..EgressConfig::default() }
}

fn egress(rules: &[String]) -> Egress {
    Egress::new(&config(rules)).unwrap()
}

fn get(url: impl AsRef<str>) -> Request {
    Request {
        method: Method::GET,
        url: Url::parse(url.as_ref()).unwrap(),
        headers: HeaderMap::new(),
        body: None,
        timeout: Duration::from_secs(20),
    }
}

fn redirect_to(location: &str) -> Answer {
    (StatusCode::FOUND, [("location", location.to_owned())]).into_response()
}

/// Answers `/3` with a redirect to `/2`, and so on; `/0` leads to `end`.
fn chain(end: String) -> impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static {
    move |seen| match seen.uri.trim_start_matches('/').parse::<u32>().unwrap() {
        0 => redirect_to(&end),
        left => redirect_to(&format!("/{}", left - 1)),
    }
}

fn is_refused(result: &Result<Response, EgressError>) -> bool {
    matches!(result, Err(EgressError::Refused { .. }))
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused_at_every_hop() {
    let inside = Server::start(|_| "secret").await;
    let port = inside.port();
    for hops in 0..REDIRECTS_MAX {
        for end in [
            inside.url("/"),
            format!("http://localhost:{port}/"),
            format!("http://0x7f.1:{port}/"),
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "http://metadata.google.internal/".to_owned(),
        ] {
            let outside = Server::start(chain(end.clone())).await;
            let egress = egress(&[outside.rule()]);
            let result = egress.send(get(outside.url(&format!("/{hops}"))), &origin()).await;
            assert!(is_refused(&result), "{end} after {hops} hops: {result:?}");
            assert_eq!(outside.seen().len() as u32, hops + 1);
        }
    }
    assert!(inside.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_to_another_scheme_is_refused() {
    for end in ["file:///etc/passwd", "ftp://example.com/", "gopher://127.0.0.1/", "data:,x"] {
        let outside = Server::start(chain(end.to_owned())).await;
        let error = egress(&[outside.rule()]).send(get(outside.url("/0")), &origin()).await;
        assert!(matches!(error, Err(EgressError::Scheme { .. })), "{end}: {error:?}");
    }
    let first = egress(&[]).send(get("file:///etc/passwd"), &origin()).await.unwrap_err();
    assert_eq!(first.to_string(), "only http and https addresses can be requested, not file");
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::start(|_| redirect_to("/")).await;
    let error = egress(&[server.rule()]).send(get(server.url("/")), &origin()).await.unwrap_err();
    assert!(matches!(error, EgressError::TooManyRedirects { .. }) && !error.retryable());
    assert_eq!(server.seen().len() as u32, REDIRECTS_MAX + 1);
}

#[tokio::test]
async fn loopback_is_refused_by_name_and_by_address() {
    let server = Server::start(|_| "secret").await;
    let port = server.port();
    for host in ["localhost", "127.0.0.1", "[::ffff:7f00:1]", "LocalHost", "0.0.0.0"] {
        let result = egress(&[]).send(get(format!("http://{host}:{port}/")), &origin()).await;
        assert!(is_refused(&result), "{host}: {result:?}");
        assert!(!result.unwrap_err().retryable());
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_rule_for_a_port_opens_no_other_port() {
    let open = Server::start(|_| "open").await;
    let closed = Server::start(|_| "closed").await;
    for host in ["localhost", "127.0.0.1"] {
        let egress = egress(&[format!("{host}:{}", open.port())]);
        let url = |server: &Server| format!("http://{host}:{}/", server.port());
        assert_eq!(egress.send(get(url(&open)), &origin()).await.unwrap().body, "open");
        assert!(is_refused(&egress.send(get(url(&closed)), &origin()).await), "{host}");
    }
    assert!(closed.seen().is_empty());
}

#[tokio::test]
async fn a_network_without_a_port_opens_all_its_ports() {
    let (one, two) = (Server::start(|_| "1").await, Server::start(|_| "2").await);
    let egress = egress(&["127.0.0.0/8".to_owned()]);
    for server in [&one, &two] {
        assert!(egress.send(get(server.url("/")), &origin()).await.is_ok());
    }
    let elsewhere = egress.send(get("http://10.0.0.1/"), &origin()).await;
    assert!(is_refused(&elsewhere));
}

/// A name server that gives another answer every time: first a good one, then loopback.
struct Rebinding {
    asked: AtomicU8,
}

impl Lookup for Rebinding {
    fn lookup(&self, _: String) -> LookupAnswer {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        // 127.0.0.2 plays the good address: nobody but a test server listens there.
        let ip = if number == 0 { [127, 0, 0, 2] } else { [127, 0, 0, 1] };
        Box::pin(async move { Ok(vec![SocketAddr::from((ip, 0))]) })
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_connected_to_where_it_was_checked() {
    let inside = Server::start(|_| "secret").await;
    let port = inside.port();
    let good = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let router = axum::Router::new().fallback(|| async { ([("connection", "close")], "good") });
    tokio::spawn(async move { axum::serve(good, router).await.unwrap() });

    let lookup = Arc::new(Rebinding { asked: AtomicU8::new(0) });
    let config = config(&["127.0.0.2".to_owned()]);
    let egress = Egress::with_lookup(&config, &(Arc::clone(&lookup) as Arc<dyn Lookup>)).unwrap();
    let url = format!("http://rebind.example:{port}/");
    assert_eq!(egress.send(get(&url), &origin()).await.unwrap().body, "good");
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 1, "checked and used the same answer");
    assert!(is_refused(&egress.send(get(&url), &origin()).await), "asked again, refused");
    assert!(inside.seen().is_empty());
}

struct Nowhere;

impl Lookup for Nowhere {
    fn lookup(&self, _: String) -> LookupAnswer {
        Box::pin(async { Err(io::Error::other("no such name")) })
    }
}

#[tokio::test]
async fn names_without_an_address_and_closed_ports_may_be_tried_again() {
    let nowhere =
        Egress::with_lookup(&config(&[]), &(Arc::new(Nowhere) as Arc<dyn Lookup>)).unwrap();
    let error = nowhere.send(get("http://gone.example/?key=k"), &origin()).await.unwrap_err();
    assert_eq!(error.to_string(), "the name gone.example could not be looked up");
    assert!(error.retryable());

    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let egress = egress(&["127.0.0.1".to_owned()]);
    let closed = get(format!("http://user:pass@127.0.0.1:{port}/path?key=k"));
    let error = egress.send(closed, &origin()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("no connection to 127.0.0.1:{port}: connection refused"));
    assert!(error.retryable());
}

#[tokio::test]
async fn a_connection_that_breaks_is_distinguished_from_one_that_never_was() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
        }
    });
    let result =
        egress(&[address.to_string()]).send(get(format!("http://{address}/")), &origin()).await;
    let error = result.unwrap_err();
    assert!(matches!(error, EgressError::Interrupted { .. }) && error.retryable(), "{error:?}");
}

#[tokio::test]
async fn https_to_a_server_without_tls_fails_to_connect() {
    let server = Server::start(|_| "plain").await;
    let url = format!("https://{}/", server.address);
    let error = egress(&[server.rule()]).send(get(url), &origin()).await.unwrap_err();
    assert!(matches!(error, EgressError::Connect { .. }), "{error:?}");
}

fn limited(server: &Server, response_bytes_max: usize) -> Egress {
    let config = EgressConfig { response_bytes_max, ..config(&[server.rule()]) };
    Egress::new(&config).unwrap()
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
    let server = Server::start(|seen| {
        let bytes: usize = seen.uri.trim_start_matches("/sized/").parse().unwrap_or(101);
        match seen.uri.starts_with("/sized") {
            true => Body::from(vec![b'x'; bytes]),
            false => Body::from_stream(stream::iter(vec![Ok::<_, Infallible>("x"); bytes])),
        }
        .into_response()
    })
    .await;
    let egress = limited(&server, 100);
    assert_eq!(
        egress.send(get(server.url("/sized/100")), &origin()).await.unwrap().body.len(),
        100
    );
    for path in ["/sized/101", "/sized/10000000", "/chunked"] {
        let error = egress.send(get(server.url(path)), &origin()).await.unwrap_err();
        assert!(matches!(error, EgressError::TooLarge { part: "body", limit: 100, .. }), "{path}");
        assert!(!error.retryable());
    }
}

#[tokio::test]
async fn an_endless_body_is_given_up() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let server = Server::start(move |_| {
        let counter = Arc::clone(&counter);
        let endless = stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(vec![b'x'; 1024])
        });
        Body::from_stream(endless).into_response()
    })
    .await;
    let error = egress(&[server.rule()]).send(get(server.url("/")), &origin()).await.unwrap_err();
    assert!(matches!(error, EgressError::TooLarge { limit: RESPONSE_BYTES_MAX, .. }));
    assert!(sent.load(Ordering::Relaxed) >= RESPONSE_BYTES_MAX / 1024);
}

fn gzipped(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_gzip_bomb_is_refused_by_what_it_unpacks_to() {
    let bomb = gzipped(&vec![0; 64 * 1024 * 1024]);
    assert!(bomb.len() < RESPONSE_BYTES_MAX / 4, "packed it would pass");
    let server = Server::start(move |seen| {
        let body = if seen.uri == "/bomb" { bomb.clone() } else { gzipped(b"hello") };
        ([("content-encoding", "gzip")], body).into_response()
    })
    .await;
    let egress = egress(&[server.rule()]);
    let error = egress.send(get(server.url("/bomb")), &origin()).await.unwrap_err();
    assert!(matches!(error, EgressError::TooLarge { part: "body", .. }), "{error:?}");
    assert_eq!(egress.send(get(server.url("/")), &origin()).await.unwrap().body, "hello");
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let server = Server::start(|_| {
        let mut headers = HeaderMap::new();
        for index in 0..40 {
            let name = HeaderName::try_from(format!("x-{index}")).unwrap();
            headers.insert(name, HeaderValue::from_str(&"v".repeat(1024)).unwrap());
        }
        (headers, "body").into_response()
    })
    .await;
    let error = egress(&[server.rule()]).send(get(server.url("/")), &origin()).await.unwrap_err();
    assert!(matches!(error, EgressError::TooLarge { part: "head", .. }), "{error:?}");
}

#[tokio::test]
async fn a_slow_server_does_not_outlast_the_timeout() {
    let server = Server::start(|_| {
        let first = stream::iter([Ok::<_, Infallible>("x")]);
        Body::from_stream(first.chain(stream::pending())).into_response()
    })
    .await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().map(|address| (silent, format!("http://{address}/"))).unwrap();
    let egress = egress(&["127.0.0.1".to_owned()]);
    for url in [server.url("/"), silent.1] {
        let request = Request { timeout: Duration::from_millis(150), ..get(&url) };
        let begun = Instant::now();
        let error = egress.send(request, &origin()).await.unwrap_err();
        assert!(matches!(error, EgressError::Timeout { .. }) && error.retryable(), "{error:?}");
        assert!(error.to_string().ends_with("within 150ms"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{url}");
    }
}

#[tokio::test]
async fn the_timeout_is_for_all_hops_together() {
    // Each of the six answers takes well under the timeout, all of them together well over it.
    let hops = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&hops);
    let handler = move || async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        match counter.fetch_add(1, Ordering::SeqCst) as u32 {
            REDIRECTS_MAX => "arrived".into_response(),
            _ => redirect_to("/"),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let url = format!("http://{address}/");
    let request = Request { timeout: Duration::from_millis(700), ..get(url) };
    let error = egress(&[address.to_string()]).send(request, &origin()).await.unwrap_err();
    assert!(matches!(error, EgressError::Timeout { .. }), "{error:?}");
    let hops = hops.load(Ordering::SeqCst);
    assert!((1..=3).contains(&hops), "{hops} answers in time for three");
}

#[tokio::test]
async fn credentials_are_dropped_across_origins_and_kept_within() {
    let other = Server::start(|_| "other").await;
    let end = other.url("/landing");
    let first = Server::start(move |seen| match seen.uri.as_str() {
        "/same" => redirect_to("/away"),
        _ => (StatusCode::TEMPORARY_REDIRECT, [("location", end.clone())]).into_response(),
    })
    .await;
    let secrets = ["authorization", "cookie", "x-api-key"];
    let mut request = get(first.url("/same"));
    for name in secrets.into_iter().chain(["accept", "content-type"]) {
        let name = HeaderName::from_static(name);
        request.headers.insert(name, HeaderValue::from_static("text/secret"));
    }
    let egress = egress(&[first.rule(), other.rule()]);
    let response = egress.send(request, &origin()).await.unwrap();
    assert_eq!(response.url.as_str(), end_of(&other));
    for seen in first.seen() {
        assert!(secrets.iter().all(|name| seen.header(name).is_some()), "{}", seen.uri);
    }
    let landed = other.only();
    assert!(!secrets.iter().any(|name| landed.header(name).is_some()), "{:?}", landed.headers);
    assert_eq!(landed.header("accept"), Some("text/secret"));
    assert_eq!(landed.header("referer"), None);
}

fn end_of(server: &Server) -> String {
    server.url("/landing")
}

#[tokio::test]
async fn a_body_follows_a_307_and_not_a_303() {
    let server = Server::start(|seen| match seen.uri.as_str() {
        "/307" => (StatusCode::TEMPORARY_REDIRECT, [("location", "/end")]).into_response(),
        "/303" => (StatusCode::SEE_OTHER, [("location", "/end")]).into_response(),
        _ => format!("{} {}", seen.method, seen.body).into_response(),
    })
    .await;
    let egress = egress(&[server.rule()]);
    for (path, expected) in [("/307", "POST payload"), ("/303", "GET ")] {
        let mut request = get(server.url(path));
        request.method = Method::POST;
        request.body = Some("payload".into());
        assert_eq!(egress.send(request, &origin()).await.unwrap().body, expected, "{path}");
    }
}

#[tokio::test]
async fn user_and_password_of_a_url_become_a_header() {
    let server = Server::start(|_| "ok").await;
    let url = format!("http://us%20er:pa%3Ass@{}/x?q=1#f", server.address);
    let response = egress(&[server.rule()]).send(get(url), &origin()).await.unwrap();
    assert_eq!(response.url.as_str(), server.url("/x?q=1"));
    // `us er:pa:ss` in base64.
    assert_eq!(server.only().header("authorization"), Some("Basic dXMgZXI6cGE6c3M="));
}

/// What an observer was given, as text.
#[derive(Default)]
struct Recorder {
    begun: AtomicU8,
    ended: Mutex<Vec<String>>,
}

impl Observer for Recorder {
    fn begin(&self, origin: &Origin) -> TraceContext {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        origin.span.with_span(SpanId([number; 8]))
    }

    fn end(&self, exchange: &Exchange<'_>) {
        assert!(exchange.started_at <= exchange.ended_at);
        assert_eq!(exchange.version, exchange.status.map(|_| "1.1"));
        assert_eq!(exchange.origin.span.to_traceparent(), PARENT);
        assert_eq!(exchange.context.trace, exchange.origin.span.trace);
        let Exchange { method, url, redirects, status, error, .. } = exchange;
        let span = exchange.context.span.0[0];
        let line = format!("{span}: {method} {url} #{redirects} {status:?} {error:?}");
        self.ended.lock().unwrap().push(line);
    }
}

fn observed(rules: &[String]) -> (Egress, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let observer = Arc::clone(&recorder) as Arc<dyn Observer>;
    (Egress::new(&EgressConfig { observer, ..config(rules) }).unwrap(), recorder)
}

#[tokio::test]
async fn every_hop_carries_a_span_of_its_own_and_is_observed() {
    let server = Server::start(|seen| match seen.uri.as_str() {
        "/a?key=k&n=1" => redirect_to("/b?key=k"),
        "/b?key=k" => redirect_to("http://10.0.0.1/c?key=k"),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let (egress, recorder) = observed(&[server.rule()]);
    let url = format!("http://user:pass@{}/a?key=k&n=1#f", server.address);
    assert!(is_refused(&egress.send(get(url), &origin()).await));
    egress.send(get(server.url("/d")), &origin()).await.unwrap();

    let host = server.address;
    assert_eq!(
        *recorder.ended.lock().unwrap(),
        [
            format!("1: GET http://{host}/a?key=REDACTED&n=1 #0 Some(302) None"),
            format!("2: GET http://{host}/b?key=REDACTED #1 Some(302) None"),
            "3: GET http://10.0.0.1/c?key=REDACTED #2 None Some(\"address_refused\")".to_owned(),
            format!("4: GET http://{host}/d #0 Some(404) None"),
        ]
    );
    let sent: Vec<_> =
        server.seen().iter().map(|seen| seen.header("traceparent").unwrap().to_owned()).collect();
    assert_eq!(
        sent,
        ["01", "02", "04"]
            .map(|byte| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", byte.repeat(8)))
    );
}

#[tokio::test]
async fn a_redirect_that_repeats_a_secret_puts_it_into_no_span() {
    let server = Server::start(|seen| match seen.uri.as_str() {
        "/a" => redirect_to("/for/hush%261-hush/b"),
        _ => "arrived".into_response(),
    })
    .await;
    let (egress, recorder) = observed(&[server.rule()]);
    let masker = Masker::of(["hush&1-hush".to_owned()]);
    let origin = Origin { masker, ..origin() };
    assert!(egress.send(get(server.url("/a")), &origin).await.is_ok());
    let ended = recorder.ended.lock().unwrap().join("; ");
    assert!(ended.contains("/for/REDACTED/b #1") && !ended.contains("hush"), "{ended}");
}

#[tokio::test]
async fn an_abandoned_request_is_observed_as_cancelled() {
    let arrived = Arc::new(tokio::sync::Notify::new());
    let notify = Arc::clone(&arrived);
    let server = Server::start(move |_| {
        notify.notify_one();
        Body::from_stream(stream::pending::<Result<&str, Infallible>>()).into_response()
    })
    .await;
    let (egress, recorder) = observed(&[server.rule()]);
    let origin = origin();
    tokio::select! {
        result = egress.send(get(server.url("/")), &origin) => panic!("{result:?}"),
        () = arrived.notified() => {}
    }
    let ended = recorder.ended.lock().unwrap().clone();
    assert_eq!(ended.len(), 1);
    assert!(ended[0].ends_with("Some(\"cancelled\")"), "{ended:?}");
}
