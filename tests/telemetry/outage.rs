//! A collector that is absent, refuses or hangs: the work must not notice.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use skein_shared::telemetry::{SHUTDOWN_MAX, new_span_id};
use skein_tests::otlp::{Mode, Receiver};

use crate::scenario_process::{Played, RUNTIMES, play, play_with};

/// How long twenty thousand spans may take to arrive, from a program that is not optimised.
const ARRIVAL_MAX: Duration = Duration::from_secs(20);
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
    let lives = std::env::temp_dir().join(format!("skein_flood_{}", new_span_id()));
    std::fs::write(&lives, "")?;
    let file = lives.to_string_lossy();
    let environment = [("OTEL_BSP_MAX_QUEUE_SIZE", "20000"), ("SCENARIO_WHILE", &*file)];
    let arriving = async {
        let arrived = receiver.wait_for(|spans| spans.len() >= 20_000, ARRIVAL_MAX).await;
        std::fs::remove_file(&lives)?;
        arrived
    };
    let (played, arrived) =
        tokio::join!(play_with(&receiver, "multi", "flood", &environment), arriving);
    let played = played?;
    assert_unnoticed(&played);
    assert_eq!(arrived?.len(), 20_000);
    let (describe, emit) = (&played.seen["describe_ns"], &played.seen["emit_ns"]);
    println!("with the exporter on: {describe} ns to describe a span, {emit} ns to emit it");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_takes_nothing_is_told_of_once_with_what_to_change() -> anyhow::Result<()>
{
    for (mode, cause, remedy) in [
        (Mode::Status(400), "HTTP status 400", "what it refuses"),
        (Mode::Status(401), "HTTP status 401", "OTEL_EXPORTER_OTLP_HEADERS"),
        (Mode::Status(404), "HTTP status 404", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        (Mode::Hang, "timed out", "does not answer"),
    ] {
        let receiver = Receiver::start().await;
        receiver.set_mode(mode);
        let address = receiver.address();
        let endpoint = format!("http://ada:s3cret@{address}");
        // Of a busy machine an answer may take long.
        let timeout = if mode == Mode::Hang { "100" } else { "10000" };
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", timeout),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
            ("RUST_LOG", "info"),
        ];
        let played = play("multi", "drip", &environment).await?;
        let refused = receiver.requests().iter().filter(|r| r.path == "/v1/traces").count();
        assert!(refused >= 3, "only {refused} batches were sent");
        // All three signals go to it, with different paths.
        let lines = complaints(&played, "message", "the collector does not take");
        let [line] = &lines[..] else { panic!("{mode:?}: {:#?}", played.log) };
        let url = line["url"].as_str().unwrap();
        assert!(url.starts_with(&format!("http://REDACTED@{address}/v1/")), "{line}");
        assert!(line["cause"].as_str().unwrap().contains(cause), "{line}");
        let signal = line["telemetry.signal"].as_str().unwrap().to_uppercase();
        let remedy = remedy.replace("TRACES", &signal);
        assert!(line["remedy"].as_str().unwrap().contains(&remedy), "{line}");
        assert_eq!(line["level"], "warn");
        assert_silent(&played);
    }
    Ok(())
}

/// The SDK has lines of its own for the same, several for each batch.
fn assert_silent(played: &Played) {
    let is_of_the_sdk = |line: &Value| {
        let of = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        of("target").starts_with("opentelemetry")
            && (of("name").contains("Export") || of("message").contains("Export"))
    };
    let lines = played.lines();
    assert!(!lines.iter().any(is_of_the_sdk), "{lines:#?}");
    assert!(!played.log.iter().any(|line| line.contains("s3cret")), "{:#?}", played.log);
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_told_of_with_where_it_should_be() -> anyhow::Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    let played = play("multi", "drip", &environment).await?;
    let lines = complaints(&played, "message", "the collector does not take");
    let [line] = &lines[..] else { panic!("{:#?}", played.log) };
    assert!(line["cause"].as_str().unwrap().contains("Connection refused"), "{line}");
    let remedy = format!("nobody listens at 127.0.0.1:{port}");
    assert!(line["remedy"].as_str().unwrap().contains(&remedy), "{line}");
    assert_silent(&played);
    Ok(())
}

#[tokio::test]
async fn that_a_collector_takes_telemetry_again_is_told_as_well() -> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    receiver.set_mode(Mode::Status(401));
    let environment = [
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_LOGS_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "none"),
    ];
    let playing = play_with(&receiver, "multi", "drip", &environment);
    let recovery = async {
        receiver.wait_for_requests(3, Duration::from_secs(10)).await?;
        receiver.set_mode(Mode::Normal);
        anyhow::Ok(())
    };
    let (played, recovered) = tokio::join!(playing, recovery);
    recovered?;
    let played = played?;
    let lines = complaints(&played, "message", "the collector ");
    let told: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    let [failing, again] = &told[..] else { panic!("{:#?}", played.log) };
    assert!(failing.contains("does not take") && again.contains("takes telemetry again"));
    let failed = lines[1]["failed_exports"].as_u64().unwrap();
    assert!(failed >= 3, "{failed}");
    assert_silent(&played);
    Ok(())
}

#[tokio::test]
async fn the_log_begins_with_where_telemetry_goes_and_what_can_hardly_be_meant()
-> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    let endpoint = format!("http://ada:s3cret@{}", receiver.address());
    let environment = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str())];
    let played = play("multi", "server", &environment).await?;
    let exported = complaints(&played, "message", "telemetry is exported");
    let url = format!("http://REDACTED@{}/", receiver.address());
    assert_eq!((exported.len(), &exported[0]["traces"]), (1, &Value::from(url)));
    let doubts =
        complaints(&played, "message", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is taken as it stands");
    assert_eq!(doubts.len(), 1, "{:#?}", played.log);
    assert_silent(&played);
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
