//! Many runs at a time, over two workers: each is whole, and each is one trace.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use skein_tests::stack::invariants::{self, Crashes};
use skein_tests::stack::traces::{self, Seen};
use skein_tests::stack::{PATIENCE, Setup, load, poll, with_stack};
use tokio::process::Command;

/// Runs of the load.
const RUNS: u64 = 200;
/// How long the whole load may take on two busy cores with unoptimised programs.
const LOAD_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_runs_succeed_over_two_workers_each_as_one_trace() {
    with_stack(Setup::distributed("two_hundred_runs"), async |stack| {
        load::publish(stack).await;
        let runs = load::start(&stack.client, RUNS).await;
        let runs = load::finish(&stack.client, &runs, LOAD_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;

        traces::become_whole(stack, &runs, traces::collected).await;
        let spans = stack.collector.spans();
        let nodes = spans.iter().filter(|span| span.name.starts_with("node.execute."));
        let shares = nodes.fold(std::collections::BTreeMap::new(), |mut shares, span| {
            *shares.entry(span.resource["service.instance.id"].to_string()).or_insert(0) += 1;
            shares
        });
        assert_eq!(shares.len(), 2, "both workers took part: {shares:?}");
        let least = shares.values().min().copied().unwrap_or_default();
        assert!(least > RUNS, "the work is spread: {shares:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_instance_bears_the_load_as_well() {
    with_stack(Setup::embedded("load"), async |stack| {
        load::publish(stack).await;
        let runs = load::start(&stack.client, RUNS).await;
        let runs = load::finish(&stack.client, &runs, LOAD_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;
        traces::become_whole(stack, &runs, traces::collected).await;
    })
    .await;
}

/// The same as seen by a receiver that is not ours: oteltap from PyPI.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_receiver_sees_one_trace_a_run() {
    if std::env::var("SKEIN_TEST_WITHOUT_PYPI").is_ok_and(|value| !value.is_empty()) {
        eprintln!("without the independent receiver, as SKEIN_TEST_WITHOUT_PYPI says");
        return;
    }
    let tap = Tap::start().await;
    let setup = Setup::distributed("independent_receiver").collector(&tap.endpoint());
    with_stack(setup, async |stack| {
        load::publish(stack).await;
        let runs = load::start(&stack.client, RUNS).await;
        let runs = load::finish(&stack.client, &runs, LOAD_MAX).await;
        traces::become_whole(stack, &runs, |_| tap.spans()).await;
        let ids: BTreeSet<_> = runs.iter().map(|run| run.trace().to_string()).collect();
        assert_eq!(ids.len(), runs.len(), "each run has a trace of its own");
        assert_eq!(stack.collector.spans(), [], "nothing went to the other collector");
    })
    .await;
}

/// oteltap as a process, killed when dropped.
struct Tap {
    port: u16,
    output: std::path::PathBuf,
    _process: tokio::process::Child,
}

impl Tap {
    async fn start() -> Self {
        let program = std::env::var("SKEIN_TEST_OTELTAP").expect(
            "this test needs oteltap: run it by tests/run, or set SKEIN_TEST_WITHOUT_PYPI=1 to go without",
        );
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let name = format!("skein_oteltap_{}", uuid::Uuid::new_v4().simple());
        let output = std::env::temp_dir().join(name);
        let stdout = std::fs::File::create(&output).expect("a directory for temporary files");
        let stderr = stdout.try_clone().expect("a file can be shared");
        let process = Command::new(&program)
            .args(["--port", &port.to_string()])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let tap = Self { port, output, _process: process };
        let listens =
            poll(PATIENCE, async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok());
        assert!(listens.await.is_some(), "{program} does not listen: {}", tap.complaints());
        tap
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// One span a line, among log records, metrics and words.
    fn spans(&self) -> Vec<Seen> {
        let output = std::fs::read_to_string(&self.output).unwrap_or_default();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter_map(|line| Seen::from_json(&line).ok())
            .filter(|span| !span.name.is_empty())
            .collect()
    }

    fn complaints(&self) -> String {
        let output = std::fs::read_to_string(&self.output).unwrap_or_default();
        output.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.output);
    }
}
