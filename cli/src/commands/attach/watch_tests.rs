//! Cancelling a run that is watched, on a server that does not always do as it is told.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{Method, StatusCode, Uri};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::watch::{Seen, Watch};
use crate::client::{Client, Run};
use crate::render::samples;

fn run(status: &str) -> Value {
    let Run { id, trace_id, root_span_id, publish_span_id, created_at, .. } = samples::run();
    json!({
        "id": id, "workflow": "w", "version": 1, "status": status, "cancelling": false, "output": null, "error": null,
        "trace_id": trace_id, "root_span_id": root_span_id, "publish_span_id": publish_span_id,
        "created_at": created_at, "nodes": [],
    })
}

/// A watch of a run on a server that answers the requests to cancel it like this, one after the other, and has no events.
async fn watch(cancelling: &'static [(u16, &'static str)]) -> Watch {
    skein_shared::telemetry::install_crypto_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked: &'static AtomicU32 = Box::leak(Box::default());
    let app = Router::new().fallback(async move |method: Method, uri: Uri| {
        let (status, body) = if method == Method::POST {
            let at = asked.fetch_add(1, Ordering::Relaxed) as usize;
            let (status, state) = cancelling[at.min(cancelling.len() - 1)];
            (status, run(state))
        } else if uri.path().ends_with("/events") {
            let r#type = "urn:skein:problem:no-such-route";
            (404, json!({ "type": r#type, "title": "x", "status": 404 }))
        } else if asked.load(Ordering::Relaxed) as usize >= cancelling.len() {
            (200, run("cancelled"))
        } else {
            (200, run("running"))
        };
        (StatusCode::from_u16(status).unwrap(), Json(body))
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Client::new(&url, &"a-key".to_owned().into()).unwrap();
    let mut watch = Watch::new(&client, &samples::run().id, false);
    watch.cancel();
    watch
}

/// The status that the run has at last.
async fn last(mut watch: Watch) -> String {
    loop {
        if let Seen::Last(run) = watch.next().await.unwrap() {
            return run.status;
        }
    }
}

#[tokio::test]
async fn a_cancellation_that_fails_for_a_moment_is_asked_for_again() {
    assert_eq!(last(watch(&[(503, "running"), (202, "running")]).await).await, "cancelled");
}

#[tokio::test]
async fn a_run_that_has_ended_before_it_could_be_cancelled_is_shown_as_it_ended() {
    assert_eq!(last(watch(&[(409, "running")]).await).await, "cancelled");
}

#[tokio::test]
async fn a_cancellation_that_is_refused_is_no_cancellation() {
    let mut watch = watch(&[(403, "running")]).await;
    let refused = watch.next().await.unwrap_err();
    assert!(!refused.is_transient(), "{refused}");
}
