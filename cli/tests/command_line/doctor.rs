//! `skein doctor` without anything to look at, or called wrong; what it finds is in the suite from end to end.

use std::process::Output;

use serde_json::{Value, json};

use super::answer;
use super::server::Server;
use super::skein::TestDirectory;

/// What is not to be seen anywhere.
const SECRET: &str = "s3cret-w0rd";

fn doctor(temp: &TestDirectory, flags: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = temp.skein(&[&["doctor"], flags].concat());
    command.envs(environment.iter().copied());
    let ended = command.output().expect("skein starts");
    for bytes in [&ended.stdout, &ended.stderr] {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains(SECRET), "{text}");
    }
    ended
}

fn stdout(ended: &Output) -> String {
    String::from_utf8(ended.stdout.clone()).expect("it is text")
}

/// The only failing check of a report: its group, its name, what it says and what to do.
fn failed(ended: &Output) -> [String; 4] {
    assert_eq!(ended.status.code(), Some(1), "{}", stdout(ended));
    let report: Value = serde_json::from_str(&stdout(ended)).expect("it is JSON");
    let checks = report["checks"].as_array().expect("a list");
    let failed: Vec<_> = checks.iter().filter(|check| check["outcome"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{report:#}");
    ["group", "name", "what", "remedy"].map(|it| failed[0][it].as_str().unwrap_or("").to_owned())
}

#[test]
fn where_nothing_is_set_up_nothing_is_wrong() {
    let temp = TestDirectory::new("doctor_nothing");
    let ended = doctor(&temp, &[], &[]);
    let shown = stdout(&ended);
    assert_eq!(ended.status.code(), Some(0), "{shown}");
    for heading in ["otlp\n", "broker\n", "database\n", "api\n"] {
        assert!(shown.contains(heading), "{shown}");
    }
    assert!(shown.contains("→ set OTEL_EXPORTER_OTLP_ENDPOINT"), "{shown}");
    assert!(shown.ends_with("0 ok, 0 warnings, 0 failed, 4 skipped\n"), "{shown}");
    assert!(!temp.path().join(".skein").exists());
}

#[test]
fn a_group_that_there_is_not_is_refused() {
    let temp = TestDirectory::new("doctor_usage");
    let ended = doctor(&temp, &["--only", "otlp,kitchen"], &[]);
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("kitchen") && said.contains("database"), "{said}");
}

#[test]
fn only_what_is_asked_for_is_looked_at() {
    let temp = TestDirectory::new("doctor_only");
    let ended = doctor(&temp, &["--only", "broker,otlp"], &[("OTEL_ENABLED", "false")]);
    let shown = stdout(&ended);
    assert_eq!(ended.status.code(), Some(0), "{shown}");
    assert!(!shown.contains("database\n") && !shown.contains("api\n"), "{shown}");
    assert!(shown.contains("telemetry is off: OTEL_ENABLED is false"), "{shown}");
}

#[test]
fn settings_that_no_program_starts_with_are_failures() {
    let temp = TestDirectory::new("doctor_settings");
    let grpc = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let [group, name, what, _] = failed(&doctor(&temp, &["-o", "json"], &grpc));
    assert_eq!((&*group, &*name), ("otlp", "settings"));
    assert!(what.contains("4318"), "{what}");

    for (variable, value, group) in [
        ("DATABASE_URL", "mysql://me:s3cret-w0rd@db/x", "database"),
        ("AMQP_URL", "http://me:s3cret-w0rd@mq/", "broker"),
        ("AMQP_URL", "amqp://me:s3cret-w0rd@mq:port/", "broker"),
        ("SKEIN_URL", "http://me:s3cret-w0rd@api", "api"),
    ] {
        let [found, name, ..] = failed(&doctor(&temp, &["-o", "json"], &[(variable, value)]));
        assert_eq!((&*found, &*name), (group, "settings"), "{variable}");
    }
}

#[test]
fn a_variable_that_nobody_reads_is_a_warning() {
    let temp = TestDirectory::new("doctor_variables");
    let ended = doctor(&temp, &[], &[("OTEL_EXPORTER_OLTP_ENDPOINT", SECRET)]);
    let shown = stdout(&ended);
    assert_eq!(ended.status.code(), Some(0), "{shown}");
    assert!(shown.contains("! variables"), "{shown}");
    assert!(shown.contains("OTEL_EXPORTER_OLTP_ENDPOINT is set, and nothing reads it"), "{shown}");
}

/// Whoever asks about a server from elsewhere is not told of a process that there is not, and hears of workers from it.
#[test]
fn what_belongs_to_a_server_elsewhere_is_said_not_to_have_been_looked_at() {
    let temp = TestDirectory::new("doctor_elsewhere");
    let server = Server::start(|request| match request {
        "GET /readyz" => answer(json!({})),
        "GET /openapi.json" => answer(json!({ "info": { "version": env!("CARGO_PKG_VERSION") } })),
        "GET /v1/workers?limit=500" => {
            answer(json!({ "items": [{ "status": "stopped" }], "next_cursor": null }))
        }
        "GET /v1/runs?limit=1" | "GET /v1/keys?limit=1" => answer(json!({ "items": [] })),
        other => panic!("{other}"),
    });
    let ended = doctor(&temp, &[], &[("SKEIN_URL", &*server.url), ("SKEIN_KEY", SECRET)]);
    let shown = stdout(&ended);
    assert_eq!(ended.status.code(), Some(0), "{shown}");
    for (variable, what) in [("AMQP_URL", "broker"), ("DATABASE_URL", "database")] {
        let told = format!("{variable} is not set: the {what} of {} was not looked at", server.url);
        assert!(shown.contains(&told), "{shown}");
    }
    assert!(shown.contains("! workers") && shown.contains("start skein-worker"), "{shown}");
    assert!(!shown.contains("within the process") && !shown.contains("skein dev"), "{shown}");
}

#[test]
fn a_server_that_never_answers_does_not_hold_it_up() {
    let temp = TestDirectory::new("doctor_hanging");
    let server = Server::start(|_| None);
    let environment = [("SKEIN_URL", &*server.url), ("OTEL_EXPORTER_OTLP_ENDPOINT", &*server.url)];
    let ended = doctor(&temp, &["-o", "json", "--only", "api"], &environment);
    let [group, name, what, _] = failed(&ended);
    assert_eq!((&*group, &*name), ("api", "connection"));
    assert!(what.contains("timed out"), "{what}");
    let [group, name, ..] = failed(&doctor(&temp, &["-o", "json", "--only", "otlp"], &environment));
    assert_eq!((&*group, &*name), ("otlp", "connection"));
}
