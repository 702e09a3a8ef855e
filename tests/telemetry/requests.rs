//! The requests that spans and log records leave in: how large they are, and what becomes of them when they are not taken.

use std::time::Duration;

use axum::Router;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use serde_json::{Value, json};
use skein_tests::otlp::{Mode, Receiver};
use tokio::net::TcpListener;

use crate::scenario_process::{play, play_with};

/// What every collector, and what stands before it, takes.
const MEGABYTE: u64 = 1024 * 1024;
const WAIT_MAX: Duration = Duration::from_secs(10);

fn sizes(receiver: &Receiver) -> Vec<u64> {
    let requests = receiver.requests().into_iter().filter(|it| it.path == "/v1/traces");
    requests.map(|it| it.headers["content-length"].parse().expect("a number of bytes")).collect()
}

#[tokio::test]
async fn no_request_is_larger_than_collectors_take() -> anyhow::Result<()> {
    // A queue for all of them, and batches that are bounded by their bytes alone.
    for (batch, requests_min) in [("20000", 8), ("500", 40)] {
        let receiver = Receiver::start().await;
        let environment = [
            ("OTEL_BSP_MAX_QUEUE_SIZE", "20000"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", batch),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ];
        play_with(&receiver, "multi", "flood", &environment).await?;
        let sizes = sizes(&receiver);
        assert!(sizes.len() >= requests_min, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= MEGABYTE), "{sizes:?}");
        assert_eq!(receiver.spans().len(), 20_000);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_refused_for_now_is_sent_again_and_nothing_is_lost() -> anyhow::Result<()> {
    for status in [429, 502, 503, 504] {
        let (receiver, refusing) = (Receiver::start().await, Receiver::start().await);
        refusing.set_mode(Mode::Status(status));
        let traces = format!("{}/v1/traces", refusing.endpoint());
        let environment = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces.as_str()),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ];
        let playing = play_with(&receiver, "multi", "drip", &environment);
        let recovery = async {
            refusing.wait_for_requests(1, WAIT_MAX).await?;
            refusing.set_mode(Mode::Normal);
            anyhow::Ok(())
        };
        let (played, recovered) = tokio::join!(playing, recovery);
        recovered?;
        let log = played?.log;
        assert_eq!(refusing.spans().len(), 50, "{status}: {log:#?}");
        let points = receiver.points();
        let labels = json!({ "telemetry.signal": "traces", "telemetry.export.result": "failed" });
        let mut failed = points
            .iter()
            .filter(|it| it.name == "telemetry.exports" && json!(it.attributes) == labels);
        assert_eq!(failed.next_back().map(|it| it.value), Some(0.0), "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_collector_throws_away_is_told_once() -> anyhow::Result<()> {
    let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".into() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let app = Router::new().fallback(move || std::future::ready(answer.clone()));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
    ];
    let played = play("multi", "drip", &environment).await?;
    server.abort();
    let is_told = |line: &Value| {
        line["message"].as_str().is_some_and(|it| it.starts_with("the collector has not taken all"))
    };
    let mut told = played.lines();
    told.retain(is_told);
    let [line] = &told[..] else { panic!("{:#?}", played.log) };
    let said = ["telemetry.signal", "rejected", "cause"].map(|key| &line[key]);
    assert_eq!(said, [&json!("traces"), &json!(3), &json!("too old")]);
    Ok(())
}
