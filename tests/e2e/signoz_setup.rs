//! The guide to SigNoz is followed line by line, with a receiver of our own in place of SigNoz.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use skein_tests::otlp::Kind;
use skein_tests::stack::{KEY, PATIENCE, Program, Setup, Stack, with_stack, workspace};

use crate::shell;
use crate::shown::Shown;

/// What the guide says of the endpoint, and what is said here instead.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

fn guide() -> String {
    fs::read_to_string(workspace().join("deploy/signoz/SIGNOZ_SETUP.md")).expect("there is one")
}

/// What stands below a heading, up to the next of its level.
fn section<'a>(guide: &'a str, heading: &str) -> &'a str {
    let (_, rest) = guide.split_once(&format!("\n## {heading}")).expect("there is such a section");
    rest.split("\n## ").next().unwrap_or_default()
}

/// The blocks of a language in a text.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1).map(|rest| rest.split("```").next());
    blocks.flatten().collect()
}

/// The variables of a block, but for the endpoint.
fn variables(block: &str) -> Vec<(&str, &str)> {
    let lines = block.lines().map(|line| line.split_once('=').expect("NAME=value"));
    let all: Vec<_> = lines.collect();
    all.into_iter().filter(|(name, _)| *name != ENDPOINT).collect()
}

fn set(program: &mut Program, variables: &[(&str, &str)]) {
    for (name, value) in variables {
        program.set(name, value);
    }
}

/// Starts API and workers, which are stopped, with these variables.
async fn start(stack: &mut Stack, api: &[(&str, &str)], worker: &[(&str, &str)]) {
    set(&mut stack.api, api);
    stack.api.start();
    for number in 0..stack.workers.len() {
        set(&mut stack.workers[number], worker);
        stack.restart_worker(number).await;
    }
    stack.api_serves().await;
}

async fn stop(stack: &mut Stack) {
    let codes = stack.stop().await;
    assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
}

/// Runs a line of the guide in the environment of the API; what it printed.
async fn follow(stack: &Stack, line: &str, environment: &[(&str, &str)]) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (command, remark) = shell::remark(line);
    assert!(remark.is_empty() || remark.starts_with("# "), "{line}");
    let words = shell::words(command, |name| panic!("${name} in {line}"));
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let name = format!("guide-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut program = stack.program(&name, &words);
    set(&mut program, environment);
    program.set("SKEIN_KEY", KEY);
    program.start();
    let code = program.ended().await.code();
    assert_eq!(code, Some(0), "{line}: {}", program.log());
    program.log()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_to_signoz_leads_to_traces_metrics_and_logs_of_a_run() {
    with_stack(Setup::distributed("signoz_setup").workers(1), async |stack| {
        let guide = guide();
        let cloud = blocks(section(&guide, "Option 1"), "env");
        let [api, worker] = cloud[..] else { panic!("{cloud:#?}") };
        for block in [api, worker] {
            let endpoint = block.lines().find_map(|line| line.strip_prefix(ENDPOINT));
            assert_eq!(endpoint, Some("=https://ingest.eu.signoz.cloud:443"));
        }
        let (api, worker) = (variables(api), variables(worker));
        stop(stack).await;
        start(stack, &api, &worker).await;

        let steps = blocks(section(&guide, "Check it in five steps"), "sh");
        let lines: Vec<_> = steps.iter().flat_map(|block| block.lines()).collect();
        let [doctor, run, trace, logs] = lines[..] else { panic!("{lines:#?}") };
        let told = follow(stack, doctor, &api).await;
        assert!(told.contains(", 0 failed, "), "{told}");
        let shown = follow(stack, run, &api).await;
        let shown = Shown(&shown);
        let run = stack.client.find(shown.run()).await.expect("the API has it");
        assert_eq!(run.status(), "succeeded", "{:#}", run.0);
        let id = run.trace();
        let waterfall = follow(stack, trace, &api).await;
        assert!(waterfall.contains(&id.to_string()), "{waterfall}");
        let log = follow(stack, logs, &api).await;
        assert!(log.contains("run.succeeded") && log.contains(&id.to_string()), "{log}");

        // What SigNoz would show: step 2, 4 and 5.
        let is_whole = |spans: &[skein_tests::otlp::Span]| {
            spans.iter().any(|it| it.trace_id == id && it.name == "workflow.execute")
        };
        stack.collector.wait_for(is_whole, PATIENCE).await.expect("the root arrives");
        stop(stack).await;
        let spans = stack.collector.trace(id);
        let of = |service: &str, kind: Kind| {
            spans.iter().any(|span| span.service() == service && span.kind == kind)
        };
        let tree = stack.collector.tree();
        assert!(of("skein-api", Kind::Server) && of("skein-api", Kind::Producer), "{tree}");
        assert!(of("skein-worker", Kind::Consumer) && of("skein-worker", Kind::Internal), "{tree}");
        for span in &spans {
            for key in ["deployment.environment.name", "deployment.environment"] {
                assert_eq!(span.resource[key], "production", "{}", span.name);
            }
        }
        assert!(stack.collector.logs().iter().any(|log| log.trace_id == Some(id)));
        let histograms = stack.collector.histograms();
        assert!(histograms.iter().any(|it| it.name == "workflow.run.duration"));
        let keyed = stack.collector.requests().into_iter().filter(|request| {
            let header = |name: &str| request.headers.get(name).map(String::as_str);
            header("signoz-ingestion-key") == Some("YOUR-INGESTION-KEY")
                && header("content-encoding") == Some("gzip")
        });
        assert!(keyed.count() > 3, "{:#?}", stack.collector.requests());

        // Option 3.
        let off = blocks(section(&guide, "Option 3"), "env");
        let [off] = off[..] else { panic!("{off:#?}") };
        let off = variables(off);
        let before = stack.collector.requests().len();
        start(stack, &off, &off).await;
        let told = follow(stack, doctor, &off).await;
        assert!(told.contains("telemetry is off: OTEL_ENABLED is false"), "{told}");
        follow(stack, lines[1], &off).await;
        stop(stack).await;
        assert_eq!(stack.collector.requests().len(), before, "it is off");
    })
    .await;
}

#[test]
fn the_other_options_of_the_guide_differ_in_the_address_and_the_key_alone() {
    let guide = guide();
    let options = ["Option 1", "Option 2"];
    let [cloud, own] = options.map(|option| blocks(section(&guide, option), "env"));
    assert_eq!((cloud.len(), own.len()), (2, 2));
    for (cloud, own) in cloud.iter().zip(&own) {
        let kept = variables(cloud).into_iter().filter(|(name, _)| {
            !matches!(*name, "OTEL_EXPORTER_OTLP_HEADERS" | "OTEL_EXPORTER_OTLP_COMPRESSION")
        });
        assert_eq!(kept.collect::<Vec<_>>(), variables(own));
        assert!(own.contains("=http://signoz.example:4318\n"), "{own}");
    }
}
