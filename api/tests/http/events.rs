//! `GET /v1/runs/{id}/events`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use skein_api::{Limits, digest};
use skein_shared::broker::{
    Address, Broker, BrokerUnavailable, Connections, Consumer, LIVE_TEXT_BYTES_MAX, Listener,
    LiveEvent, LiveKind, LiveListener, Outgoing, PublishError, Published,
};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::open_work::QueueDepth;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::database;
use crate::event_source::{Block, Stream};
use crate::failing_reads::FailingReads;
use crate::harness::{Client, PATIENCE, Parts, Server};

async fn with(limits: Limits) -> Server {
    Server::with(Parts { limits, ..Parts::default() }).await
}

/// A run that nobody executes: it ends when it is cancelled.
async fn open_run(client: &Client) -> String {
    client.publish("adder").await;
    another_run(client).await
}

async fn another_run(client: &Client) -> String {
    client.run("adder").await["id"].as_str().unwrap().to_owned()
}

async fn cancel(client: &Client, run: &str) {
    client.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
}

async fn log_of(client: &Client, run: &str) -> Vec<Value> {
    let log = client.get(&format!("/v1/runs/{run}/logs?limit=500")).await.expect(200);
    log["items"].as_array().unwrap().clone()
}

fn live(run: &str, seq: u64, text: &str) -> LiveEvent {
    LiveEvent {
        run: run.parse().unwrap(),
        node: "write".into(),
        scope: "3/0".into(),
        step: 2,
        seq,
        kind: LiveKind::Delta,
        text: text.to_owned(),
    }
}

fn rows(events: &[Block]) -> Vec<Value> {
    events.iter().filter(|event| event.id.is_some()).map(|event| event.data.clone()).collect()
}

#[tokio::test]
async fn the_events_of_a_run_are_its_log_as_it_grows_and_then_its_end() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let run = open_run(&ada).await;
    let mut stream = Stream::open(&ada, &run).await;
    let first = stream.event().await;
    assert_eq!(
        (first.event.as_str(), &first.data["event"]),
        ("run.accepted", &json!("run.accepted"))
    );
    cancel(&ada, &run).await;
    let (mut events, _) = stream.rest().await;
    let end = events.pop().unwrap();
    assert_eq!(
        (end.event.as_str(), end.id, end.data),
        ("end", None, json!({ "status": "cancelled" }))
    );
    events.insert(0, first);
    assert_eq!(rows(&events), log_of(&ada, &run).await);
    assert!(events.iter().all(|event| event.event == event.data["event"].as_str().unwrap()));
}

#[tokio::test]
async fn a_stream_goes_on_behind_the_last_event_and_misses_and_doubles_none() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let run = open_run(&ada).await;
    // More than what is read at a time.
    let mut connection = PgConnection::connect(database::url()).await.unwrap();
    let copied = sqlx::query(
        "INSERT INTO event_logs (run_id, organization_id, workspace_id, user_id, ts, level, event, message, trace_id, span_id)
         SELECT run_id, organization_id, workspace_id, user_id, ts, level, 'log', 'line ' || n, trace_id, span_id
         FROM event_logs, generate_series(1, 25) n WHERE run_id = $1::uuid",
    )
    .bind(&run)
    .execute(&mut connection)
    .await
    .unwrap();
    assert_eq!(copied.rows_affected(), 25);
    cancel(&ada, &run).await;
    let log = log_of(&ada, &run).await;
    let (events, _) = Stream::open(&ada, &run).await.rest().await;
    assert_eq!(rows(&events), log);
    for (at, event) in events.iter().take(log.len()).enumerate() {
        let last = event.id.as_deref().unwrap();
        let (rest, _) = Stream::resume(&ada, &run, last).await.rest().await;
        assert_eq!(rest, events[at + 1..], "behind {last}");
    }
    // The log's cursors are the same.
    let page = ada.get(&format!("/v1/runs/{run}/logs?limit=3")).await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(Some(cursor), events[2].id.as_deref());
}

#[tokio::test]
async fn what_is_no_event_of_the_run_is_refused() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let (run, other) = (open_run(&ada).await, another_run(&ada).await);
    let theirs = Stream::open(&ada, &other).await.event().await.id.unwrap();
    let own = Stream::open(&ada, &run).await.event().await.id.unwrap();
    let long = "1".repeat(10_000);
    for last in
        [&[theirs.as_str()][..], &[""], &["1"], &[long.as_str()], &["1.2~00000000"], &[&own, &own]]
    {
        let answer = Stream::ask(&ada, &run, last).await.err().unwrap();
        let problem = match last {
            [_] => answer.problem(422, "invalid-request"),
            _ => answer.problem(400, "invalid-header"),
        };
        assert_eq!(problem["errors"][0]["header"], "Last-Event-ID");
    }
}

/// A broker that counts who listens to live events.
struct Listened {
    inner: Arc<dyn Broker>,
    count: AtomicUsize,
}

#[async_trait]
impl Broker for Listened {
    fn address(&self, pool: &str) -> Address {
        self.inner.address(pool)
    }

    fn connections(&self) -> Connections {
        self.inner.connections()
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<Published, PublishError>> {
        self.inner.publish(batch).await
    }

    async fn consume(&self, pool: &str, prefetch: u16) -> Box<dyn Consumer> {
        self.inner.consume(pool, prefetch).await
    }

    async fn depth(&self, pool: &str) -> Result<u64, BrokerUnavailable> {
        self.inner.depth(pool).await
    }

    async fn backlog(&self, pools: &[&str]) -> Result<Vec<QueueDepth>, BrokerUnavailable> {
        self.inner.backlog(pools).await
    }

    async fn announce(&self, ended: &[RunId]) {
        self.inner.announce(ended).await;
    }

    async fn listen(&self) -> Box<dyn Listener> {
        self.inner.listen().await
    }

    fn publish_live(&self, event: LiveEvent) -> bool {
        self.inner.publish_live(event)
    }

    async fn listen_live(&self, run: RunId) -> LiveListener {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.inner.listen_live(run).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[tokio::test]
async fn a_run_of_others_is_not_there_and_nothing_listens_to_it() {
    let parts = Parts::default();
    let broker =
        Arc::new(Listened { inner: Arc::clone(&parts.broker), count: AtomicUsize::new(0) });
    let server = Server::with(Parts { broker: Arc::clone(&broker) as _, ..parts }).await;
    let (ada, bob) = (server.tenant().await, server.tenant().await);
    let run = open_run(&ada).await;
    let id = Stream::open(&ada, &run).await.event().await.id.unwrap();
    assert_eq!(broker.count.swap(0, Ordering::Relaxed), 1);
    let nowhere = RunId::generate().to_string();
    for (run, last) in [(&run, &[][..]), (&run, &[id.as_str()]), (&nowhere, &[])] {
        let answer = Stream::ask(&bob, run, last).await.err().unwrap();
        answer.problem(404, "run-not-found");
    }
    assert_eq!(broker.count.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn live_text_comes_between_the_rows_in_its_order() {
    let server = Server::start().await;
    let (ada, bob) = (server.tenant().await, server.tenant().await);
    let (run, other) = (open_run(&ada).await, open_run(&bob).await);
    let mut stream = Stream::open(&ada, &run).await;
    assert_eq!(stream.event().await.event, "run.accepted");
    for seq in 0..200 {
        assert!(server.broker.publish_live(live(&other, seq, "not for ada")));
        assert!(server.broker.publish_live(live(&run, seq, &format!("wörd\n{seq}"))));
        let event = stream.event().await;
        assert_eq!((event.event.as_str(), event.id), ("llm.delta", None));
        let text = format!("wörd\n{seq}");
        let expected =
            json!({ "node": "write", "scope": "3/0", "step": 2, "seq": seq, "text": text });
        assert_eq!(event.data, expected);
    }
    cancel(&ada, &run).await;
    let (events, _) = stream.rest().await;
    assert_eq!(events.last().unwrap().event, "end");
    // Nobody keeps it.
    let (again, _) = Stream::open(&ada, &run).await.rest().await;
    assert!(again.iter().all(|event| event.event != "llm.delta"));
}

#[tokio::test]
async fn a_client_that_does_not_keep_up_is_dropped_and_can_come_back() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let run = open_run(&ada).await;
    let mut stream = Stream::open(&ada, &run).await;
    let last = stream.event().await.id.unwrap();
    let text = "x".repeat(LIVE_TEXT_BYTES_MAX);
    // The server cannot send meanwhile: it runs on the same thread.
    for seq in 0..1_000 {
        server.broker.publish_live(live(&run, seq, &text));
    }
    let (events, comment) = stream.rest().await;
    let seqs: Vec<_> = events.iter().map(|event| event.data["seq"].as_u64().unwrap()).collect();
    assert!((1..100).contains(&seqs.len()), "{seqs:?}");
    assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "{seqs:?}");
    let comment = comment.unwrap();
    assert_eq!(comment.comment.as_deref(), Some("the client does not keep up"));
    assert!(comment.retry.is_some());
    let back = Stream::resume(&ada, &run, &last).await;
    cancel(&ada, &run).await;
    let (events, _) = back.rest().await;
    assert_eq!(rows(&events), log_of(&ada, &run).await[1..]);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_dropped_and_makes_room() {
    // Two a process are one a key.
    let limits = Limits { streams: 2, write_time: Duration::from_millis(300), ..Limits::default() };
    let server = with(limits).await;
    let ada = server.tenant().await;
    let run = open_run(&ada).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut silent = socket.connect(server.address).await.unwrap();
    let head = format!(
        "GET /v1/runs/{run}/events HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\n\r\n",
        ada.authorization()
    );
    silent.write_all(head.as_bytes()).await.unwrap();
    silent.readable().await.unwrap();
    let text = "x".repeat(LIVE_TEXT_BYTES_MAX);
    let dropped = async {
        for (seq, refused) in (0..).zip(0_u64..) {
            server.broker.publish_live(live(&run, seq, &text));
            match Stream::ask(&ada, &run, &[]).await {
                Ok(_) => return refused,
                Err(answer) => drop(answer.problem(503, "overloaded")),
            }
        }
        unreachable!("it goes on for ever")
    };
    let refused = tokio::time::timeout(PATIENCE, dropped).await.expect("it is dropped");
    assert!(refused > 0, "it had no stream");
}

#[tokio::test]
async fn streams_have_a_bound_and_nobody_has_all_of_them() {
    let server = with(Limits { streams: 4, ..Limits::default() }).await;
    let (ada, bob) = (server.tenant().await, server.tenant().await);
    let (run, other) = (open_run(&ada).await, open_run(&bob).await);
    let (one, two) = (Stream::open(&ada, &run).await, Stream::open(&ada, &run).await);
    let refused = Stream::ask(&ada, &run, &[]).await.err().unwrap();
    refused.problem(503, "overloaded");
    assert_ne!(refused.header("retry-after"), "");
    let _bobs = Stream::open(&bob, &other).await;
    drop((one, two));
    let freed = async {
        while Stream::ask(&ada, &run, &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("a stream that was left makes room");
}

#[tokio::test]
async fn a_shutdown_ends_streams_and_says_when_to_come_back() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let run = open_run(&ada).await;
    let mut stream = Stream::open(&ada, &run).await;
    stream.event().await;
    server.shutdown.cancel();
    let (events, comment) = stream.rest().await;
    assert_eq!(events, []);
    let comment = comment.unwrap();
    assert_eq!(comment.comment.as_deref(), Some("the server is shutting down"));
    assert_eq!(comment.retry.as_deref(), Some("2000"));
    tokio::time::timeout(PATIENCE, server.served).await.expect("nothing holds it up").unwrap();
}

/// Two seconds by the server's own clock: unshared, or without back-off, some hundred reads.
#[tokio::test]
async fn many_who_follow_a_silent_run_ask_the_store_as_one_does_and_ever_more_seldom() {
    let parts = Parts {
        limits: Limits { stream_heartbeat: Duration::from_millis(100), ..Limits::default() },
        ..Parts::default()
    };
    let store = Arc::new(FailingReads::new(Arc::clone(&parts.store), usize::MAX));
    let server = Server::with(Parts { store: Arc::clone(&store) as _, ..parts }).await;
    let ada = server.tenant().await;
    let run = open_run(&ada).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = Stream::open(&ada, &run).await;
        stream.event().await;
        streams.push(stream);
    }
    let mut heartbeats = async |count: usize| {
        for _ in 0..count {
            assert_eq!(streams[0].block().await.unwrap().comment.as_deref(), Some("alive"));
        }
    };
    // Whoever came late has looked once more by then.
    heartbeats(5).await;
    let before = store.log_reads.load(Ordering::Relaxed);
    heartbeats(20).await;
    let reads = store.log_reads.load(Ordering::Relaxed) - before;
    assert!(reads <= 5, "{reads}");
    cancel(&ada, &run).await;
    for stream in streams {
        let (events, _) = stream.rest().await;
        assert_eq!(events.last().unwrap().event, "end");
    }
}

#[tokio::test]
async fn many_who_follow_a_run_read_its_news_once() {
    let parts = Parts::default();
    let store = Arc::new(FailingReads::new(Arc::clone(&parts.store), usize::MAX));
    let server = Server::with(Parts { store: Arc::clone(&store) as _, ..parts }).await;
    let ada = server.tenant().await;
    let run = open_run(&ada).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = Stream::open(&ada, &run).await;
        stream.event().await;
        streams.push(stream);
    }
    let mut connection = PgConnection::connect(database::url()).await.unwrap();
    let tell = async |connection: &mut PgConnection| {
        let copy = "INSERT INTO event_logs (run_id, organization_id, workspace_id, user_id, ts, level, event, message,
                                            trace_id, span_id)
                    SELECT run_id, organization_id, workspace_id, user_id, now(), level, 'copy', message, trace_id, span_id
                    FROM event_logs WHERE run_id = $1::uuid AND event = 'run.accepted'";
        sqlx::query(copy).bind(&run).execute(connection).await.unwrap();
    };
    for round in 0..3 {
        let before = store.log_reads.load(Ordering::Relaxed);
        tell(&mut connection).await;
        for stream in &mut streams {
            assert_eq!(stream.event().await.event, "copy");
        }
        let reads = store.log_reads.load(Ordering::Relaxed) - before;
        // Whoever came late has looked once more in the first. Some polls, and a page or two; each by himself would be
        // twenty.
        assert!(round == 0 || reads < 20, "{reads}");
    }
}

#[tokio::test]
async fn a_stream_is_never_silent_and_does_not_last_for_ever() {
    let limits = Limits {
        stream_heartbeat: Duration::from_millis(20),
        stream_time: Duration::from_secs(2),
        ..Limits::default()
    };
    let server = with(limits).await;
    let ada = server.tenant().await;
    let run = open_run(&ada).await;
    let mut stream = Stream::open(&ada, &run).await;
    let (mut alive, mut last) = (0, None);
    while let Some(block) = stream.block().await {
        alive += usize::from(block.comment.as_deref() == Some("alive"));
        assert_ne!(block.event, "end");
        last = Some(block);
    }
    assert!(alive >= 5, "{alive}");
    let last = last.unwrap();
    assert_eq!(last.comment.as_deref(), Some("the stream has lasted as long as one may"));
    assert!(last.retry.is_some());
}

#[tokio::test]
async fn the_stream_of_a_key_that_is_revoked_ends() {
    let server = with(Limits { key_trust: Duration::from_millis(50), ..Limits::default() }).await;
    let ada = server.tenant().await;
    let run = open_run(&ada).await;
    let mut stream = Stream::open(&ada, &run).await;
    stream.event().await;
    let mut connection = PgConnection::connect(database::url()).await.unwrap();
    let authorization = ada.authorization();
    let key = authorization.trim_start_matches("Bearer ");
    let revoked = sqlx::query("DELETE FROM api_keys WHERE digest = $1")
        .bind(&digest(key)[..])
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(revoked.rows_affected(), 1);
    let (events, comment) = stream.rest().await;
    assert_eq!(events, []);
    assert_eq!(comment.unwrap().comment.as_deref(), Some("the API key is not known any more"));
    let answer = Stream::ask(&ada, &run, &[]).await.err().unwrap();
    answer.problem(401, "unauthenticated");
}
