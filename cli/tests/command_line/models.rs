//! The examples that ask models, answered by the script beside them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use serde_json::json;

use super::server::{self, PATIENCE, RUN, Server};
use super::skein::TestDirectory;
use super::{answer, dev};

/// A file of the examples.
fn example(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/models");
    folder.join(name).to_str().expect("text").to_owned()
}

#[test]
fn examples_that_ask_a_model_run_without_an_account() {
    let temp = TestDirectory::new("models");
    for (document, shows) in
        [("summarise.yaml", "Two birds stayed"), ("extract.yaml", "Oak & Ash Ltd")]
    {
        let args = ["run", &example(document), "--mock-models", &example("replies.yaml")];
        let ended = temp.skein(&args).output().expect("skein can be started");
        let (shown, stderr) =
            (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(0), "{document}: {shown}{stderr}");
        assert!(shown.contains(shows), "{document}: {shown}");
        // Nobody takes it for an answer of the model.
        assert!(shown.contains("provider=mock") && shown.contains("cost_usd="), "{shown}");
        // What it came to stands in the headline, and in the trace with the call.
        let spent = shown.lines().find(|line| line.starts_with("  spent  1 call, "));
        let spent = spent.unwrap_or_else(|| panic!("{document}: {shown}"));
        assert!(spent.contains(" tokens in, ") && spent.contains(" out, $0.0000"), "{spent}");
        let (_, trace) = shown.split_once("\nTrace\n").expect("there is a trace");
        let call = trace.lines().find(|line| line.contains("└ model gpt-4o-mini"));
        let call = call.unwrap_or_else(|| panic!("{document}: {trace}"));
        assert!(
            call.contains('█') && call.contains(" in ") && call.contains(" out  $0.0000"),
            "{call}"
        );
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
}

#[test]
fn a_run_that_asks_no_model_says_nothing_of_costs() {
    let temp = TestDirectory::new("no_models");
    let ended = temp.skein(&["run", "w.yaml"]).output().expect("skein can be started");
    let shown = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && !shown.contains("spent"), "{shown}");
    let trace = temp.skein(&["trace", "last"]).output().expect("skein can be started");
    let trace = String::from_utf8_lossy(&trace.stdout);
    assert!(!trace.contains('$') && trace.contains("transform a"), "{trace}");
    assert!(!trace.contains("calls"), "{trace}");
}

/// The words of the command that is shown behind `start`, as `sh` reads them.
fn words_of_command(shown: &str, start: &str) -> Option<Vec<String>> {
    let command = shown.lines().find(|line| line.trim_start().starts_with(start))?;
    let script = format!("skein() {{ printf '%s\\0' \"$@\"; }}\n{command}");
    let ended = Command::new("sh").arg("-c").arg(script).output().expect("there is a shell");
    let words = String::from_utf8(ended.stdout).expect("it is text");
    Some(words.split_terminator('\0').map(str::to_owned).collect())
}

#[test]
fn an_agent_waits_for_a_decision_that_a_person_takes() {
    let temp = TestDirectory::new("decision");
    let (_dev, _) = dev::start_with(&temp, &["--mock-models", &example("replies.yaml")]);
    let mut run =
        temp.skein(&["run", &example("research.yaml")]).spawn().expect("it can be started");
    // It says what it waits for, and what decides that.
    let stderr = run.stderr.take().expect("it is piped");
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || BufReader::new(stderr).lines().try_for_each(|line| sender.send(line)));
    let mut said = String::new();
    while words_of_command(&said, "skein decide").is_none() {
        let line =
            lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it never asked: {said}"));
        said = format!("{said}{}\n", line.expect("it is text"));
    }
    assert!(
        said.contains("research waits for a decision about write_down({\"text\":\"It starts"),
        "{said}"
    );
    let command = words_of_command(&said, "skein decide").unwrap_or_else(|| panic!("{said}"));
    // So does the trace, and the list of steps.
    for looks in ["trace", "steps"] {
        let looked = temp.skein(&[looks, "last"]).output().unwrap();
        let looked = String::from_utf8_lossy(&looked.stdout).into_owned();
        assert_eq!(words_of_command(&looked, "skein decide"), Some(command.clone()), "{looked}");
        assert!(looked.contains("write_down") && looked.contains("pending"), "{looked}");
    }
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let decided = temp.skein(&words).output().unwrap();
    assert!(decided.status.success(), "{}", String::from_utf8_lossy(&decided.stderr));
    let ended = run.wait_with_output().expect("it can be waited for");
    let shown = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{shown}");
    assert!(shown.contains("It starts runs and shows what they did and cost."), "{shown}");
    assert!(shown.contains("\"stopped_by\": \"answer\""), "{shown}");
    let steps = temp.skein(&["steps", "last"]).output().unwrap();
    let steps = String::from_utf8_lossy(&steps.stdout).into_owned();
    assert!(steps.contains("write_down") && steps.contains("gpt-4o-mini"), "{steps}");
    assert!(!steps.contains("skein decide"), "{steps}");
    // The calls hang below the attempts that made them: the tool is called by the one that follows the decision.
    let (_, trace) = shown.split_once("\nTrace\n").expect("there is a trace");
    let names = trace.lines().filter_map(|line| {
        let (_, name) = line.split_once("├ ").or_else(|| line.split_once("└ "))?;
        let words: Vec<_> = name.split_whitespace().take(2).collect();
        Some(words.join(" "))
    });
    let names: Vec<_> = names.collect();
    let calls = ["model gpt-4o-mini", "tool describe", "model gpt-4o-mini"];
    let expected =
        [&["agent research"], &calls[..], &["agent research"], &["tool write_down", calls[2]]]
            .concat();
    assert_eq!(names[1..], expected, "{trace}");
    let headline = shown.lines().find(|line| line.starts_with("  spent  "));
    assert_eq!(headline, Some("  spent  3 calls, 18,220 tokens in, 54 out, $0.0027654"), "{shown}");
}

#[test]
fn a_trace_is_shown_though_its_calls_cannot_be_read() {
    let temp = TestDirectory::new("unread_calls");
    for (status, problem, said) in [
        (404_u16, "urn:skein:problem:no-such-route", None),
        (403, "urn:skein:problem:forbidden", Some("the calls of its nodes are not shown: No")),
        (500, "urn:skein:problem:internal", Some("the calls of its nodes are not shown: No")),
        // Something that is no list of steps.
        (200, "x", Some("does not answer like Skein")),
    ] {
        let server = Server::start(move |request| {
            if request.contains("/steps") {
                return Some((status, json!({ "type": problem, "title": "No", "status": status })));
            }
            answer(server::run("failed"))
        });
        let args = ["trace", RUN, "--url", &server.url, "--key", "a-key"];
        let ended = temp.skein(&args).output().expect("skein can be started");
        let shown = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && shown.contains("workflow.execute"), "{status}: {shown}");
        match said {
            Some(said) => assert!(shown.contains(said), "{status}: {shown}"),
            None => assert!(!shown.contains("calls"), "{shown}"),
        }
        // The run, what it plans, and once its steps.
        assert_eq!(server.asked().len(), 3, "{status}");
    }
}

#[test]
fn nobody_is_asked_for_the_calls_of_a_run_that_has_none() {
    let temp = TestDirectory::new("no_calls");
    let server = Server::start(|_| {
        let mut run = server::run("succeeded");
        run["steps"] = json!(0);
        answer(run)
    });
    let args = ["trace", RUN, "--url", &server.url, "--key", "a-key"];
    let ended = temp.skein(&args).output().expect("skein can be started");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let asked = server.asked();
    assert!(!asked.iter().any(|asked| asked.contains("/steps")), "{asked:?}");
}

#[test]
fn of_very_many_calls_a_trace_reads_the_first() {
    let temp = TestDirectory::new("many_calls");
    let server = Server::start(|request| {
        let Some((_, query)) = request.split_once("/steps") else {
            let mut run = server::run("failed");
            run["steps"] = json!(5_000);
            return answer(run);
        };
        let first: u32 = query.strip_prefix("?cursor=").map_or(0, |cursor| cursor.parse().unwrap());
        let step = |index| {
            json!({ "node": "a", "scope": "", "index": index, "attempt": 1, "kind": "tool", "name": "t",
                "status": "succeeded", "usage": null, "cost_usd": null, "latency_ms": 7, "error": null,
                "span_id": "dd", "started_at": "2030-01-31T12:00:00Z" })
        };
        let items: Vec<_> = (first + 1..=first + 20).map(step).collect();
        answer(json!({ "items": items, "next_cursor": (first + 20).to_string() }))
    });
    let args = ["trace", RUN, "--url", &server.url, "--key", "a-key"];
    let ended = temp.skein(&args).output().expect("skein can be started");
    let shown = String::from_utf8_lossy(&ended.stdout);
    let note = "… the first 200 calls are shown, of some 5,000: skein steps ";
    assert!(shown.contains(note), "{shown}{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(server.asked().iter().filter(|asked| asked.contains("/steps")).count(), 10);
}
