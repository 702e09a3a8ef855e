//! Who takes all that there is: connections, waits, bodies, answers. Everybody else is answered all the same.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use skein_api::Limits;
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::database;
use crate::harness::{Answer, Client, PATIENCE, Parts, Server, workflow};

/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(600);

async fn with(limits: Limits) -> Server {
    Server::with(Parts { limits, ..Parts::default() }).await
}

async fn soon(what: &str, answer: impl Future<Output = Answer>) -> Answer {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{what}: no answer"))
}

/// Connections that are there and send nothing, or something that is no whole request.
async fn connections(server: &Server, count: usize, text: &str) -> Vec<TcpStream> {
    join_all((0..count).map(|_| async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let _ = stream.write_all(text.as_bytes()).await;
        stream
    }))
    .await
}

#[tokio::test]
async fn connections_that_ask_for_nothing_keep_nobody_out() {
    let server = with(Limits { connections: 32, ..Limits::default() }).await;
    let ada = server.tenant().await;
    let asked = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    for (what, text) in [("silent", ""), ("in their headers", "GET /li"), ("idle", asked)] {
        let _open = connections(&server, 200, text).await;
        soon(what, answered(&ada, "/v1/runs")).await;
        soon(what, answered(&server.nobody(), "/livez")).await;
    }
}

/// The answer, as soon as it is one: who has just connected makes way a moment later only, and until then a connection
/// may find no permit at all.
async fn answered(client: &Client, path: &str) -> Answer {
    loop {
        if let Ok(response) = client.request("GET", path).send().await {
            let answer = Answer::of(response).await;
            if answer.status == 200 {
                return answer;
            }
            answer.problem(503, "overloaded");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Requests of this client that do not end before the server does, as many as the server takes.
fn waits(client: &Client, count: usize) -> Vec<tokio::task::JoinHandle<Answer>> {
    let wait = || {
        let client = client.clone();
        let body = json!({ "input": { "n": 1 } });
        tokio::spawn(async move { client.post("/v1/workflows/adder/runs?wait=60", &body).await })
    };
    (0..count).map(|_| wait()).collect()
}

/// As many bodies that do not come.
fn bodies(client: &Client, count: usize) -> Vec<tokio::task::JoinHandle<Answer>> {
    let send = || {
        let body = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let request = client.request("POST", "/v1/workflows");
        let request = request.header("content-type", "application/json");
        tokio::spawn(Client::send(request.body(reqwest::Body::wrap_stream(body))))
    };
    (0..count).map(|_| send()).collect()
}

type Requests = fn(&Client, usize) -> Vec<tokio::task::JoinHandle<Answer>>;

/// Sends more and more requests until the next one is refused: the key has all that it may have.
async fn fill(what: &str, client: &Client, requests: Requests) -> Answer {
    let refused = async {
        loop {
            drop(requests(client, 1));
            tokio::time::sleep(Duration::from_millis(20)).await;
            // One that is kept would take a permit of its own.
            let request = client.request("GET", "/v1/runs").header("connection", "close");
            let answer = Client::send(request).await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    soon(what, refused).await
}

#[tokio::test]
async fn one_keys_waits_and_slow_bodies_leave_room_for_others_and_for_probes() {
    let limits =
        Limits { connections: 256, requests: 8, waits: 8, body_time: NEVER, ..Limits::default() };
    for (what, requests) in [("waits", waits as Requests), ("bodies", bodies)] {
        let server = with(limits).await;
        let (ada, bob) = (server.tenant().await, server.tenant().await);
        ada.publish("adder").await;
        let answer = fill(what, &ada, requests).await;
        answer.problem(503, "overloaded");
        assert_eq!(answer.header("retry-after"), "2");
        soon("another key", bob.get("/v1/runs")).await.expect(200);
        bob.publish("adder").await;
        for probe in ["/livez", "/readyz"] {
            soon(probe, server.nobody().get(probe)).await.expect(200);
        }
    }
}

#[tokio::test]
async fn probes_are_answered_while_every_connection_is_at_work() {
    let server = with(Limits { connections: 8, ..Limits::default() }).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let answer = fill("waits", &ada, waits).await;
    answer.problem(503, "overloaded");
    assert_eq!(answer.header("connection"), "close");
    // Those beside the usual ones may be held as well, and make way.
    let _silent = connections(&server, 200, "").await;
    for probe in ["/livez", "/readyz"] {
        soon(probe, server.nobody().get(probe)).await.expect(200);
    }
}

/// A document of some 480 kB.
async fn publish_large(client: &Client) {
    let mut document = workflow("large");
    let nodes = (0..40).map(|n| {
        json!({ "id": format!("n{n}"), "type": "transform", "params": { "value": "x".repeat(12_000) } })
    });
    document["nodes"] = nodes.collect();
    document["edges"] = json!([]);
    document.as_object_mut().unwrap().remove("output");
    client.post("/v1/workflows", &document).await.expect(201);
}

/// Asks for the document and takes nothing but the status.
async fn status_of(server: &Server, key: &str) -> (u16, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let request =
        format!("GET /v1/workflows/large HTTP/1.1\r\nhost: a\r\nauthorization: {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut head).await.unwrap();
    (std::str::from_utf8(&head[9..]).unwrap().parse().unwrap(), stream)
}

#[tokio::test]
async fn answers_that_nobody_reads_take_no_more_than_a_keys_part() {
    const READERS: usize = 40;
    let limits = Limits { answer_bytes: 6 * 1024 * 1024, ..Limits::default() };
    let server = with(limits).await;
    let (ada, bob) = (server.tenant().await, server.tenant().await);
    publish_large(&ada).await;
    publish_large(&bob).await;
    let key = ada.authorization();
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(status_of(&server, &key).await);
    }
    let taken = readers.iter().filter(|(status, _)| *status == 200).count();
    let refused = readers.iter().filter(|(status, _)| *status == 503).count();
    assert!(taken > 0 && refused > 0 && taken + refused == READERS, "{taken} {refused}");
    let answer = ada.get("/v1/workflows/large").await;
    answer.problem(503, "overloaded");
    assert_eq!(answer.header("retry-after"), "2");
    soon("another key", bob.get("/v1/workflows/large")).await.expect(200);
    // Who goes away gives back what was held.
    drop(readers);
    soon("the same key", answered(&ada, "/v1/workflows/large")).await;
}

#[tokio::test]
async fn a_page_of_a_log_ends_where_it_gets_large() {
    const ROWS: i32 = 40;
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await;
    let id = run["id"].as_str().unwrap();
    ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    let mut connection = PgConnection::connect(database::url()).await.unwrap();
    let inserted = sqlx::query(
        "INSERT INTO event_logs (ts, organization_id, workspace_id, user_id, run_id, level, event, message, data, trace_id, span_id)
         SELECT ts, organization_id, workspace_id, user_id, run_id, level, 'node.log', message, to_json(repeat('x', 1000000)), trace_id, span_id
         FROM event_logs, generate_series(1, $2) WHERE run_id = $1::uuid AND event = 'run.accepted'",
    );
    inserted.bind(id).bind(ROWS).execute(&mut connection).await.unwrap();
    let (mut after, mut rows) = (String::new(), 0);
    loop {
        let page = ada.get(&format!("/v1/runs/{id}/logs?limit=500{after}")).await;
        let list = page.expect(200);
        assert!(page.text.len() < 16_000_000, "{} bytes", page.text.len());
        let Some(cursor) = list["next_cursor"].as_str() else { break };
        rows += list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["event"] == "node.log")
            .count();
        after = format!("&after={cursor}");
    }
    assert_eq!(rows, usize::try_from(ROWS).unwrap());
}
