//! What commands show of a run: in which order, and what they ask a server for it.

use serde_json::{Value, json};

use super::server::{Answer, RUN, Server, run};
use super::skein::TestDirectory;
use super::{accepting, answer};

/// The run as it failed at its first node.
fn failed() -> Value {
    let mut failed = run("failed");
    failed["finished_at"] = json!("2030-01-31T12:00:02Z");
    failed["error"] = json!({ "code": "connect", "message": "refused", "node": "a" });
    failed["nodes"] = json!([{
        "node": "a", "scope": "", "type": "http", "status": "failed", "attempts": 1, "error": failed["error"],
        "worker": "one:1", "trace_id": null, "span_id": "dd", "queued_at": "2030-01-31T12:00:00Z",
        "started_at": "2030-01-31T12:00:01Z", "finished_at": "2030-01-31T12:00:02Z", "earlier_attempts": [],
    }]);
    failed
}

fn stdout_of(ended: std::process::Output) -> String {
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    String::from_utf8(ended.stdout).unwrap_or_else(|_| panic!("{stderr}"))
}

#[test]
fn a_trace_shows_the_nodes_that_the_version_of_its_run_plans() {
    let temp = TestDirectory::new("planned");
    let version = "GET /v1/workflows/w?version=1";
    let document = json!({
        "nodes": [{ "id": "b", "type": "log" }, { "id": "a", "type": "http" }],
        "edges": [{ "from": "a", "to": "b" }],
    });
    let known: Answer = answer(json!({ "name": "w", "version": 1, "document": document }));
    for (planned, is_shown) in
        [(known, true), (Some((404, json!({}))), false), (Some((403, json!({}))), false)]
    {
        let server = Server::start(move |request| match request {
            _ if request == version => planned.clone(),
            _ if request.contains("/steps") => answer(json!({ "items": [], "next_cursor": null })),
            _ => answer(failed()),
        });
        let args = ["trace", RUN, "--url", &server.url, "--key", "a-key"];
        let shown = stdout_of(temp.skein(&args).output().unwrap());
        assert_eq!(shown.contains("  └ log b not reached\n"), is_shown, "{shown}");
        assert!(shown.contains("█ at work") && shown.contains("http a "), "{shown}");
        assert!(shown.ends_with("  error  a: connect: refused\n"), "{shown}");
        let asked = server.asked();
        assert_eq!(asked.iter().filter(|asked| *asked == version).count(), 1, "{asked:?}");
    }
}

#[test]
fn what_came_of_a_run_stands_below_how_it_came_to_it() {
    let temp = TestDirectory::new("last");
    let server = accepting(|request| {
        if request.contains("/logs") { answer(json!({ "items": [] })) } else { answer(failed()) }
    });
    let args = ["run", "w.yaml", "--url", &server.url, "--key", "a-key"];
    let shown = stdout_of(temp.skein(&args).output().unwrap());
    let parts =
        ["Nodes\n", "\nLog\n", "\nTrace\n", "\n✗ w v1 failed in 2.00s\n", "a: connect: refused\n"];
    let places: Vec<_> = parts.iter().map(|part| shown.find(part)).collect();
    assert!(places.is_sorted() && places[0] == Some(0), "{places:?} {shown}");
    // The server's worker is not this process.
    assert!(shown.contains("WORKER") && shown.contains("  one:1  "), "{shown}");
}

#[test]
fn a_run_that_no_worker_is_there_for_says_so_once() {
    let temp = TestDirectory::new("no_worker");
    for flags in [&[][..], &["--follow"]] {
        let mut looks = 0;
        let server = accepting(move |request| {
            if request.ends_with("/events") {
                let r#type = "urn:skein:problem:no-such-route";
                return Some((404, json!({ "type": r#type, "title": "x", "status": 404 })));
            }
            if request.contains("/logs") {
                return answer(json!({ "items": [] }));
            }
            looks += 1;
            let mut run = run(if looks > 6 { "succeeded" } else { "queued" });
            run["no_worker"] = json!(looks <= 6);
            answer(run)
        });
        let args = [&["run", "w.yaml", "--url", &server.url, "--key", "a-key"], flags].concat();
        let ended = temp.skein(&args).output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        let told = stderr.matches("no worker lives: start one with skein-worker\n").count();
        assert_eq!((ended.status.success(), told), (true, 1), "{stderr}");
    }
}
