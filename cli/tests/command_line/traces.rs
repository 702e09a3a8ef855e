//! `skein traces export` against a server and a collector that answer as a test wants it.

use std::fs;
use std::process::Output;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::server::{Answer, RUN, Request, Server};
use super::skein::TestDirectory;

const KEY: &str = "a-key-of-the-collector";
const OTHER: &str = "019c0000-0000-7000-8000-000000000002";
/// The exit code when a part was done.
const HALFWAY: Option<i32> = Some(4);

fn span(id: &str, start: &str) -> Value {
    json!({ "spanId": id, "name": "work", "startTimeUnixNano": start })
}

fn page(spans: &[Value], next_cursor: Option<&str>) -> Value {
    let entry = json!({ "resource": {}, "scopeSpans": [{ "scope": {}, "spans": spans }] });
    json!({ "resourceSpans": [entry], "next_cursor": next_cursor })
}

/// Long after any test: nothing is too old.
const RECENT: &str = "4102444800000000000";

/// A server with two runs: one has two pages of spans, the other one a span that is very old.
fn api() -> Server {
    Server::start(|request| {
        let answer = match request.split_once("/v1/runs").map_or("", |(_, rest)| rest) {
            rest if rest == format!("/{RUN}/spans") => {
                page(&[span("a1", RECENT), span("a2", RECENT)], Some("more"))
            }
            rest if rest == format!("/{RUN}/spans?cursor=more") => {
                page(&[span("a3", RECENT)], None)
            }
            rest if rest == format!("/{OTHER}/spans") => page(&[span("b1", "1")], None),
            rest if rest.starts_with('?') && rest.contains("status=failed") => {
                json!({ "items": [listed(RUN)], "next_cursor": null })
            }
            rest if rest.starts_with('?') && rest.contains("cursor=second") => {
                json!({ "items": [listed(OTHER)], "next_cursor": null })
            }
            rest if rest.starts_with('?') => json!({ "items": [], "next_cursor": "second" }),
            _ => {
                let detail = "there is no such run";
                let problem = json!({ "type": "urn:skein:problem:run-not-found", "title": detail, "status": 404, "detail": detail });
                return Some((404, problem));
            }
        };
        Some((200, answer))
    })
}

fn listed(id: &str) -> Value {
    json!({
        "id": id, "workflow": "w", "version": 1, "status": "failed", "error": null,
        "created_at": "2030-01-31T12:00:00Z", "started_at": null, "finished_at": null,
    })
}

type Seen = Arc<Mutex<Vec<Value>>>;

/// A collector that answers its requests with these, one after the other, and the last one for ever. It keeps what it was
/// sent with a good key.
fn collector(answers: Vec<(u16, Value)>) -> (Server, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let mut answers = answers.into_iter().peekable();
    let server = Server::seeing_all(move |request: &Request| -> Answer {
        assert_eq!(request.line, "POST /v1/traces");
        assert_eq!(request.header("content-type"), "application/json");
        if request.header("signoz-ingestion-key") != KEY {
            return Some((401, json!({ "code": 16, "message": "no such key" })));
        }
        let body = serde_json::from_slice(&request.body).expect("it is JSON");
        kept.lock().expect("nobody panics").push(body);
        let answer = answers.peek().cloned().expect("there is one");
        if answers.len() > 1 {
            answers.next();
        }
        Some(answer)
    });
    (server, seen)
}

fn ids(bodies: &[Value]) -> Vec<String> {
    let entries = bodies.iter().flat_map(|body| body["resourceSpans"].as_array().expect("a list"));
    let spans = entries.flat_map(|it| it["scopeSpans"][0]["spans"].as_array().expect("a list"));
    spans.map(|span| span["spanId"].as_str().expect("an id").to_owned()).collect()
}

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert!(!stdout.contains(KEY) && !stderr.contains(KEY), "{stderr}");
        Self { code: output.status.code(), stdout, stderr }
    }
}

/// `skein traces export` with these words, from this server.
fn export(temp: &TestDirectory, api: &Server, words: &[&str], variables: &[(&str, &str)]) -> Ended {
    let fixed = ["traces", "export", "--url", &*api.url, "--key", "a-key"];
    let mut command = temp.skein(&[&fixed, words].concat());
    command.envs(variables.iter().copied());
    command.output().expect("skein starts").into()
}

#[test]
fn the_spans_of_runs_are_sent_where_the_variables_say() {
    let temp = TestDirectory::new("traces_export");
    let (api, (collector, seen)) = (api(), collector(vec![(200, json!({}))]));
    let headers = format!("signoz-ingestion-key={KEY}");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url),
        ("OTEL_EXPORTER_OTLP_HEADERS", &*headers),
    ];
    let ended = export(&temp, &api, &["--run", RUN, "--run", OTHER], &variables);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let seen = seen.lock().unwrap();
    assert_eq!((seen.len(), ids(&seen)), (1, ["a1", "a2", "a3", "b1"].map(str::to_owned).into()));
    assert_eq!(seen[0].as_object().unwrap().len(), 1, "a cursor is nobody's business");
    let to = format!("sent 4 spans of 2 runs to {}/v1/traces\n", collector.url);
    assert!(ended.stderr.contains(&to), "{}", ended.stderr);
    assert!(ended.stderr.contains("1 of them is older than 15 days"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[test]
fn runs_that_have_failed_are_found_by_when_they_ended() {
    let temp = TestDirectory::new("traces_failed");
    let (api, (collector, seen)) = (api(), collector(vec![(200, json!({}))]));
    let header = format!("signoz-ingestion-key={KEY}");
    let words = ["--failed", "--since", "2030-01-31T12:00:00Z", "--until", "2030-01-31T13:00:00Z"];
    let to = ["--to", &*collector.url, "--header", &*header];
    let ended = export(&temp, &api, &[&words[..], &to[..]].concat(), &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ids(&seen.lock().unwrap()).len(), 4, "an empty page is not the last one");
    let asked = api.asked();
    for status in ["failed", "timed_out"] {
        let listing = asked.iter().find(|line| line.contains(&format!("status={status}"))).unwrap();
        for part in [
            "created_after=2030-01-16T12%3A00%3A00Z",
            "ended_after=2030-01-31T12%3A00%3A00Z",
            "ended_before=2030-01-31T13%3A00%3A00Z",
        ] {
            assert!(listing.contains(part), "{listing}");
        }
    }
}

#[test]
fn a_collector_that_is_away_for_a_moment_is_asked_again() {
    let temp = TestDirectory::new("traces_again");
    let (api, (collector, seen)) = (api(), collector(vec![(503, json!({})), (200, json!({}))]));
    let header = format!("signoz-ingestion-key={KEY}");
    let words = ["--run", OTHER, "--to", &*collector.url, "--header", &*header];
    let ended = export(&temp, &api, &words, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ids(&seen.lock().unwrap()), ["b1", "b1"]);
}

#[test]
fn what_a_collector_throws_away_is_told_and_is_no_success() {
    let temp = TestDirectory::new("traces_partial");
    let partial = json!({ "partialSuccess": { "rejectedSpans": "1", "errorMessage": "too old" } });
    let (api, (collector, _)) = (api(), collector(vec![(200, partial)]));
    let header = format!("signoz-ingestion-key={KEY}");
    let words = ["--run", OTHER, "--to", &*collector.url, "--header", &*header];
    let ended = export(&temp, &api, &words, &[]);
    assert_eq!(ended.code, HALFWAY, "{}", ended.stderr);
    assert!(ended.stderr.contains("thrown 1 of them away: too old"), "{}", ended.stderr);
}

#[test]
fn a_refusal_says_what_would_be_right() {
    let temp = TestDirectory::new("traces_refused");
    let (api, (collector, seen)) = (api(), collector(vec![(200, json!({}))]));
    let ended = export(&temp, &api, &["--run", RUN, "--to", &*collector.url], &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for part in ["answers 401: no such key", "OTEL_EXPORTER_OTLP_HEADERS", "signoz-ingestion-key"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    assert!(seen.lock().unwrap().is_empty());
    // The run that is not there is found out before anything is sent.
    let nobody = "019c0000-0000-7000-8000-00000000000f";
    let ended = export(&temp, &api, &["--run", nobody, "--to", &*collector.url], &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("no such run"), "{}", ended.stderr);
}

#[test]
fn spans_may_go_into_a_file_or_nowhere() {
    let temp = TestDirectory::new("traces_file");
    let api = api();
    let ended = export(&temp, &api, &["--run", RUN, "--run", OTHER, "--out", "spans.json"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("wrote 4 spans of 2 runs to spans.json"), "{}", ended.stderr);
    let file = fs::read_to_string(temp.path().join("spans.json")).unwrap();
    let lines: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(ids(&lines).len(), 4);

    let ended = export(&temp, &api, &["--run", RUN, "--out", "-"], &[]);
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(ids(&lines), ["a1", "a2", "a3"]);

    let (collector, seen) = collector(vec![(200, json!({}))]);
    let ended = export(&temp, &api, &["--run", RUN, "--dry-run", "--to", &*collector.url], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("would send 3 spans of 1 run"), "{}", ended.stderr);
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn an_export_without_a_destination_or_a_run_is_no_call() {
    let temp = TestDirectory::new("traces_usage");
    let api = api();
    for (words, part) in [
        (&["--run", RUN] as &[&str], "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (&["--to", "http://x"], "--run"),
        (&["--failed", "--to", "http://x"], "--since"),
        (&["--run", RUN, "--to", "collector:4318"], "no http URL"),
        (&["--run", RUN, "--to", "http://x", "--header", "x"], "`name=value`"),
    ] {
        let ended = export(&temp, &api, words, &[]);
        assert_eq!(ended.code, Some(2), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{words:?}: {}", ended.stderr);
    }
    assert!(api.asked().is_empty());
}
