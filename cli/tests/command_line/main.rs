//! The command line as a process: what it makes of its environment, and of Ctrl-C.

mod analysis;
mod dev;
mod doctor;
mod interrupts;
mod keys;
mod life;
mod logs;
mod mistakes;
mod models;
mod pictures;
mod planted;
mod publishing;
mod scripts;
mod server;
mod showing;
mod signoz;
mod skein;
mod spending;
mod starting;
mod traces;

use serde_json::{Value, json};

use server::{Answer, RUN, Server, run};
use skein::TestDirectory;

fn answer(body: Value) -> Answer {
    Some((200, body))
}

/// A server that accepts the run, and does the rest as the case says.
fn accepting(mut answer_rest: impl FnMut(&str) -> Answer + Send + 'static) -> Server {
    Server::start(move |request| match request {
        "POST /v1/workflows?draft=true" => {
            Some((201, json!({ "name": "w", "version": 1, "draft": true })))
        }
        "POST /v1/workflows/w/runs?version=1" => answer(run("running")),
        rest => answer_rest(rest),
    })
}

#[test]
fn the_environment_may_say_in_several_words_that_schemas_are_left_alone() {
    let temp = TestDirectory::new("environment");
    let stderr = |value: &str| {
        let command = temp.skein(&["runs"]).env("SKEIN_NO_MIGRATE", value).output().unwrap();
        String::from_utf8(command.stderr).unwrap()
    };
    // There is no server, which is reported after the settings have been read.
    for value in ["1", "yes", "true", "on", "0", "no", "false"] {
        assert!(stderr(value).contains("there is no server"), "{value}: {}", stderr(value));
    }
    assert!(stderr("perhaps").contains("--no-migrate"), "{}", stderr("perhaps"));
    let run = temp.skein(&["run", "none.yaml"]).env("SKEIN_NO_MIGRATE", "1").output().unwrap();
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert!(stderr.contains("none.yaml") && !stderr.contains("migrate"), "{stderr}");
}

/// A row of a log.
fn row(n: u32, event: &str) -> Value {
    json!({
        "ts": "2030-01-31T12:00:00Z", "level": "info", "event": event, "message": format!("line {n}"),
        "node": null, "data": null, "trace_id": "aa", "span_id": "bb",
    })
}

/// A server whose stream ends before the run does, and goes on where it is asked to.
fn streaming() -> Server {
    let mut state = "running";
    accepting(move |request| {
        let events = format!("GET /v1/runs/{RUN}/events");
        let rest = request.strip_prefix(&events);
        let block =
            |n, event: &str| format!("event: {event}\nid: {n}\ndata: {}\n\n", row(n, event));
        match rest {
            Some("") => {
                let delta =
                    json!({ "node": "a", "scope": "", "step": 1, "seq": 0, "text": "Once" });
                let delta = format!("event: llm.delta\ndata: {delta}\n\n");
                let text = format!("retry: 10\n\n{}{delta}: alive\n\n", block(1, "run.started"));
                answer(Value::String(text))
            }
            Some(" after 1") => {
                state = "succeeded";
                let end = "event: end\ndata: {\"status\":\"succeeded\"}\n\n";
                answer(Value::String(block(2, "run.succeeded") + end))
            }
            Some(other) => panic!("{other}"),
            None if request.contains("/logs") => answer(json!({ "items": [] })),
            None => answer(run(state)),
        }
    })
}

#[test]
fn what_happens_in_a_run_is_told_in_lines_over_streams_that_end_before_it_does() {
    let temp = TestDirectory::new("follow_json");
    let server = streaming();
    let args = ["run", "w.yaml", "--follow", "-o", "json", "--url", &server.url, "--key", "a-key"];
    let ended = temp.skein(&args).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(ended.stdout), String::from_utf8(ended.stderr));
    let (stdout, stderr) = (stdout.unwrap(), stderr.unwrap());
    assert!(ended.status.success(), "{stderr}");
    let lines: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["run.started", "llm.delta", "run.succeeded", "end", "run"], "{stderr}");
    assert_eq!(lines[0]["data"], row(1, "run.started"));
    assert_eq!(lines[1]["data"]["text"], "Once");
    assert_eq!(lines[4]["data"]["status"], "succeeded");
}

#[test]
fn a_run_is_followed_without_being_polled() {
    let temp = TestDirectory::new("follow");
    for flags in [&[][..], &["--follow"]] {
        let server = streaming();
        let args = [&["run", "w.yaml", "--url", &server.url, "--key", "a-key"], flags].concat();
        let ended = temp.skein(&args).output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success(), "{stderr}");
        assert!(!stderr.contains("no live events"), "{stderr}");
        // No terminal, no text of models; it is nobody's log.
        // After that, it is not shown again.
        let stdout = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(stdout.contains("\nLog\n"), flags.is_empty(), "{stdout}");
        let shown = stderr.contains("line 1") && stderr.contains("line 2");
        assert_eq!((shown, stderr.contains("Once")), (!flags.is_empty(), false), "{stderr}");
        let asked = server.asked();
        let looks = asked.iter().filter(|asked| asked.ends_with("?values=false")).count();
        assert!(looks <= 4, "{asked:?}");
    }
}

#[test]
fn a_server_without_streams_is_polled_and_that_is_said() {
    let temp = TestDirectory::new("polled");
    let mut pages = 0;
    let server = accepting(move |request| {
        if request.ends_with("/events") {
            let r#type = "urn:skein:problem:no-such-route";
            return Some((404, json!({ "type": r#type, "title": "x", "status": 404 })));
        }
        if request.contains("/logs") {
            pages += 1;
            let items = if pages == 1 { vec![row(1, "run.started")] } else { Vec::new() };
            return answer(json!({ "items": items, "next_cursor": "c1" }));
        }
        answer(run(if pages > 1 { "succeeded" } else { "running" }))
    });
    let args = ["run", "w.yaml", "--follow", "-o", "json", "--url", &server.url, "--key", "a-key"];
    let ended = temp.skein(&args).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(ended.stdout), String::from_utf8(ended.stderr));
    let (stdout, stderr) = (stdout.unwrap(), stderr.unwrap());
    assert!(ended.status.success() && stderr.contains("no live events"), "{stderr}");
    let events = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events: Vec<_> = events.map(|line| line["event"].clone()).collect();
    assert_eq!(events, ["run.started", "end", "run"], "{stdout}");
}
