//! The store out of reach.

use std::sync::Arc;

use serde_json::json;
use skein_shared::store::postgres::PostgresStore;

use crate::harness::{Parts, Server};

#[tokio::test]
async fn without_the_store_every_answer_says_to_come_back_later() {
    let store = Arc::new(PostgresStore::connect("postgres://root@127.0.0.1:1/none", 2).unwrap());
    let server = Server::with(Parts { store, ..Parts::default() }).await;
    let nobody = server.nobody();
    let key = [("authorization", "Bearer some-key-that-may-be-good")];
    let body = json!({});
    let (live, ready, start) = tokio::join!(
        nobody.get("/livez"),
        nobody.get("/readyz"),
        nobody.post_with("/v1/workflows/adder/runs", &body, &key),
    );
    live.expect(200);
    for answer in [ready, start] {
        answer.problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), "2");
    }
    // Nobody is refused for an outage, but who sends no key is refused all the same.
    nobody.get("/v1/runs").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_process_that_shuts_down_is_not_ready() {
    let server = Server::start().await;
    server.nobody().get("/readyz").await.expect(200);
    server.shutdown.cancel();
    server.served.await.unwrap();
    let refused = tokio::net::TcpStream::connect(server.address).await;
    assert!(refused.is_err(), "it listens no more");
}
