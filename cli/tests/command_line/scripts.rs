//! What scripts rely on: forms of output, errors, exit codes, colours, completions.

use std::process::Command;

use serde_json::{Value, json};

use super::server::{RUN, Server, run};
use super::skein::TestDirectory;
use super::{accepting, answer};

fn object(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "one object: {text}");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn an_error_is_an_object_where_the_output_is_one() {
    let temp = TestDirectory::new("json_errors");
    let server = Server::start(|_| {
        let r#type = "urn:skein:problem:run-not-found";
        Some((
            404,
            json!({ "type": r#type, "title": "There is no such run", "status": 404, "detail": "x", "trace_id": "07" }),
        ))
    });
    let refused = temp.call_on(&server.url, &["show", RUN, "-o", "json"]);
    assert_eq!((refused.code, &*refused.stdout), (Some(1), ""));
    let expected = json!({ "error": "There is no such run: x", "code": "run-not-found", "status": 404, "trace_id": "07" });
    assert_eq!(object(&refused.stderr), expected);

    // Nobody listens there.
    let away = temp.call(&["runs", "--url", "http://127.0.0.1:9", "--key", "a-key", "-o", "json"]);
    assert_eq!((away.code, object(&away.stderr)["code"].clone()), (Some(1), json!("unreachable")));
    let away = temp.call(&["runs", "--url", "http://127.0.0.1:9", "--key", "a-key"]);
    assert!(away.stderr.contains("http://127.0.0.1:9 cannot be reached"), "{}", away.stderr);

    for args in [
        &["runs", "--limit", "none", "-o", "json"][..],
        &["runs", "-o", "json", "--no-such-flag"],
        &["nonsense", "--output=json"],
        &["show", "0123", "-o", "json"],
        &["runs", "-o", "json"],
    ] {
        let wrong = temp.call(args);
        assert_eq!((wrong.code, &*wrong.stdout), (Some(2), ""), "{args:?}: {}", wrong.stderr);
        let error = object(&wrong.stderr);
        assert_eq!(error["code"], "usage", "{args:?}");
        assert!(error["error"].as_str().is_some_and(|text| !text.contains("Usage:")), "{error}");
    }
    let yaml = temp.call(&["runs", "-o", "yaml"]);
    assert!(yaml.stderr.contains("code: usage"), "{}", yaml.stderr);
}

#[test]
fn the_flag_that_there_was_is_gone() {
    let temp = TestDirectory::new("json_flag");
    for command in ["runs", "costs", "analyze", "budget", "doctor"] {
        assert_eq!(temp.call(&[command, "--json"]).code, Some(2), "{command}");
    }
}

#[test]
fn a_listing_is_lines_of_json_or_one_sequence_of_yaml() {
    let temp = TestDirectory::new("forms");
    let server = Server::start(|_| {
        answer(json!({ "items": [run("failed"), run("queued")], "next_cursor": null }))
    });
    let json = temp.call_on(&server.url, &["runs", "-o", "json"]);
    let rows: Vec<Value> =
        json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, [run("failed"), run("queued")]);
    let yaml = temp.call_on(&server.url, &["runs", "-o", "yaml"]);
    assert_eq!(yaml.stdout.matches(&format!("- id: {RUN}")).count(), 2, "{}", yaml.stdout);
    assert_eq!(temp.call_on(&server.url, &["runs", "-q"]).stdout, format!("{RUN}\n{RUN}\n"));
}

#[test]
fn a_listing_of_nothing_is_one_of_nothing() {
    let temp = TestDirectory::new("empty_forms");
    let server = Server::start(|_| answer(json!({ "items": [], "next_cursor": null })));
    for args in [&["runs"][..], &["costs"], &["workflows"], &["steps", RUN], &["logs", RUN]] {
        let yaml = temp.call_on(&server.url, &[args, &["-o", "yaml"]].concat());
        assert_eq!((yaml.code, &*yaml.stdout), (Some(0), "[]\n"), "{args:?}: {}", yaml.stderr);
        // No line, no object.
        let json = temp.call_on(&server.url, &[args, &["-o", "json"]].concat());
        assert_eq!((json.code, &*json.stdout), (Some(0), ""), "{args:?}: {}", json.stderr);
    }
}

#[test]
fn a_usage_names_what_is_to_be_typed() {
    let temp = TestDirectory::new("usage");
    let mut command = temp.skein(&["show"]);
    let set = [("SKEIN_URL", "http://127.0.0.1:9"), ("SKEIN_KEY", "a-key"), ("SKEIN_DATA", "d")];
    let ended = command.envs(set).output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("Usage: skein show <RUN>\n"), "{stderr}");
    let called = temp.call(&["start", "w", "--amount", "5"]);
    assert!(called.stderr.contains("tip: an input is given as `-i amount=VALUE`"), "{called:?}");
}

#[test]
fn quiet_leaves_errors_and_nothing_else_on_standard_error() {
    let temp = TestDirectory::new("quiet");
    let server = accepting(|request| {
        if request.contains("/logs") {
            answer(json!({ "items": [] }))
        } else {
            answer(run("failed"))
        }
    });
    let called = temp.call_on(&server.url, &["run", "w.yaml", "-q"]);
    assert_eq!((called.code, &*called.stderr), (Some(3), ""));
    assert_eq!(called.stdout, format!("{RUN}\n"));
    let wrong = temp.call(&["show", "last", "-q"]);
    assert!(wrong.stderr.contains("there is no server"), "{}", wrong.stderr);
}

#[test]
fn colours_are_for_terminals_unless_they_are_asked_for() {
    let temp = TestDirectory::new("colours");
    let server = accepting(|request| {
        if request.contains("/logs") {
            answer(json!({ "items": [] }))
        } else {
            answer(run("succeeded"))
        }
    });
    let run = |flags: &[&str]| temp.call_on(&server.url, &[&["run", "w.yaml"], flags].concat());
    for flags in [&[][..], &["--color", "never"], &["--color", "auto"]] {
        let called = run(flags);
        assert!(!called.stdout.contains('\x1b') && !called.stderr.contains('\x1b'), "{called:?}");
    }
    let called = run(&["--color", "always"]);
    assert!(called.stdout.contains("\x1b["), "{called:?}");
    // No picture that is drawn over: a file is no terminal.
    assert!(!called.stderr.contains("\x1b[J"), "{called:?}");
    let help = |flags: &[&str]| temp.call(&[&["help"], flags].concat()).stdout.contains('\x1b');
    assert!(!help(&[]));
    assert_eq!(temp.call(&["runs", "--color", "sometimes"]).code, Some(2));
}

#[test]
fn a_shell_takes_its_completions() {
    let temp = TestDirectory::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        let called = temp.call(&["completions", shell]);
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        for word in ["publish", "workflows", "idempotency-key"] {
            assert!(called.stdout.contains(word), "{shell}: {word}");
        }
        assert!(!called.stdout.contains("help-page"), "{shell} shows what is hidden");
    }
    let script = temp.call(&["completions", "bash"]).stdout;
    temp.write("skein.bash", &script);
    let complete = "source skein.bash; COMP_WORDS=(skein pub); COMP_CWORD=1; _skein skein pub skein; echo ${COMPREPLY[@]}";
    if let Ok(ended) =
        Command::new("bash").arg("-c").arg(complete).current_dir(temp.path()).output()
    {
        assert_eq!(String::from_utf8_lossy(&ended.stdout), "publish\n", "{ended:?}");
    }
    assert_eq!(temp.call(&["completions", "tcsh"]).code, Some(2));
    assert_eq!(temp.call(&["completions", "bash", "-o", "json"]).code, Some(2));
}

#[test]
fn a_wrong_key_is_told_of_and_not_shown() {
    let temp = TestDirectory::new("wrong_key");
    let (_dev, banner) = super::dev::start(&temp);
    let (_, url) = banner.split_once("http://").unwrap();
    let url = format!("http://{}", url.split_whitespace().next().unwrap());
    for command in [&["workflows"][..], &["start", "w"], &["publish", "w.yaml"], &["show", "last"]]
    {
        let key = ["--url", &*url, "--key", "not-the-right-key", "-o", "json"];
        let called = temp.call(&[command, &key].concat());
        assert_eq!(called.code, Some(1), "{command:?}: {}", called.stderr);
        let error = object(&called.stderr);
        assert_eq!((&error["code"], &error["status"]), (&json!("unauthenticated"), &json!(401)));
        assert!(!called.stderr.contains("not-the-right-key"), "{}", called.stderr);
    }
}
