//! The command line as a process: what it makes of its environment, and of Ctrl-C.

mod analysis;
mod dev;
mod doctor;
mod keys;
mod mistakes;
mod models;
mod planted;
mod server;
mod signoz;
mod skein;
mod spending;
mod traces;

use serde_json::{Value, json};

use server::{Answer, RUN, Server, run};
use skein::TestDirectory;

/// The exit code after Ctrl-C.
const INTERRUPTED: Option<i32> = Some(130);

fn answer(body: Value) -> Answer {
    Some((200, body))
}

/// A server that accepts the run, and does the rest as the case says.
fn accepting(mut answer_rest: impl FnMut(&str) -> Answer + Send + 'static) -> Server {
    Server::start(move |request| match request {
        "POST /v1/workflows" => answer(json!({ "name": "w", "version": 1 })),
        "POST /v1/workflows/w/runs" => answer(run("running")),
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

#[test]
fn an_interrupt_ends_the_command_while_there_is_no_run() {
    for hanging in ["POST /v1/workflows", "POST /v1/workflows/w/runs"] {
        let temp = TestDirectory::new(&format!("no_run_{}", hanging.len()));
        let server = Server::start(move |request| {
            (request != hanging).then(|| (200, json!({ "name": "w", "version": 1 })))
        });
        let command = temp.run(&server.url, &[]);
        while server.wait_for("POST") != hanging {}
        command.interrupt();
        let (code, stderr) = command.end();
        assert_eq!(code, INTERRUPTED, "{hanging}: {stderr}");
    }
}

#[test]
fn a_second_interrupt_leaves_a_run_whose_server_hangs() {
    for flags in [&[][..], &["--json"]] {
        let temp = TestDirectory::new(&format!("hanging_{}", flags.len()));
        let server = accepting(|_| None);
        let command = temp.run(&server.url, flags);
        server.wait_for("GET /v1/runs/");
        command.interrupt();
        server.wait_for(&format!("POST /v1/runs/{RUN}/cancel"));
        command.interrupt();
        let (code, stderr) = command.end();
        assert_eq!(code, INTERRUPTED, "{stderr}");
        assert!(stderr.contains(&format!("the run goes on: skein trace {RUN}")), "{stderr}");
    }
}

#[test]
fn a_cancellation_that_fails_for_a_moment_is_asked_for_again() {
    let temp = TestDirectory::new("moment");
    let (mut asked, mut state) = (0, "running");
    let server = accepting(move |request| {
        if request.ends_with("/cancel") {
            asked += 1;
            if asked == 1 {
                return Some((503, json!({})));
            }
            state = "cancelled";
        }
        if request.contains("/logs") { answer(json!({ "items": [] })) } else { answer(run(state)) }
    });
    let command = temp.run(&server.url, &[]);
    server.wait_for("GET /v1/runs/");
    command.interrupt();
    let (code, stderr) = command.end();
    assert_eq!(code, INTERRUPTED, "{stderr}");
    assert!(stderr.contains("trying again") && !stderr.contains("error"), "{stderr}");
}

#[test]
fn a_cancellation_that_is_refused_is_stderr_with_what_becomes_of_the_run() {
    let temp = TestDirectory::new("refused");
    let server = accepting(|request| {
        if request.ends_with("/cancel") { Some((403, json!({}))) } else { answer(run("running")) }
    });
    let command = temp.run(&server.url, &[]);
    server.wait_for("GET /v1/runs/");
    command.interrupt();
    let (code, stderr) = command.end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&format!("the run goes on: skein trace {RUN}")), "{stderr}");
}

#[test]
fn an_interrupt_ends_a_command_that_waits_for_the_result() {
    let temp = TestDirectory::new("result");
    let server =
        accepting(|request| if request.contains("/logs") { None } else { answer(run("failed")) });
    let command = temp.run(&server.url, &[]);
    server.wait_for(&format!("GET /v1/runs/{RUN}/logs"));
    command.interrupt();
    let (code, stderr) = command.end();
    assert_eq!(code, INTERRUPTED, "{stderr}");
}

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
    let args = ["run", "w.yaml", "--follow", "--json", "--url", &server.url, "--key", "a-key"];
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
        let shown = stderr.contains("line 1") && stderr.contains("line 2");
        assert_eq!((shown, stderr.contains("Once")), (!flags.is_empty(), false), "{stderr}");
        let asked = server.asked();
        let looks = asked.iter().filter(|asked| asked.ends_with("?values=false")).count();
        assert!(looks <= 4, "{asked:?}");
    }
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
    let args = ["logs", RUN, "-f", "--json", "--url", &server.url, "--key", "a-key"];
    let ended = temp.skein(&args).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(ended.stdout), String::from_utf8(ended.stderr));
    assert!(ended.status.success(), "{}", stderr.unwrap());
    assert_eq!(
        stdout.unwrap(),
        format!("{}\n{}\n", row(1, "run.started"), row(2, "run.succeeded"))
    );
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
    let args = ["run", "w.yaml", "--follow", "--json", "--url", &server.url, "--key", "a-key"];
    let ended = temp.skein(&args).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(ended.stdout), String::from_utf8(ended.stderr));
    let (stdout, stderr) = (stdout.unwrap(), stderr.unwrap());
    assert!(ended.status.success() && stderr.contains("no live events"), "{stderr}");
    let events = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events: Vec<_> = events.map(|line| line["event"].clone()).collect();
    assert_eq!(events, ["run.started", "end", "run"], "{stdout}");
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
    let args = [&["runs", "--json", "--status", "running", "--limit", "2"][..], &url].concat();
    let ended = temp.skein(&args).output().unwrap();
    let (listed, stderr) = (String::from_utf8(ended.stdout), String::from_utf8(ended.stderr));
    let (listed, stderr) = (listed.unwrap(), stderr.unwrap());
    assert_eq!(listed.lines().count(), 1, "{listed} {stderr}");
    assert!(listed.contains(RUN) && !stderr.contains("there are more"), "{listed} {stderr}");
}
