//! `skein logs` and `skein runs`: what they ask for.

use serde_json::{Value, json};

use super::server::{RUN, Server, run};
use super::skein::TestDirectory;
use super::{answer, row};

#[test]
fn a_log_is_followed_without_the_values_of_the_run() {
    let temp = TestDirectory::new("values");
    let server = Server::start(|request| {
        if request.contains("/logs") {
            answer(json!({ "items": [] }))
        } else {
            answer(run("failed"))
        }
    });
    let args = ["logs", RUN, "--follow", "--url", &server.url, "--key", "a-key"];
    let ended = temp.skein(&args).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let polled = server.wait_for(&format!("GET /v1/runs/{RUN}?"));
    assert!(polled.ends_with("?values=false"), "{polled}");
}

#[test]
fn a_log_is_followed_over_the_stream_from_where_it_was_read() {
    let temp = TestDirectory::new("follow_log");
    let mut pages = 0;
    let server = Server::start(move |request| {
        let end = "event: end\ndata: {\"status\":\"succeeded\"}\n\n";
        if request.contains("/logs") {
            pages += 1;
            let items = if pages == 1 { vec![row(1, "run.started")] } else { Vec::new() };
            let next = if pages == 1 { json!("c1") } else { Value::Null };
            answer(json!({ "items": items, "next_cursor": next }))
        } else if request.ends_with("/events after c1") {
            let row = row(2, "run.succeeded");
            answer(Value::String(format!("event: x\nid: c2\ndata: {row}\n\n{end}")))
        } else {
            answer(run("running"))
        }
    });
    let called = temp.call_on(&server.url, &["logs", RUN, "-f", "-o", "json"]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let expected = format!("{}\n{}\n", row(1, "run.started"), row(2, "run.succeeded"));
    assert_eq!(called.stdout, expected);
}

#[test]
fn rows_are_chosen_by_the_server_and_here_where_the_log_is_followed() {
    let temp = TestDirectory::new("filters");
    let server = Server::start(|request| {
        let severe = |n, level: &str, node: &str| {
            let mut row = row(n, "node.failed");
            (row["level"], row["node"]) = (level.into(), node.into());
            row
        };
        let end = "event: end\ndata: {\"status\":\"succeeded\"}\n\n";
        if request.contains("/logs") && request.contains("after=c3") {
            // Of many rows that are none of them.
            let next = if request.contains("level=") { json!("c9") } else { Value::Null };
            answer(json!({ "items": [], "next_cursor": next }))
        } else if request.contains("/logs") && request.contains("after=c9") {
            answer(json!({ "items": [severe(9, "error", "a")], "next_cursor": "c10" }))
        } else if request.contains("/logs") && request.contains("after=") {
            answer(json!({ "items": [], "next_cursor": null }))
        } else if request.contains("/logs") {
            let rows = [severe(1, "info", "a"), severe(2, "error", "a"), severe(3, "error", "b")];
            answer(json!({ "items": rows, "next_cursor": "c3" }))
        } else if request.ends_with("/events after c3") {
            let rows = [severe(4, "warn", "a"), severe(5, "debug", "a")];
            let rows =
                rows.iter().zip(4..).map(|(row, n)| format!("event: x\nid: c{n}\ndata: {row}\n\n"));
            answer(Value::String(rows.collect::<String>() + end))
        } else {
            answer(run("running"))
        }
    });
    let filters =
        ["logs", RUN, "--level", "warn", "--node", "a", "--since", "2030-01-31T11:00:00Z"];
    let listed = temp.call_on(&server.url, &filters);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert!(listed.stdout.contains("line 9"), "a page may be empty: {listed:?}");
    let query = "?level=warn&node=a&since=2030-01-31T11%3A00%3A00Z&limit=500";
    assert_eq!(server.asked()[0], format!("GET /v1/runs/{RUN}/logs{query}"));

    let followed = temp.call_on(&server.url, &[&filters[..], &["-f", "-o", "json"]].concat());
    let lines = followed.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let messages: Vec<_> = lines.map(|row| row["message"].clone()).collect();
    assert_eq!(messages, ["line 2", "line 4"], "{}", followed.stderr);
    assert_eq!(server.asked()[0], format!("GET /v1/runs/{RUN}/logs?limit=500"));

    for wrong in [["--level", "loud"], ["--since", "yesterday"]] {
        let refused = temp.call_on(&server.url, &[&["logs", RUN][..], &wrong].concat());
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    }
    assert_eq!(server.asked(), [] as [&str; 0]);
}

#[test]
fn runs_are_listed_from_as_many_pages_as_it_takes() {
    let temp = TestDirectory::new("pages");
    let server = Server::start(|request| {
        let (items, next) = match request {
            "GET /v1/runs?status=running&limit=2" => (json!([]), json!("one")),
            "GET /v1/runs?status=running&cursor=one&limit=2" => {
                (json!([run("running")]), json!("two"))
            }
            "GET /v1/runs?status=running&cursor=two&limit=1" => (json!([]), Value::Null),
            other => panic!("{other}"),
        };
        answer(json!({ "items": items, "next_cursor": next }))
    });
    let url = ["--url", &server.url, "--key", "a-key"];
    let args = [&["runs", "-o", "json", "--status", "running", "--limit", "2"][..], &url].concat();
    let ended = temp.skein(&args).output().unwrap();
    let (listed, stderr) = (String::from_utf8(ended.stdout), String::from_utf8(ended.stderr));
    let (listed, stderr) = (listed.unwrap(), stderr.unwrap());
    assert_eq!(listed.lines().count(), 1, "{listed} {stderr}");
    assert!(listed.contains(RUN) && !stderr.contains("there are more"), "{listed} {stderr}");
}

#[test]
fn runs_are_looked_for_by_several_states_and_by_time() {
    let temp = TestDirectory::new("run_filters");
    let server = Server::start(|_| answer(json!({ "items": [], "next_cursor": null })));
    let filters =
        ["--status", "failed,cancelled", "--since", "1h", "--until", "2030-01-31T12:00:00Z"];
    let called = temp.call_on(&server.url, &[&["runs"][..], &filters].concat());
    assert_eq!((called.code, &*called.stdout), (Some(0), "no runs\n"), "{}", called.stderr);
    let asked = server.asked();
    let start = "GET /v1/runs?status=failed%2Ccancelled&created_after=2";
    assert!(asked[0].starts_with(start), "{asked:?}");
    assert!(asked[0].contains("&created_before=2030-01-31T12%3A00%3A00Z&"), "{asked:?}");
    let quiet = temp.call_on(&server.url, &["runs", "-q"]);
    assert_eq!((&*quiet.stdout, &*quiet.stderr), ("", ""));
}
