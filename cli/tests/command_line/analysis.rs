//! `skein analyze`, against a server that is real and one that is not.

use serde_json::{Value, json};

use super::server::{RUN, Server};
use super::skein::TestDirectory;
use super::{answer, dev};

/// What a server says of which nothing is known.
fn nothing() -> Value {
    json!({
        "from": "2030-01-30T12:00:00Z", "to": "2030-01-31T12:00:00Z", "workflow": "w",
        "coverage": { "examined": 0, "total_estimated": 0, "sampled": false, "limited_by": null },
        "runs": { "succeeded": 0, "failed": 0, "cancelled": 0, "timed_out": 0, "open": 0 },
    })
}

#[test]
fn runs_are_looked_back_at_as_the_server_knows_it() {
    let temp = TestDirectory::new("analysis");
    let server = Server::start(|request| {
        if request.contains("versions") {
            let mut some = nothing();
            some["runs"]["succeeded"] = json!(3);
            let spent =
                ["work", "queue", "backoff", "decision", "budget", "rate", "timer", "crash"];
            let spent = spent.map(|name| (format!("{name}_ms"), json!(10.0)));
            some["waiting"] = json!({ "items": [{ "workflow": "w", "runs": 3, "waiting_share": 0.875,
                "spent": Value::Object(spent.into_iter().collect()), "examples": [{ "run_id": RUN }] }], "others": 0 });
            return answer(some);
        }
        answer(nothing())
    });
    let url = ["--url", &*server.url, "--key", "a-key"];
    let skein = |args: &[&str]| {
        let ended = temp.skein(&[&["analyze"], args, &url].concat()).output();
        let ended = ended.expect("skein can be started");
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        (ended.status.code(), text(ended.stdout), text(ended.stderr))
    };
    let since = ["--since", "2030-01-30T12:00:00Z"];
    let (code, none, stderr) = skein(&[&since[..], &["--workflow", "w"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(none.starts_with("no runs of `w` were accepted from 2030-01-30T12:00:00Z"), "{none}");
    assert_eq!(server.asked(), ["GET /v1/analysis?from=2030-01-30T12%3A00%3A00Z&workflow=w"]);

    let versions = ["--workflow", "w", "--versions", "1,2", "--until", "2030-01-31T12:00:00Z"];
    let (_, shown, _) = skein(&[&since[..], &versions].concat());
    assert!(shown.contains("Working and waiting") && shown.contains(RUN), "{shown}");
    assert!(shown.is_ascii() && shown.contains("###-----"), "no terminal, plain signs: {shown}");
    let asked = "GET /v1/analysis?from=2030-01-30T12%3A00%3A00Z&to=2030-01-31T12%3A00%3A00Z&workflow=w&versions=1%2C2";
    assert_eq!(server.asked(), [asked]);
    let (_, json, _) = skein(&["-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), nothing());
    assert!(server.asked()[0].starts_with("GET /v1/analysis?from=2"));

    for refused in [&["--since", "yesterday"][..], &["--versions", "1,2"]] {
        let (code, _, stderr) = skein(refused);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("RFC 3339") || stderr.contains("--workflow"), "{stderr}");
    }
    assert_eq!(server.asked(), [] as [String; 0]);
}

#[test]
fn a_server_that_is_real_tells_of_its_runs() {
    let temp = TestDirectory::new("analysis_of_runs");
    let _running = dev::start(&temp);
    let skein = |args: &[&str]| {
        let ended = temp.skein(args).output().expect("skein can be started");
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        (text(ended.stdout), text(ended.stderr))
    };
    let (none, stderr) = skein(&["analyze"]);
    assert!(none.starts_with("no runs were accepted"), "{none}{stderr}");
    for _ in 0..3 {
        skein(&["run", "w.yaml"]);
    }
    let (shown, stderr) = skein(&["analyze", "--since", "1h"]);
    assert!(shown.starts_with("3 runs from ") && shown.contains("3 succeeded"), "{shown}{stderr}");
    assert!(shown.contains("`a` owns ") && shown.contains(" of the time of `w`: p95 "), "{shown}");
    let (listed, _) = skein(&["runs"]);
    let path = shown.lines().find(|line| line.starts_with("w/a ")).expect("it is drawn");
    let example = path.split_whitespace().last().expect("an example");
    assert!(listed.contains(example), "{example}: {listed}");
    assert!(shown.ends_with("look at a run: skein trace RUN\n"), "{shown}");
    let (traced, _) = skein(&["trace", example]);
    assert!(traced.contains("w v1 succeeded"), "{traced}");

    let (json, _) = skein(&["analyze", "--workflow", "w", "-o", "json"]);
    let found: Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(
        (&found["coverage"]["examined"], &found["runs"]["succeeded"]),
        (&json!(3), &json!(3))
    );
    for longest in
        [&["--since", "31d"] as &[&str], &["--since", "1h", "--until", "2026-01-31T12:00:00Z"]]
    {
        let (answer, refused) = skein(&[&["analyze"], longest].concat());
        assert!(!answer.is_empty(), "{longest:?}: {refused}");
    }
    let (_, refused) = skein(&["analyze", "--since", "40d"]);
    assert!(refused.contains("31 days"), "{refused}");
}
