//! Ctrl-C and SIGTERM: on a server that stays they end the watching, without one they end the run.

use std::io::Read;

use serde_json::{Value, json};

use super::server::{RUN, Server, run};
use super::skein::{Running, TestDirectory};
use super::{accepting, answer};

/// The exit code after an interrupt.
const INTERRUPTED: Option<i32> = Some(130);
/// A workflow that nobody waits for.
const SLEEPER: &str = "name: sleeper\nnodes:\n  - { id: wait, type: delay, params: { for: 1h } }\n";

#[test]
fn an_interrupt_ends_the_command_while_there_is_no_run() {
    for hanging in ["POST /v1/workflows?draft=true", "POST /v1/workflows/w/runs?version=1"] {
        let temp = TestDirectory::new(&format!("no_run_{}", hanging.len()));
        let server = Server::start(move |request| {
            let stored = json!({ "name": "w", "version": 1, "draft": false });
            (request != hanging).then_some((200, stored))
        });
        let command = temp.run(&server.url, &[]);
        while server.wait_for("POST") != hanging {}
        command.interrupt();
        let (code, stderr) = command.end();
        assert_eq!(code, INTERRUPTED, "{hanging}: {stderr}");
        if hanging.contains("/runs") {
            let list =
                format!("may have accepted the run: `skein runs --url {}` tells", server.url);
            assert!(stderr.contains(&list), "{stderr}");
        }
    }
}

#[test]
fn an_interrupted_publish_says_what_is_not_known() {
    const HANGING: &str = "POST /v1/workflows";
    for signal in ["INT", "TERM"] {
        let temp = TestDirectory::new(&format!("publish_{signal}"));
        let server = Server::start(|request| {
            (request != HANGING).then(|| (200, json!({ "name": "w", "version": 1 })))
        });
        let args = ["publish", "w.yaml", "--url", &server.url, "--key", "a-key"];
        let command = temp.begin(&args);
        while server.wait_for("POST") != HANGING {}
        command.signal(signal);
        let (code, stderr) = command.end();
        assert_eq!(code, INTERRUPTED, "{stderr}");
        let list =
            format!("the server may have taken w.yaml: `skein workflows --url {}`", server.url);
        assert!(stderr.contains(&list), "{stderr}");
    }
}

#[test]
fn an_interrupt_leaves_a_run_on_a_server_that_stays() {
    for (signal, flags) in [("INT", &[][..]), ("TERM", &[]), ("INT", &["-o", "json"])] {
        let temp = TestDirectory::new(&format!("detached_{signal}_{}", flags.len()));
        let server = accepting(|_| None);
        let command = temp.run(&server.url, flags);
        server.wait_for("GET /v1/runs/");
        command.signal(signal);
        let (code, stderr) = command.end();
        assert_eq!(code, INTERRUPTED, "{stderr}");
        let url = &server.url;
        for command in [
            format!("skein show {RUN} --follow --url {url}"),
            format!("skein cancel {RUN} --url {url}"),
        ] {
            assert!(stderr.contains(&command), "{command}: {stderr}");
        }
        assert!(!stderr.contains("a-key"), "{stderr}");
        let asked = server.asked();
        assert!(!asked.iter().any(|asked| asked.ends_with("/cancel")), "{asked:?}");
    }
}

#[test]
fn a_program_learns_which_run_it_was_that_was_left() {
    for flags in [&["-q"][..], &["-o", "json"]] {
        let temp = TestDirectory::new(&format!("left_{}", flags.len()));
        let server = accepting(|_| None);
        let args = ["run", "w.yaml", "--url", &server.url, "--key", "a-key"];
        let spawned = temp.skein(&[&args[..], flags].concat()).spawn();
        let mut child = spawned.expect("skein can be started");
        let mut stdout = child.stdout.take().expect("it is piped");
        let command = Running::of(child);
        server.wait_for("GET /v1/runs/");
        command.interrupt();
        let (code, stderr) = command.end();
        assert_eq!(code, INTERRUPTED, "{stderr}");
        let mut told = String::new();
        stdout.read_to_string(&mut told).unwrap();
        if flags == ["-q"] {
            assert_eq!((told, stderr), (format!("{RUN}\n"), String::new()));
        } else {
            let told: Value = serde_json::from_str(&told).unwrap();
            assert_eq!(told["id"], RUN, "{told}");
        }
    }
}

#[test]
fn a_run_that_is_lost_sight_of_is_told_of_with_what_can_be_done() {
    let temp = TestDirectory::new("lost");
    let server = accepting(|_| Some((403, json!({ "title": "x", "status": 403 }))));
    let (code, stderr) = temp.run(&server.url, &[]).end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&format!("skein show {RUN} --follow")), "{stderr}");
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
    let ended = format!("run {RUN} has ended: `skein show {RUN} --url {}`", server.url);
    assert!(stderr.contains(&ended), "{stderr}");
}

#[test]
fn an_interrupt_of_a_log_that_is_followed_is_no_success() {
    let temp = TestDirectory::new("log");
    let server = Server::start(|request| {
        if request.contains("/logs") { answer(json!({ "items": [] })) } else { None }
    });
    let args = ["logs", RUN, "--follow", "--url", &server.url, "--key", "a-key"];
    let command = temp.begin(&args);
    server.wait_for(&format!("GET /v1/runs/{RUN}?"));
    command.interrupt();
    let (code, stderr) = command.end();
    assert_eq!((code, &*stderr), (INTERRUPTED, ""));
}

/// Starts `skein run` of a workflow that sleeps, without a server, and waits until it is under way; the run's id.
fn asleep(temp: &TestDirectory) -> (Running, String) {
    temp.write("sleeper.yaml", SLEEPER);
    let mut command = temp.begin(&["run", "sleeper.yaml"]);
    let title = command.says(" at http://");
    let id = title.split_whitespace().nth(1).expect("an id").to_owned();
    command.says("waiting");
    (command, id)
}

#[test]
fn without_a_server_an_interrupt_cancels_the_run() {
    for signal in ["INT", "TERM"] {
        let temp = TestDirectory::new(&format!("embedded_{signal}"));
        let (command, id) = asleep(&temp);
        command.signal(signal);
        let (code, stderr) = command.end();
        assert_eq!(code, INTERRUPTED, "{stderr}");
        assert!(stderr.contains("cancelling"), "{stderr}");
        let shown = temp.call(&["show", &id]);
        assert!(shown.stdout.contains("sleeper v1 cancelled"), "{shown:?}");
    }
}
