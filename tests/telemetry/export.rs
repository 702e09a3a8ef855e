//! What arrives at a collector that works.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use skein_shared::domain::trace::TraceId;
use skein_tests::otlp::{Receiver, Span, Status, orphans, render};

use crate::scenario_process::{Played, RUNTIMES, play, play_with};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// The tree of design section 3, as far as the spans of this scenario go.
const TREE: &str = "\
SERVER POST /v1/workflows/{name}/runs @skein-test
  PRODUCER publish skein.work @skein-test
    INTERNAL workflow.execute @skein-test ! no such field: items
      INTERNAL node.execute.http @skein-test ! the worker died during this attempt
      INTERNAL node.execute.http @skein-test ~ process skein.work.default
        CLIENT GET @skein-test
        INTERNAL library work @skein-test
      INTERNAL node.execute.transform @skein-test ~ node.execute.http ! no such field: items
    CONSUMER process skein.work.default @skein-test ~ publish skein.work
";

fn of_trace(receiver: &Receiver, played: &Played) -> Vec<Span> {
    let id = played.seen["trace"].as_str().map(str::parse::<TraceId>);
    receiver.trace(id.expect("the scenario names its trace").expect("a trace id"))
}

#[tokio::test]
async fn a_run_is_one_unbroken_trace_in_either_runtime() -> anyhow::Result<()> {
    for runtime in RUNTIMES {
        let receiver = Receiver::start().await;
        let environment = [
            ("SCENARIO_TRACEPARENT", CALLER),
            ("SKEIN_TRACE_LIBRARIES", "somelibrary=info"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "signoz-ingestion-key=s3same"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ];
        let played = play_with(&receiver, runtime, "run", &environment).await?;
        let trace = of_trace(&receiver, &played);
        assert_eq!(render(&trace), TREE, "{runtime}");
        assert_eq!(receiver.spans().len(), trace.len(), "an unsampled span was exported");
        let caller = "00f067aa0ba902b7".parse()?;
        assert_eq!(orphans(&trace, Some(caller)), Vec::<&Span>::new());
        assert_eq!(trace.iter().filter(|span| span.parent == Some(caller)).count(), 1);
        for span in &trace {
            let of = |key: &str| span.attributes.get(key).and_then(Value::as_str);
            let identity = (of("organization.id"), of("workspace.id"), of("user.id"));
            assert_eq!(identity, (Some("acme"), Some("research"), Some("ada")), "{}", span.name);
            assert_eq!(span.repeated, Vec::<String>::new(), "{}", span.name);
        }
        let root = trace.iter().find(|span| span.name == "workflow.execute").unwrap();
        assert_eq!(root.span_id.to_string(), played.seen["root"].as_str().unwrap());
        let request = receiver.requests().into_iter().find(|r| r.path == "/v1/traces").unwrap();
        assert_eq!(request.headers["signoz-ingestion-key"], "s3same");
        assert_eq!(request.headers["content-encoding"], "gzip");
        assert_eq!(played.seen["ids_after_shutdown"], true);
    }
    Ok(())
}

#[tokio::test]
async fn links_beyond_what_a_span_may_have_are_counted_and_said() -> anyhow::Result<()> {
    for (links, exported, dropped) in [(128_u32, 128, 0), (140, 128, 12)] {
        let receiver = Receiver::start().await;
        play_with(&receiver, "multi", "join", &[("SCENARIO_LINKS", &links.to_string())]).await?;
        let [join] = &receiver.spans()[..] else { panic!("{}", receiver.tree()) };
        assert_eq!((join.links.len(), join.dropped_links), (exported, dropped));
        let is_truncated = join.attributes.get("node.upstream_truncated");
        assert_eq!(is_truncated, (dropped > 0).then_some(&json!(true)));
        assert_eq!(join.scope_version, env!("CARGO_PKG_VERSION"));
    }
    Ok(())
}

#[tokio::test]
async fn a_record_says_when_it_happened_and_which_version_has_said_so() -> anyhow::Result<()> {
    let begun = SystemTime::now();
    let receiver = Receiver::start().await;
    play_with(&receiver, "multi", "run", &[]).await?;
    let logs = receiver.logs();
    let log = logs.iter().find(|log| log.body == "fetching").expect("the record");
    let meanwhile = begun..=SystemTime::now();
    assert!(meanwhile.contains(&log.time) && meanwhile.contains(&log.observed), "{log:#?}");
    assert_eq!(log.scope_version, env!("CARGO_PKG_VERSION"), "{log:#?}");
    Ok(())
}

#[tokio::test]
async fn logs_carry_the_ids_and_the_identity_of_the_work() -> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    let played = play_with(&receiver, "multi", "run", &[]).await?;
    let trace = of_trace(&receiver, &played);
    let logs = receiver.logs();
    let log = logs.iter().find(|log| log.body == "fetching").expect("the record");
    let span = trace.iter().find(|span| Some(span.span_id) == log.span_id).expect("its span");
    assert_eq!(span.name, "node.execute.http");
    assert_eq!(log.trace_id, Some(span.trace_id));
    assert_eq!(log.severity, "INFO");
    assert_eq!(log.attributes["organization.id"], "acme");
    assert_eq!(log.attributes["node.attempts"], 2);
    assert!(logs.iter().all(|log| !log.target.starts_with("hyper")), "{logs:#?}");
    let line = played.lines().into_iter().find(|line| line["message"] == "fetching").unwrap();
    assert_eq!(line["trace_id"], span.trace_id.to_string());
    assert_eq!(line["span_id"], span.span_id.to_string());
    assert_eq!(line["user.id"], "ada");
    assert!(!trace.iter().any(|span| span.name == "library work"), "nobody asked for it");
    Ok(())
}

#[tokio::test]
async fn histograms_count_what_sampling_leaves_out() -> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    play_with(&receiver, "multi", "run", &[("OTEL_TRACES_SAMPLER", "always_off")]).await?;
    assert_eq!(receiver.tree(), "");
    let histograms = receiver.histograms();
    for (name, labels) in [
        ("workflow.run.duration", json!({ "workflow.status": "failed" })),
        ("node.execution.duration", json!({ "node.type": "http", "node.status": "completed" })),
        ("workflow.queue.wait", json!({ "messaging.system": "rabbitmq" })),
    ] {
        let found = histograms.iter().find(|histogram| histogram.name == name).expect(name);
        assert_eq!((found.count, found.unit.as_str()), (1, "s"));
        assert_eq!(json!(found.attributes), labels);
    }
    Ok(())
}

/// Nothing depends on them, so nobody else would notice that they are lost.
#[tokio::test]
async fn live_events_that_are_lost_are_counted_by_why() -> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    play_with(&receiver, "multi", "run", &[]).await?;
    let counters = receiver.counters();
    for (why, value) in [("queue_full", 0), ("broker_unavailable", 0), ("slow_listener", 1)] {
        let labels = json!({ "workflow.live.lost_by": why });
        let found = counters.iter().find(|counter| json!(counter.attributes) == labels).expect(why);
        assert_eq!((found.name.as_str(), found.unit.as_str()), ("workflow.live.lost", "{event}"));
        assert!(!found.description.is_empty());
        assert_eq!(found.value, value, "{why}");
    }
    Ok(())
}

#[tokio::test]
async fn the_resource_tells_which_process_it_was() -> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    let environment = [
        ("OTEL_SERVICE_NAME", "named"),
        ("OTEL_SERVICE_VERSION", "9.9"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=other,deployment.environment.name=staging,team=a%2Cb",
        ),
    ];
    play_with(&receiver, "multi", "server", &environment).await?;
    let resource = &receiver.spans()[0].resource;
    for (key, expected) in [
        ("service.name", "named"),
        ("service.version", "9.9"),
        ("service.namespace", "skein"),
        ("deployment.environment", "staging"),
        ("deployment.environment.name", "staging"),
        ("team", "a,b"),
        ("process.executable.name", "telemetry-scenario"),
        ("telemetry.sdk.language", "rust"),
    ] {
        assert_eq!(resource[key], expected, "{key}");
    }
    assert!(resource["service.instance.id"].is_string() && resource["host.name"].is_string());
    assert!(resource["process.pid"].is_i64());
    Ok(())
}

#[tokio::test]
async fn a_callers_decision_to_sample_or_not_holds_where_the_sampler_is_based_on_parents()
-> anyhow::Result<()> {
    for (caller, sampler, exported) in [
        (Some(CALLER), "parentbased_always_off", 1),
        (Some(UNSAMPLED), "parentbased_always_on", 0),
        (None, "parentbased_always_off", 0),
        (None, "parentbased_always_on", 1),
        (Some(CALLER), "always_off", 0),
        (Some(UNSAMPLED), "always_on", 1),
        (None, "always_off", 0),
        (None, "always_on", 1),
    ] {
        let receiver = Receiver::start().await;
        let mut environment = vec![("OTEL_TRACES_SAMPLER", sampler)];
        environment.extend(caller.map(|caller| ("SCENARIO_TRACEPARENT", caller)));
        let played = play_with(&receiver, "multi", "server", &environment).await?;
        assert_eq!(receiver.spans().len(), exported, "{caller:?} {sampler}");
        let context = played.seen["traceparent"].as_str().unwrap().to_owned();
        assert_eq!(context.ends_with("-01"), exported == 1, "{context}");
        if let Some(caller) = caller {
            assert_eq!(context[3..35], caller[3..35]);
        }
    }
    Ok(())
}

#[tokio::test]
async fn below_the_request_everybody_follows_what_was_decided_there() -> anyhow::Result<()> {
    for (caller, sampler, tree) in [(CALLER, "always_off", ""), (UNSAMPLED, "always_on", TREE)] {
        let receiver = Receiver::start().await;
        let environment = [
            ("SCENARIO_TRACEPARENT", caller),
            ("OTEL_TRACES_SAMPLER", sampler),
            ("SKEIN_TRACE_LIBRARIES", "somelibrary=info"),
        ];
        let played = play_with(&receiver, "multi", "run", &environment).await?;
        assert_eq!(render(&of_trace(&receiver, &played)), tree, "{sampler}");
    }
    Ok(())
}

#[tokio::test]
async fn only_the_servers_own_failures_are_errors_of_a_server_span() -> anyhow::Result<()> {
    let receiver = Receiver::start().await;
    play_with(&receiver, "multi", "answers", &[]).await?;
    let spans = receiver.spans();
    for (name, code, error, failed) in [
        ("GET /well", json!(200), Value::Null, false),
        ("GET /refused", json!(404), Value::Null, false),
        ("GET /failed", json!(503), json!("503"), true),
        ("GET /unavailable", json!(503), json!("unavailable"), true),
        ("GET /given-up", Value::Null, json!("cancelled"), false),
    ] {
        let span = spans.iter().find(|span| span.name == name).expect(name);
        let of = |key: &str| span.attributes.get(key).cloned().unwrap_or_default();
        assert_eq!(of("http.response.status_code"), code, "{name}");
        assert_eq!(of("http.status_code"), code, "{name}");
        assert_eq!(of("error.type"), error, "{name}");
        assert_eq!(matches!(span.status, Status::Error(_)), failed, "{name}");
        assert_eq!(of("user.id"), "ada", "the first identity counts");
        assert_eq!(span.repeated, Vec::<String>::new(), "{name}");
        let reason = Status::Error("unavailable: connection_refused".to_owned());
        assert_eq!(span.status == reason, name == "GET /unavailable", "{:?}", span.status);
    }
    Ok(())
}

#[tokio::test]
async fn without_a_collector_there_are_still_ids() -> anyhow::Result<()> {
    let played = play("multi", "run", &[]).await?;
    let line = played.lines().into_iter().find(|line| line["message"] == "fetching").unwrap();
    assert_eq!(line["trace_id"], played.seen["trace"]);
    assert!(played.millis("shutdown_ms") < Duration::from_secs(1));
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_exported_keeps_the_process_from_starting() {
    for (name, value, complaint) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "not supported yet"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "no url at all", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "signoz-ingestion-key", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_PROPAGATORS", "b3", "tracecontext"),
        ("RUST_LOG", "a=b=c", "RUST_LOG"),
    ] {
        let environment = [("OTEL_ENABLED", "true"), (name, value)];
        let error = play("multi", "server", &environment).await.unwrap_err();
        assert!(format!("{error:#}").contains(complaint), "{error:#}");
    }
}
