//! What watching costs: nanoseconds and allocations a span, with the export on and off, and the CPU time of all threads for
//! it, that of the exporter among them. `cargo bench --bench telemetry`.
//!
//! What whole systems lose to it, `tests/throughput watching` measures.

mod samples;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::trace::{SAMPLED, TraceContext};
use skein_shared::telemetry::{self, FinishedSpan, TelemetryConfig};

/// Spans of a round. The queue holds all of them: what is lost costs less than what is kept.
const SPANS: usize = 20_000;
/// Rounds; the fastest counts, since whatever else the machine does only adds.
const ROUNDS: usize = 15;
/// The queue of the exporter.
const QUEUE: &str = "65536";
/// Between rounds, so that each finds an empty queue: the exporter takes a batch whenever one is full.
const REST: Duration = Duration::from_millis(500);

fn main() -> anyhow::Result<()> {
    // Telemetry belongs to a process and is set up by its environment, so each way gets a process of its own.
    if let Ok(way) = std::env::var("BENCH_WAY") {
        return measure(&way);
    }
    println!("{:<28}{:>10}{:>12}{:>14}", "", "ns/span", "spans/s", "allocs/span");
    let mut collector = Command::new(env!("CARGO_BIN_EXE_otlp-sink"));
    let mut collector = collector.arg("take").stdout(Stdio::piped()).spawn()?;
    let mut port = String::new();
    BufReader::new(collector.stdout.take().context("it is piped")?).read_line(&mut port)?;
    let endpoint = format!("http://127.0.0.1:{}", port.trim());
    let measured = [("off", "false"), ("on", "true")].into_iter().try_for_each(|(way, enabled)| {
        let mut child = Command::new(std::env::current_exe()?);
        child.env("BENCH_WAY", way).env("OTEL_ENABLED", enabled);
        child.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).env("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE);
        child.env("OTEL_METRICS_EXPORTER", "none").env("OTEL_LOGS_EXPORTER", "none");
        ensure!(child.status()?.success(), "the measurement with telemetry {way} failed");
        Ok(())
    });
    collector.kill()?;
    collector.wait()?;
    measured
}

#[tokio::main(worker_threads = 2)]
async fn measure(way: &str) -> anyhow::Result<()> {
    let telemetry = telemetry::init("skein-bench", &TelemetryConfig::from_env()?)?;
    let mut describing = Fastest::default();
    let mut emitting = Fastest::default();
    for _ in 0..ROUNDS {
        let mut spans = Vec::with_capacity(SPANS);
        describing.time(|| spans.extend((0..SPANS).map(span)));
        emitting.time(|| spans.into_iter().for_each(telemetry::emit));
        tokio::time::sleep(REST).await;
    }
    describing.print("describe a node's span");
    emitting.print(&format!("hand it over, export {way}"));
    telemetry.shutdown().await;
    let each = cpu_time()?.as_nanos() as f64 / (SPANS * ROUNDS) as f64;
    println!("{:<28}{each:>10.0}", format!("all threads, export {way}"));
    Ok(())
}

fn span(number: usize) -> FinishedSpan {
    let trace = telemetry::new_trace_id();
    let context = TraceContext { trace, span: telemetry::new_span_id(), flags: SAMPLED };
    let start = SystemTime::now();
    let run = samples::header(context);
    let key = ActivationKey::root(run.id, format!("node{}", number % 9));
    samples::node(&run, &key, context.span, start).into()
}

/// What the threads of this process have used of a CPU so far, to a hundredth of a second.
fn cpu_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("the fields behind the name")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
}

/// The fastest round, and what it allocated in this thread.
#[derive(Default)]
struct Fastest(Option<(Duration, u64)>);

impl Fastest {
    fn time(&mut self, work: impl FnOnce()) {
        let mut took = Duration::ZERO;
        let allocated = allocation_counter::measure(|| {
            let start = Instant::now();
            work();
            took = start.elapsed();
        });
        if self.0.is_none_or(|(fastest, _)| took < fastest) {
            self.0 = Some((took, allocated.count_total));
        }
    }

    fn print(&self, what: &str) {
        let Some((took, allocations)) = self.0 else { return };
        let each = took.as_nanos() as f64 / SPANS as f64;
        let allocations = allocations as f64 / SPANS as f64;
        println!("{what:<28}{each:>10.0}{:>12.0}{allocations:>14.1}", 1e9 / each);
    }
}
