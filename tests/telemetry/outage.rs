//! A collector that is absent, refuses or hangs: the work must not notice.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use skein_shared::telemetry::SHUTDOWN_MAX;
use skein_tests::otlp::{Mode, Receiver};

use crate::scenario_process::{Played, RUNTIMES, play, play_with};

/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_secs(2);

fn assert_unnoticed(played: &Played) {
    let longest = played.millis("longest_ms");
    assert!(longest < Duration::from_secs(1), "one emit took {longest:?}");
    assert!(
        played.millis("shutdown_ms") < SHUTDOWN_MAX + SLACK,
        "{:?}",
        played.millis("shutdown_ms")
    );
    let dropped = played.millis("runtime_drop_ms");
    assert!(dropped < SLACK, "the runtime waited {dropped:?} for the exporter");
}

fn complaints(played: &Played, key: &str, text: &str) -> Vec<Value> {
    let mut lines = played.lines();
    lines.retain(|line| line[key].as_str().is_some_and(|value| value.starts_with(text)));
    lines
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_hangs() -> anyhow::Result<()> {
    for runtime in RUNTIMES {
        let receiver = Receiver::start().await;
        receiver.set_mode(Mode::Hang);
        let played = play_with(&receiver, runtime, "flood", &[]).await?;
        assert_unnoticed(&played);
        assert!(receiver.requests().iter().any(|request| request.path == "/v1/traces"));
        assert_eq!(receiver.spans(), []);
        let dropped = complaints(&played, "message", "the queue for the collector is full");
        assert_eq!(dropped.len(), 1, "the queue holds fewer spans than came: {:?}", played.log);
    }
    Ok(())
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_is_not_there() -> anyhow::Result<()> {
    // A port that was free a moment ago, and that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let endpoint = format!("http://127.0.0.1:{port}");
    for runtime in RUNTIMES {
        let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
        assert_unnoticed(&play(runtime, "flood", &environment).await?);
    }
    Ok(())
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_is_overloaded() -> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    receiver.set_mode(Mode::Status(503));
    assert_unnoticed(&play_with(&receiver, "multi", "flood", &[]).await?);
    Ok(())
}

#[tokio::test]
async fn a_collector_that_works_gets_a_flood_up_to_the_size_of_the_queue() -> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    let environment = [("OTEL_BSP_MAX_QUEUE_SIZE", "20000")];
    let played = play_with(&receiver, "multi", "flood", &environment).await?;
    assert_unnoticed(&played);
    assert_eq!(receiver.spans().len(), 20_000);
    let (describe, emit) = (&played.seen["describe_ns"], &played.seen["emit_ns"]);
    println!("with the exporter on: {describe} ns to describe a span, {emit} ns to emit it");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_refuses_every_batch_is_complained_of_once() -> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    receiver.set_mode(Mode::Status(400));
    let environment = [("OTEL_BSP_SCHEDULE_DELAY", "20"), ("OTEL_LOGS_EXPORTER", "none")];
    let played = play_with(&receiver, "multi", "drip", &environment).await?;
    let refused = receiver.requests().iter().filter(|r| r.path == "/v1/traces").count();
    assert!(refused >= 5, "only {refused} batches were sent");
    let lines = complaints(&played, "name", "BatchSpanProcessor.ExportError");
    assert_eq!(lines.len(), 1, "{:#?}", played.log);
    assert!(lines[0]["error"].as_str().unwrap().contains("400"));
    Ok(())
}

#[tokio::test]
async fn a_collector_that_comes_back_gets_the_spans_after_that() -> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    receiver.set_mode(Mode::Hang);
    let environment = [("OTEL_BSP_SCHEDULE_DELAY", "20")];
    let playing = play_with(&receiver, "multi", "drip", &environment);
    let recovery = async {
        receiver.wait_for_requests(1, Duration::from_secs(10)).await?;
        receiver.set_mode(Mode::Normal);
        anyhow::Ok(())
    };
    let (played, recovered) = tokio::join!(playing, recovery);
    recovered?;
    assert!(played?.millis("shutdown_ms") < SHUTDOWN_MAX);
    assert_eq!(receiver.spans().len(), 50);
    Ok(())
}

/// The latest value of a counter that has these labels.
fn counted(receiver: &Receiver, name: &str, labels: &Value) -> f64 {
    let points = receiver.points().into_iter();
    let mut found = points.filter(|point| point.name == name && json!(point.attributes) == *labels);
    found.next_back().unwrap_or_else(|| panic!("there is no {name} with {labels}")).value
}

#[tokio::test]
async fn every_span_that_is_lost_is_counted_by_why() -> anyhow::Result<()> {
    let (receiver, refusing) = (Receiver::start().await, Receiver::start().await);
    refusing.set_mode(Mode::Status(400));
    let traces = format!("{}/v1/traces", refusing.endpoint());
    let environment = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces.as_str()),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1000"),
    ];
    let played = play_with(&receiver, "multi", "flood", &environment).await?;
    assert_unnoticed(&played);
    let lost = |reason: &str| {
        let labels = json!({ "telemetry.signal": "traces", "telemetry.drop.reason": reason });
        counted(&receiver, "telemetry.items.dropped", &labels)
    };
    let (full, failed) = (lost("queue_full"), lost("export_failed"));
    assert!(full > 0.0 && failed >= 1000.0, "{full} found the queue full, {failed} were refused");
    assert_eq!(full + failed, 20_000.0, "each of them is lost, and counted once");
    let exports = |signal: &str, result: &str| {
        let labels = json!({ "telemetry.signal": signal, "telemetry.export.result": result });
        counted(&receiver, "telemetry.exports", &labels)
    };
    assert_eq!(exports("traces", "failed"), refusing.requests().len() as f64);
    assert_eq!((exports("traces", "ok"), exports("metrics", "failed")), (0.0, 0.0));
    Ok(())
}
