//! Many runs at once, spread over two workers; each is one whole trace, whoever receives it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use skein_tests::otlp::{Span, orphans, render};
use skein_tests::stack::invariants::{self, Crashes};
use skein_tests::stack::{PATIENCE, Run, Setup, Stack, load, poll, with_stack};

/// The load of the acceptance test.
const RUNS: u64 = 200;
/// The load for the receiver of somebody else's, which is a Python program.
const RUNS_FOR_OTHERS: u64 = 20;
/// How long the load may take: some ten times what it takes.
const LOAD_TIME: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_runs_succeed_on_both_workers_and_each_is_one_trace() {
    with_stack(Setup::distributed("two_hundred_runs"), async |stack| {
        load::publish(stack).await;
        let accepted = load::start(&stack.client, RUNS).await;
        let runs = load::finish(&stack.client, &accepted, LOAD_TIME).await;
        invariants::check(stack, &runs, Crashes::None).await;
        assert_eq!(traces(&runs).len(), runs.len(), "runs share a trace");
        let mut workers = BTreeSet::new();
        for run in &runs {
            let trace = whole_trace(stack, run).await;
            assert_eq!(orphans(&trace, None), Vec::<&Span>::new(), "{}", render(&trace));
            let roots = trace.iter().filter(|span| span.name == "workflow.execute");
            assert_eq!(roots.count(), 1, "{}", render(&trace));
            let nodes = trace.iter().filter(|span| span.name.starts_with("node.execute."));
            workers.extend(nodes.map(|span| span.resource["service.instance.id"].to_string()));
        }
        assert_eq!(workers.len(), 2, "{workers:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_of_somebody_elses_sees_the_same_traces() {
    if std::env::var_os("SKEIN_TEST_WITHOUT_PYPI").is_some() {
        println!(
            "SKEIN_TEST_WITHOUT_PYPI is set: nothing but our own receiver has looked at the traces"
        );
        return;
    }
    let other = OtherReceiver::start();
    let setup = Setup::distributed("somebody_elses_receiver").collector(&other.endpoint);
    with_stack(setup, async |stack| {
        load::publish(stack).await;
        let accepted = load::start(&stack.client, RUNS_FOR_OTHERS).await;
        let runs = load::finish(&stack.client, &accepted, LOAD_TIME).await;
        for run in &runs {
            let trace = run.trace().to_string();
            let whole = poll(PATIENCE, async || {
                let spans = other.spans(&trace);
                let names: BTreeSet<_> = spans.values().map(|(_, name)| name.as_str()).collect();
                let is_whole =
                    spans.values().filter(|(_, name)| name.starts_with("node.execute.")).count()
                        >= 9
                        && names.contains("workflow.execute")
                        && spans
                            .values()
                            .all(|(parent, _)| parent.is_empty() || spans.contains_key(parent));
                is_whole.then_some(spans)
            });
            let spans = whole.await.unwrap_or_else(|| panic!("torn: {:#?}", other.spans(&trace)));
            assert_eq!(
                spans.values().filter(|(parent, _)| parent.is_empty()).count(),
                1,
                "{spans:#?}"
            );
        }
    })
    .await;
}

fn traces(runs: &[Run]) -> BTreeSet<String> {
    runs.iter().map(|run| run.trace().to_string()).collect()
}

/// The spans of a run once all that are to come have come.
async fn whole_trace(stack: &Stack, run: &Run) -> Vec<Span> {
    let is_whole = |trace: &[Span]| {
        trace.iter().any(|span| span.name == "workflow.execute")
            && trace.iter().filter(|span| span.name.starts_with("node.execute.")).count() >= 9
            && orphans(trace, None).is_empty()
    };
    let whole = poll(PATIENCE, async || {
        let trace = stack.collector.trace(run.trace());
        is_whole(&trace).then_some(trace)
    });
    whole.await.unwrap_or_else(|| panic!("torn:\n{}", render(&stack.collector.trace(run.trace()))))
}

/// Parent and name of each span, by its id.
type Spans = BTreeMap<String, (String, String)>;

/// oteltap from PyPI: prints what it receives, a JSON object a line.
struct OtherReceiver {
    process: Child,
    endpoint: String,
    traces: Arc<Mutex<BTreeMap<String, Spans>>>,
}

impl OtherReceiver {
    fn start() -> Self {
        let program = std::env::var("SKEIN_TEST_OTELTAP").expect(
            "SKEIN_TEST_OTELTAP names oteltap, which tests/services installs; SKEIN_TEST_WITHOUT_PYPI=1 does without",
        );
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let mut process = Command::new(program)
            .args(["--port", &port.to_string()])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("oteltap starts");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let ready = lines.next().expect("it says where it listens").expect("it prints text");
        assert!(ready.contains(&port.to_string()), "{ready}");
        let traces: Arc<Mutex<BTreeMap<String, Spans>>> = Arc::default();
        let seen = Arc::clone(&traces);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Ok(span) = serde_json::from_str::<Value>(&line) else { continue };
                let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
                if span["startTimeUnixNano"].is_string() {
                    let spans = &mut *seen.lock().unwrap();
                    let told = (text("parentSpanId"), text("name"));
                    spans.entry(text("traceId")).or_default().insert(text("spanId"), told);
                }
            }
        });
        Self { process, endpoint: format!("http://127.0.0.1:{port}"), traces }
    }

    fn spans(&self, trace: &str) -> Spans {
        self.traces.lock().unwrap().get(trace).cloned().unwrap_or_default()
    }
}

impl Drop for OtherReceiver {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
