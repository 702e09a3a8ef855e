//! The command line as a process: what it makes of its environment, and of Ctrl-C.

mod dev;
mod keys;
mod planted;
mod server;
mod skein;

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
