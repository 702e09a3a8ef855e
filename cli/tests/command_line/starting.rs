//! `skein start`, and `skein run` of a draft.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::server::{RUN, Server, run};
use super::skein::TestDirectory;
use super::{accepting, answer};

/// What was asked: the line, the idempotency key and the body.
type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

/// A server that accepts every run, which ends with this status.
fn server(status: &'static str) -> (Server, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let server = Server::seeing_all(move |request| {
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        let key = request.header("idempotency-key").to_owned();
        seen.lock().expect("no test has failed").push((request.line.clone(), key, body));
        match &*request.line {
            line if line.starts_with("POST /v1/workflows/w/runs") => answer(run("queued")),
            line if line.contains("/logs") => answer(json!({ "items": [] })),
            line if line.starts_with("GET /v1/workflows/w") => {
                answer(json!({ "document": { "nodes": [{ "id": "a", "type": "log" }] } }))
            }
            _ => answer(run(status)),
        }
    });
    (server, asked)
}

#[test]
fn a_run_is_started_with_what_is_said_of_it() {
    let temp = TestDirectory::new("start");
    temp.write("input.yaml", "n: 1\nm: [x]\n");
    let (server, asked) = server("succeeded");
    let skein = |args: &[&str]| {
        let called = temp.call_on(&server.url, args);
        (called, asked.lock().unwrap().pop().expect("something was asked"))
    };
    let (called, (line, key, body)) = skein(&["start", "w"]);
    assert_eq!((called.code, called.stdout), (Some(0), format!("{RUN}\n")));
    // Nobody sits there who would follow it.
    assert_eq!(called.stderr, "");
    assert_eq!((&*line, &*key), ("POST /v1/workflows/w/runs", ""));
    assert_eq!(body, json!({ "input": {} }));

    let input = ["--input", "@input.yaml", "-i", "n=3", "-i", "name=Ada"];
    let more = ["--idempotency-key", "order 17", "--budget-usd", "0.5", "--deadline", "1h"];
    let (called, (line, key, body)) = skein(&[&["start", "w@3"], &input[..], &more].concat());
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert_eq!((&*line, &*key), ("POST /v1/workflows/w/runs?version=3", "order 17"));
    let budget = json!({ "max_usd": 0.5, "deadline": "1h" });
    assert_eq!(body, json!({ "input": { "n": 3, "m": ["x"], "name": "Ada" }, "budget": budget }));

    let (called, _) = skein(&["start", "w", "-o", "json"]);
    let told: Value = serde_json::from_str(&called.stdout).unwrap();
    assert_eq!((&told["id"], &told["version"]), (&json!(RUN), &json!(1)));
    assert_eq!(skein(&["start", "w", "-q"]).0.stdout, format!("{RUN}\n"));
}

#[test]
fn a_start_that_waits_shows_the_run_and_says_how_it_ended() {
    for (status, code) in [("succeeded", 0), ("failed", 3), ("cancelled", 3), ("timed_out", 3)] {
        let temp = TestDirectory::new(&format!("start_{status}"));
        let (server, asked) = server(status);
        for flag in ["--wait", "--follow"] {
            let called = temp.call_on(&server.url, &["start", "w@3", flag]);
            assert_eq!(called.code, Some(code), "{status} {flag}: {}", called.stderr);
            assert!(called.stdout.contains(&format!("w v1 {status}")), "{called:?}");
        }
        // Nodes that have not been reached are shown: those of the version that was started.
        let plan = "GET /v1/workflows/w?version=1";
        assert_eq!(asked.lock().unwrap().iter().filter(|(line, ..)| line == plan).count(), 2);
    }
}

#[test]
fn what_cannot_be_meant_is_refused_before_anybody_is_asked() {
    let temp = TestDirectory::new("start_usage");
    let (server, asked) = server("succeeded");
    for args in [
        &["start"][..],
        &["start", "w@latest"],
        &["start", ".."],
        &["workflows", "."],
        &["archive", "w@1"],
        &["start", "w", "-i", "n=18446744073709551616"],
        &["start", "w", "-i", "n"],
        &["start", "w", "-i", "n=1", "-i", "n=2"],
        &["start", "w", "--input", "input.json"],
        &["start", "w", "--input", "[1]", "-i", "n=1"],
        &["start", "w", "--idempotency-key", ""],
        &["start", "w", "--budget-usd", "five"],
    ] {
        let called = temp.call_on(&server.url, args);
        assert_eq!(called.code, Some(2), "{args:?}: {}", called.stderr);
    }
    assert!(asked.lock().unwrap().is_empty());
}

fn hint_of(error: &Value) -> Option<&str> {
    error["hint"].as_str()
}

#[test]
fn a_draft_is_proposed_by_its_number_and_the_input_is_not_repeated() {
    let temp = TestDirectory::new("start_draft");
    let server = Server::start(|request| match request {
        "GET /v1/workflows/w/versions?limit=1" => answer(json!({ "items": [{
            "version": 4, "draft": true, "description": null, "node_count": 1, "edge_count": 0,
            "created_by": "ada", "created_at": "2030-01-31T12:00:00Z",
        }], "next_cursor": null })),
        _ => {
            let r#type = "urn:skein:problem:no-published-version";
            let detail = "start a draft by its number, as with ?version=4";
            Some((409, json!({ "type": r#type, "title": "x", "status": 409, "detail": detail })))
        }
    });
    let args = ["start", "w", "-i", "amount=1", "-i", "note=a b", "--wait", "-o", "json"];
    let called = temp.call_on(&server.url, &args);
    let error: Value = serde_json::from_str(&called.stderr).unwrap();
    let start = "`w@4` in place of `w` runs the newest draft, ";
    assert!(hint_of(&error).is_some_and(|hint| hint.starts_with(start)), "{error}");
    assert!(!called.stderr.contains("a b"), "{}", called.stderr);
    assert!(!called.stderr.contains("?version="), "{}", called.stderr);
}

#[test]
fn a_key_that_was_used_before_gives_the_run_of_then_and_says_so() {
    let temp = TestDirectory::new("start_repeated");
    temp.write("w.yaml", "name: w\nnodes:\n  - { id: a, type: transform, params: { value: 1 } }\n");
    let (_dev, _) = super::dev::start(&temp);
    let published = temp.call(&["publish", "w.yaml"]);
    assert_eq!(published.stdout, "w v1 created\n", "{}", published.stderr);
    let first = temp.call(&["start", "w", "--idempotency-key", "order 17", "--wait", "-o", "json"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(!first.stderr.contains("the key was used before"), "{}", first.stderr);
    let run: Value = serde_json::from_str(&first.stdout).unwrap();
    let again = temp.call(&["start", "w", "--idempotency-key", "order 17"]);
    assert_eq!(again.stdout, format!("{}\n", run["id"].as_str().unwrap()));
    let said = "the key was used before: this is the run of then, succeeded\n";
    assert_eq!((again.code, &*again.stderr), (Some(0), said));
    let published = temp.call(&["publish", "w.yaml"]);
    assert_eq!(published.stdout, "w v1 unchanged: it is the latest version already\n");
}

#[test]
fn a_start_that_is_refused_says_why() {
    for (status, code, title) in [
        (404, "workflow-not-found", "There is no such workflow"),
        (409, "no-published-version", "The workflow has drafts alone"),
        (409, "workflow-archived", "The workflow is archived"),
        (401, "unauthenticated", "A valid API key is required"),
    ] {
        let temp = TestDirectory::new(&format!("refused_{code}"));
        let server = Server::start(move |_| {
            let r#type = format!("urn:skein:problem:{code}");
            Some((
                status,
                json!({ "type": r#type, "title": title, "status": status, "detail": "see above" }),
            ))
        });
        for flags in [&[][..], &["--wait"]] {
            let called = temp.call_on(&server.url, &[&["start", "w"], flags].concat());
            assert_eq!((called.code, &*called.stdout), (Some(1), ""), "{}", called.stderr);
            assert!(called.stderr.contains(title), "{}", called.stderr);
        }
        let called = temp.call_on(&server.url, &["start", "w", "-o", "json"]);
        let error: Value = serde_json::from_str(&called.stderr).unwrap();
        assert_eq!((&error["code"], &error["status"]), (&json!(code), &json!(status)));
        assert_eq!(
            error["error"].as_str().is_some_and(|text| text.contains("see above")),
            hint_of(&error).is_none(),
            "what a request would do is not for who types commands: {error}"
        );
        let help = match code {
            "no-published-version" => Some(format!("`skein publish FILE --url {}`", server.url)),
            "workflow-archived" => Some(format!("`skein archive w --undo --url {}`", server.url)),
            _ => None,
        };
        let hint = hint_of(&error);
        assert_eq!(hint.is_some(), help.is_some(), "{error}");
        assert!(help.is_none_or(|help| hint.is_some_and(|it| it.contains(&help))), "{error}");
    }
}

#[test]
fn a_run_is_not_left_to_a_server_that_does_not_stay() {
    let temp = TestDirectory::new("start_embedded");
    let called = temp.call(&["start", "w"]);
    assert_eq!(called.code, Some(2));
    assert!(called.stderr.contains("skein dev"), "{}", called.stderr);
    assert!(!temp.path().join(".skein").exists());
}

#[test]
fn a_draft_is_run_by_its_number_and_that_is_said() {
    let temp = TestDirectory::new("draft");
    let server = accepting(|request| {
        if request.contains("/logs") {
            answer(json!({ "items": [] }))
        } else {
            answer(run("succeeded"))
        }
    });
    let called = temp.call_on(&server.url, &["run", "w.yaml"]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let publish = format!("`skein publish w.yaml --url {}`", server.url);
    let said = format!("version 1 of w is a draft; {publish} makes it the latest\n");
    assert!(called.stderr.contains(&said), "{}", called.stderr);
    let stored = "POST /v1/workflows?draft=true";
    assert_eq!(server.asked()[..2], [stored, "POST /v1/workflows/w/runs?version=1"]);
}

#[test]
fn a_version_that_is_published_already_is_no_draft() {
    let temp = TestDirectory::new("no_draft");
    let server = Server::start(|request| match request {
        "POST /v1/workflows?draft=true" => {
            answer(json!({ "name": "w", "version": 7, "draft": false }))
        }
        "POST /v1/workflows/w/runs?version=7" => answer(run("queued")),
        other => panic!("{other}"),
    });
    let called = temp.call_on(&server.url, &["run", "w.yaml", "--no-wait"]);
    assert_eq!((called.code, &*called.stderr), (Some(0), ""));
}

#[test]
fn an_older_server_is_not_made_to_change_what_everybody_gets() {
    let temp = TestDirectory::new("older");
    let server = Server::start(|_| {
        let errors = [json!({ "parameter": "draft", "message": "is not known", "hint": "none" })];
        let r#type = "urn:skein:problem:invalid-parameter";
        Some((
            400,
            json!({ "type": r#type, "title": "A parameter is not valid", "status": 400, "errors": errors }),
        ))
    });
    let called = temp.call_on(&server.url, &["run", "w.yaml"]);
    assert_eq!(called.code, Some(1));
    for part in ["older one", "skein publish", "skein start"] {
        assert!(called.stderr.contains(part), "{part}: {}", called.stderr);
    }
    assert_eq!(server.asked().len(), 1);
}
