//! `skein show` and `skein trace`: a run at any time, by any of its names; and `skein workers`.

use serde_json::{Value, json};

use super::answer;
use super::server::{RUN, Server, run};
use super::skein::TestDirectory;

/// A trace of a run.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The run with a node that two workers have tried.
fn tried(status: &str) -> Value {
    let mut run = run(status);
    let error = json!({ "code": "connect", "message": "refused", "details": null, "node": null });
    let attempt = json!({ "attempt": 1, "outcome": "retry", "worker": "one:17", "error": error,
        "trace_id": null, "span_id": null, "started_at": "2030-01-31T12:00:00Z", "finished_at": "2030-01-31T12:00:01Z" });
    let node = json!({ "node": "fetch", "scope": "", "type": "http", "status": status, "attempts": 2,
        "worker": "two:4", "error": null, "trace_id": null, "span_id": null, "queued_at": "2030-01-31T12:00:00Z",
        "started_at": "2030-01-31T12:00:02Z", "finished_at": "2030-01-31T12:00:03Z", "wake_at": null,
        "waiting_for": null, "earlier_attempts": [attempt], "input": { "url": "http://x" }, "output": "the page" });
    run["nodes"] = json!([node]);
    run["input"] = json!({ "amount": 500 });
    run["output"] = json!("what came of it");
    run
}

fn server(status: &'static str) -> Server {
    Server::start(move |request| match request {
        line if line.contains("/logs") || line.contains("/steps") => {
            answer(json!({ "items": [], "next_cursor": null }))
        }
        line if line.starts_with("GET /v1/runs?trace_id=") => {
            let found = if line.contains(TRACE) { vec![run(status)] } else { Vec::new() };
            answer(json!({ "items": found, "next_cursor": null }))
        }
        line if line.starts_with(&format!("GET /v1/runs/{RUN}")) => answer(tried(status)),
        "GET /v1/workflows/w?version=1" => answer(json!({ "document": { "nodes": [] } })),
        other => panic!("{other}"),
    })
}

#[test]
fn a_run_is_shown_at_any_time_with_who_has_worked_on_it() {
    let temp = TestDirectory::new("show");
    let server = server("succeeded");
    let called = temp.call_on(&server.url, &["show", RUN]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let shown = &called.stdout;
    for part in ["Attempts", "one:17", "two:4", "connect: refused", "w v1 succeeded", RUN] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // What came of it stands where a terminal is left.
    assert!(shown.ends_with("\nOutput\nwhat came of it\n"), "{shown}");
    assert!(!shown.contains("the page") && !shown.contains("http://x"), "{shown}");
    assert!(!shown.contains("amount"), "{shown}");
    assert!(shown.is_ascii() || !shown.contains('\x1b'), "{shown:?}");

    let values = temp.call_on(&server.url, &["show", RUN, "--values"]).stdout;
    assert!(
        values.contains("fetch output:\nthe page") && values.contains("fetch input:"),
        "{values}"
    );
    let inputs = temp.call_on(&server.url, &["show", RUN, "--inputs"]).stdout;
    assert!(inputs.contains("http://x") && !inputs.contains("the page"), "{inputs}");
    assert!(inputs.contains("run input:\n{\n  \"amount\": 500\n}\n"), "{inputs}");
    let json = temp.call_on(&server.url, &["show", RUN, "-o", "json"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), tried("succeeded"));
    assert_eq!(temp.call_on(&server.url, &["show", RUN, "-q"]).stdout, format!("{RUN}\n"));
    let trace = temp.call_on(&server.url, &["trace", RUN, "-q"]).stdout;
    assert_eq!(trace, format!("{}\n", "aa".repeat(16)));
}

#[test]
fn a_run_that_failed_is_shown_without_a_failure() {
    let temp = TestDirectory::new("show_failed");
    let server = server("failed");
    let called = temp.call_on(&server.url, &["show", RUN]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert!(called.stdout.contains("\n  input  {\"amount\":500}\n"), "{called:?}");
    for command in ["show", "trace"] {
        let followed = temp.call_on(&server.url, &[command, RUN, "--follow"]);
        assert_eq!(followed.code, Some(3), "{command}: {}", followed.stderr);
        assert!(followed.stdout.contains("w v1 failed"), "{followed:?}");
    }
}

#[test]
fn a_run_is_known_by_its_trace() {
    let temp = TestDirectory::new("by_trace");
    let server = server("succeeded");
    for command in ["show", "trace", "logs", "steps"] {
        let called = temp.call_on(&server.url, &[command, TRACE]);
        assert_eq!(called.code, Some(0), "{command}: {}", called.stderr);
        let asked = server.asked();
        assert_eq!(asked[0], format!("GET /v1/runs?trace_id={TRACE}&limit=10"));
        assert!(asked[1].starts_with(&format!("GET /v1/runs/{RUN}")), "{asked:?}");
    }
    let none = temp.call_on(&server.url, &["show", &"0123456789abcdef".repeat(2)]);
    assert_eq!(none.code, Some(1), "{}", none.stderr);
    assert!(none.stderr.contains("no run has the trace"), "{}", none.stderr);
    let wrong = temp.call_on(&server.url, &["show", "0123"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

#[test]
fn a_run_that_is_under_way_is_watched_until_it_has_ended() {
    let temp = TestDirectory::new("show_follow");
    let mut looks = 0;
    let server = Server::start(move |request| match request {
        line if line.contains("/events") => {
            let end = "event: end\ndata: {\"status\":\"succeeded\"}\n\n";
            answer(Value::String(end.to_owned()))
        }
        line if line.contains("/logs") || line.contains("/steps") => {
            answer(json!({ "items": [], "next_cursor": null }))
        }
        line if line.starts_with("GET /v1/workflows/w?version=1") => {
            answer(json!({ "document": { "nodes": [{ "id": "later", "type": "log" }] } }))
        }
        _ => {
            looks += 1;
            let mut run = run(if looks == 1 { "queued" } else { "succeeded" });
            run["no_worker"] = json!(looks == 1);
            answer(run)
        }
    });
    let called = temp.call_on(&server.url, &["show", RUN, "--follow"]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert!(called.stderr.contains("no worker lives"), "{}", called.stderr);
    assert!(called.stdout.contains("w v1 succeeded"), "{called:?}");
    assert!(!called.stdout.contains("no worker lives"), "{called:?}");
}

#[test]
fn a_run_that_waits_for_a_worker_says_so() {
    let temp = TestDirectory::new("no_worker");
    let server = Server::start(|request| match request {
        line if line.contains("/logs") || line.contains("/steps") => {
            answer(json!({ "items": [], "next_cursor": null }))
        }
        _ => {
            let mut run = run("queued");
            run["no_worker"] = json!(true);
            answer(run)
        }
    });
    for command in ["show", "trace"] {
        let called = temp.call_on(&server.url, &[command, RUN]);
        assert!(called.stdout.contains("no worker lives"), "{command}: {called:?}");
    }
}

#[test]
fn the_fleet_is_listed() {
    let temp = TestDirectory::new("workers");
    let server = Server::start(|request| {
        assert_eq!(request, "GET /v1/workers?limit=50");
        let worker = |id: &str, status: &str| {
            json!({ "id": id, "host": "one", "pid": 17, "version": "0.1.0", "status": status, "slots": 128,
                "busy": 3, "started_at": "2030-01-31T12:00:00Z", "seen_at": "2030-01-31T12:00:00Z" })
        };
        answer(
            json!({ "items": [worker("w2", "live"), worker("w1", "dead")], "next_cursor": null }),
        )
    });
    let table = temp.call_on(&server.url, &["workers"]);
    assert_eq!(table.code, Some(0), "{}", table.stderr);
    let rows: Vec<_> = table.stdout.lines().collect();
    assert!(rows[1].starts_with("one:17") && rows[1].contains("live"), "{rows:?}");
    assert!(rows[2].contains("dead") && rows[2].ends_with("w1"), "{rows:?}");
    assert_eq!(temp.call_on(&server.url, &["workers", "-q"]).stdout, "w2\nw1\n");
    let yaml = temp.call_on(&server.url, &["workers", "-o", "yaml"]).stdout;
    assert!(yaml.starts_with("- id: w2\n") && yaml.contains("\n- id: w1\n"), "{yaml}");
}
