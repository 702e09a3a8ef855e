//! A process that has telemetry. Providers and the log subscriber belong to a process, so each test of
//! them gets one of its own: `telemetry-scenario <multi|current> <scenario>`, set up by the environment as
//! the real programs are. Prints one JSON object about what it saw.

mod run;
mod samples;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::{SAMPLED, TraceContext};
use skein_shared::telemetry::spans::NodeExecute;
use skein_shared::telemetry::{self, ArrivedRequest, ServerError, ServerRequest, TelemetryConfig};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let flavour = arguments.next().unwrap_or_default();
    let scenario = arguments.next().unwrap_or_default();
    let mut builder = match flavour.as_str() {
        "multi" => tokio::runtime::Builder::new_multi_thread(),
        "current" => tokio::runtime::Builder::new_current_thread(),
        other => anyhow::bail!("there is no runtime {other:?}"),
    };
    let runtime = builder.worker_threads(2).enable_all().build()?;
    let mut seen = runtime.block_on(async {
        // On a worker thread, where blocking calls would panic or deadlock.
        tokio::spawn(async move { play(&scenario).await }).await?
    })?;
    let drop = Instant::now();
    std::mem::drop(runtime);
    seen["runtime_drop_ms"] = millis(drop.elapsed());
    println!("{seen}");
    Ok(())
}

async fn play(scenario: &str) -> anyhow::Result<Value> {
    let telemetry = telemetry::init("skein-test", &TelemetryConfig::from_env()?)?;
    let mut seen = match scenario {
        "run" => run::play().await,
        "server" => server(),
        "answers" => answers(),
        "join" => join(),
        "drip" => drip().await,
        "flood" => flood(20_000),
        other => anyhow::bail!("there is no scenario {other:?}"),
    };
    // Until the test has got what it waits for: how long that takes is the machine's affair.
    if let Ok(file) = std::env::var("SCENARIO_WHILE") {
        while Path::new(&file).exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let shutdown = Instant::now();
    telemetry.shutdown().await;
    seen["shutdown_ms"] = millis(shutdown.elapsed());
    telemetry::emit(span(0));
    let after = ArrivedRequest::new(&ServerRequest::default()).begin().context();
    seen["ids_after_shutdown"] = (after.trace.0 != [0; 16] && after.span.0 != [0; 8]).into();
    Ok(seen)
}

/// Nothing but a request, with the parent that the environment names.
fn server() -> Value {
    let parent = std::env::var("SCENARIO_TRACEPARENT").ok();
    let request = ServerRequest {
        method: "GET",
        route: Some("/v1/runs"),
        traceparent: parent.as_deref(),
        ..ServerRequest::default()
    };
    let span = ArrivedRequest::new(&request).begin_below_caller();
    let context = span.context();
    span.end(200, None);
    json!({ "traceparent": context.to_traceparent() })
}

/// A request for each way to end: well, refused, failed, and given up by the client.
fn answers() -> Value {
    let start = |route| {
        let request = ServerRequest { method: "GET", route: Some(route), ..Default::default() };
        let mut span = ArrivedRequest::new(&request).begin_below_caller();
        span.set_identity(&Identity::new("acme", "research", "ada"));
        span.set_identity(&Identity::new("acme", "research", "eve"));
        span
    };
    start("/well").end(200, None);
    start("/refused").end(404, None);
    start("/failed").end(503, None);
    let cause = Some("connection_refused".to_owned());
    start("/unavailable").end(503, Some(&ServerError { kind: "unavailable", cause }));
    drop(start("/given-up"));
    json!({})
}

/// A node that so many led to as `SCENARIO_LINKS` says, by a message.
fn join() -> Value {
    let links = std::env::var("SCENARIO_LINKS").ok().and_then(|links| links.parse().ok());
    let context = || TraceContext {
        trace: telemetry::new_trace_id(),
        span: telemetry::new_span_id(),
        flags: SAMPLED,
    };
    let run = samples::header(context());
    let key = ActivationKey::root(run.id, "join");
    let upstream: Vec<_> =
        (1..links.unwrap_or(1)).map(|n| (format!("n{n}").into(), context())).collect();
    telemetry::emit(NodeExecute {
        process: Some(context()),
        upstream: &upstream,
        ..samples::node(&run, &key, telemetry::new_span_id(), SystemTime::now())
    });
    json!({})
}

/// A span now and then, for long enough that many batches are exported.
async fn drip() -> Value {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for number in 0..50 {
        tick.tick().await;
        telemetry::emit(span(number));
    }
    json!({})
}

/// As many spans as possible at once: more than the queue holds.
fn flood(spans: u64) -> Value {
    let start = Instant::now();
    let made: Vec<_> = (0..spans).map(span).collect();
    let describe_ns = nanos_each(start, spans);
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    for span in made {
        let one = Instant::now();
        telemetry::emit(span);
        longest = longest.max(one.elapsed());
    }
    let emit_ns = nanos_each(start, spans);
    json!({ "describe_ns": describe_ns, "emit_ns": emit_ns, "longest_ms": millis(longest) })
}

fn nanos_each(start: Instant, count: u64) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX) / count
}

fn span(number: u64) -> telemetry::FinishedSpan {
    let context = TraceContext {
        trace: telemetry::new_trace_id(),
        span: telemetry::new_span_id(),
        flags: SAMPLED,
    };
    let start = SystemTime::now();
    let run = samples::header(context);
    let key = ActivationKey::root(run.id, format!("node{}", number % 9));
    samples::node(&run, &key, context.span, start).into()
}

fn millis(duration: Duration) -> Value {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).into()
}
