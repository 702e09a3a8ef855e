//! Bounds of connections, requests and time, over bare TCP where a client would be too polite.

use std::time::Duration;

use serde_json::json;
use skein_api::Limits;
use skein_api::limits::HEADER_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, Parts, Server, workflow};

async fn with(limits: Limits) -> Server {
    Server::with(Parts { limits, ..Parts::default() }).await
}

/// Sends the text and reads until the server closes the connection.
async fn exchange(server: &Server, text: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer, with bytes of ours still unread, is fine.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The tests' runtime has one thread, so a check in place would hold up the probe.
#[tokio::test]
async fn an_input_that_takes_long_to_check_holds_nobody_up() {
    let server = with(Limits::default()).await;
    let ada = server.tenant().await;
    let mut document = workflow("costly");
    let alternatives: Vec<_> = (0..150).map(|n| json!({ "minimum": n + 1 })).collect();
    document["input"] = json!({ "properties": { "n": { "items": { "anyOf": alternatives } } } });
    ada.post("/v1/workflows", &document).await.expect(201);
    let body = json!({ "input": { "n": vec![150; 40_000] } });
    let starts = (0..3).map(|_| ada.post("/v1/workflows/costly/runs", &body));
    let starts = futures_util::future::join_all(starts);
    let mut answered = 0;
    let probes = async {
        loop {
            server.nobody().get("/livez").await.expect(200);
            answered += 1;
        }
    };
    let answers = tokio::select! {
        answers = starts => answers,
        () = probes => unreachable!("the probes go on"),
    };
    for answer in answers {
        answer.expect(202);
    }
    // There is one thread here: had the checks held it, one might have been answered between two of them.
    assert!(answered >= 5, "{answered}");
}

#[tokio::test]
async fn headers_are_bounded_in_number_size_and_time() {
    let time = Duration::from_millis(200);
    let limits =
        Limits { first_byte_time: time, head_time: time, idle_time: time, ..Limits::default() };
    let server = with(limits).await;
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = exchange(&server, &format!("GET /livez HTTP/1.1\r\nhost: a\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = "x".repeat(64 * 1024);
    let answer = exchange(&server, &format!("GET /livez HTTP/1.1\r\nx: {long}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    for (what, text) in [
        ("the first byte", ""),
        ("the rest of the headers", "GET /livez HT"),
        ("the next request", "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        let closed = tokio::time::timeout(Duration::from_secs(10), exchange(&server, text));
        assert!(closed.await.is_ok(), "the server waits for {what} for ever");
    }
    // Bytes that come one by one are no headers either.
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let dripping = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if slow.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    let dripping = tokio::time::timeout(Duration::from_secs(10), dripping).await;
    assert!(dripping.is_ok(), "the server waits as long as something comes");
}

#[tokio::test]
async fn a_header_that_says_one_thing_may_be_there_once() {
    let server = Server::start().await;
    for (host, says) in [
        ("", "is missing"),
        ("host: a\r\nhost: a\r\n", "is there twice"),
        ("host: a\r\nHost: b\r\n", "is there twice"),
        ("host: \r\n", "cannot be read"),
        ("host: a b\r\n", "cannot be read"),
        ("host: ada@a\r\n", "cannot be read"),
    ] {
        let request = format!("GET /v1/runs HTTP/1.1\r\n{host}connection: close\r\n\r\n");
        let answer = exchange(&server, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(says), "{host:?}: {answer}");
    }
    for fine in [
        "GET /livez HTTP/1.0\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: [::1]:80\r\nconnection: close\r\n\r\n",
    ] {
        let answer = exchange(&server, fine).await;
        assert!(answer.contains(" 200 OK"), "{fine:?}: {answer}");
    }
    for lengths in ["2\r\ncontent-length: 3", "2, 3", "+2"] {
        let request = format!(
            "POST /v1/workflows HTTP/1.1\r\nhost: a\r\ncontent-length: {lengths}\r\nconnection: close\r\n\r\n{{}}"
        );
        let answer = exchange(&server, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{lengths:?}: {answer}");
    }
}

#[tokio::test]
async fn headers_a_little_beyond_their_bound_are_refused_with_a_problem() {
    let server = with(Limits::default()).await;
    let get = |bytes: usize| {
        let value = "x".repeat(bytes);
        server.nobody().request("GET", "/livez").header("x-long", value)
    };
    let fits = Client::send(get(HEADER_BYTES_MAX - 200)).await;
    assert_eq!(fits.status, 200, "{}", fits.text);
    // A connection whose buffer is full before the headers end answers by itself, without a body.
    let long = Client::send(get(HEADER_BYTES_MAX)).await;
    assert_eq!(long.status, 431, "{}", long.text);
    if !long.text.is_empty() {
        long.problem(431, "headers-too-large");
    }
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_keep_its_connection() {
    let limits =
        Limits { connections: 1, write_time: Duration::from_millis(200), ..Limits::default() };
    let server = with(limits).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut greedy = socket.connect(server.address).await.unwrap();
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(500);
    greedy.write_all(requests.as_bytes()).await.unwrap();
    // There is one permit only, so whoever is answered has got it back.
    let served = tokio::time::timeout(Duration::from_secs(20), async {
        while reqwest::get(format!("http://{}/livez", server.address)).await.is_err() {}
    });
    assert!(served.await.is_ok(), "the place was not given back");
    drop(greedy);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits { body_time: Duration::from_millis(200), ..Limits::default() };
    let server = with(limits).await;
    let ada = server.tenant().await;
    let body = reqwest::Body::wrap_stream(futures_util::stream::pending::<
        Result<Vec<u8>, std::io::Error>,
    >());
    let request = ada.request("POST", "/v1/workflows").header("content-type", "application/json");
    Client::send(request.body(body)).await.problem(408, "request-timeout");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_while_it_comes() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let chunks = (0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let request = ada.request("POST", "/v1/workflows").header("content-type", "application/json");
    Client::send(request.body(body)).await.problem(413, "too-large");
}

#[tokio::test]
async fn what_is_no_http_ends_the_connection_and_nothing_else() {
    let server = Server::start().await;
    for text in ["\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = exchange(&server, text).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    server.nobody().get("/livez").await.expect(200);
}
