//! The command line against a server that runs.

use std::fs;

use skein_tests::stack::{KEY, Setup, Stack, with_stack};

const SLEEPER: &str = "\
name: sleeper
nodes:
  - { id: wait, type: delay, params: { for: 1h } }
";

/// Runs `skein` with these words; what it printed, if it ended well.
async fn skein(stack: &Stack, words: &[&str]) -> String {
    let command: Vec<_> = std::iter::once("skein").chain(words.iter().copied()).collect();
    // A name of its own for the log, which holds everything that a program ever printed.
    let name = format!("skein-{}-{}", words[0], words.len());
    let mut skein = stack.program(&name, &command);
    skein.set("SKEIN_KEY", KEY);
    skein.start();
    let code = skein.ended().await.code();
    assert_eq!(code, Some(0), "{words:?}: {}", skein.log());
    skein.log()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_started_listed_cancelled_and_looked_at() {
    with_stack(Setup::embedded("commands"), async |stack| {
        let file = stack.data().join("sleeper.yaml");
        fs::write(&file, SLEEPER).expect("the directory of the instance");
        let accepted = skein(stack, &["run", &file.to_string_lossy(), "--no-wait", "-q"]).await;
        let id = accepted.trim();
        let waits = |run: &skein_tests::stack::Run| run.node_states() == [("wait", "waiting")];
        let run = stack.client.becomes(id, "waits", waits).await;

        let cancelled = skein(stack, &["cancel", id]).await;
        assert_eq!(cancelled, format!("{id} cancelled\n"));
        let listed = skein(stack, &["runs"]).await;
        let row = listed.lines().find(|line| line.starts_with(id)).expect("it is listed");
        assert!(row.contains("sleeper") && row.contains("cancelled"), "{listed}");

        stack.client.logs(id).await;
        let log = skein(stack, &["logs", id]).await;
        let trace = run.trace().to_string();
        let mut rows = log.lines();
        let common = rows.next().expect("a day and a trace");
        assert!(common.ends_with(&format!(" UTC  trace {trace}")), "{log}");
        let rows: Vec<_> = rows.collect();
        let with_ids = skein(stack, &["logs", id, "--ids"]).await;
        let spans: Vec<_> = with_ids.lines().skip(1).collect();
        assert_eq!(spans.len(), rows.len(), "{with_ids}");
        assert!(spans.iter().all(|row| row.contains(&format!(" {trace} "))), "{with_ids}");
        for event in ["run.accepted", "node.waiting", "node.cancelled", "run.cancelled"] {
            assert_eq!(rows.iter().filter(|row| row.contains(event)).count(), 1, "{event}: {log}");
        }

        let drawn = skein(stack, &["trace", id]).await;
        assert!(drawn.contains("sleeper v1 cancelled") && drawn.contains(&trace), "{drawn}");
        let root = drawn.lines().find(|line| line.starts_with("└ workflow.execute"));
        let root_id = run.0["root_span_id"].as_str().expect("an id");
        assert!(root.is_some_and(|line| line.ends_with(root_id)), "{drawn}");
        assert!(drawn.contains("  └ delay wait #1 waiting"), "{drawn}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bench_says_how_many_runs_were_accepted_and_completed() {
    with_stack(Setup::embedded("bench"), async |stack| {
        let report = skein(stack, &["bench", "--runs", "30", "--concurrency", "4"]).await;
        for stage in ["accepted", "completed"] {
            let row = report.lines().find(|line| line.starts_with(stage)).expect("a row");
            assert_eq!(row.split_whitespace().nth(1), Some("30"), "{report}");
        }
        let listed = stack.client.get("/v1/runs?status=succeeded&limit=100").await;
        let listed = listed.expect("the API answers");
        assert_eq!(listed.body["items"].as_array().map(Vec::len), Some(30), "{:#}", listed.body);
    })
    .await;
}
