//! `skein signoz apply` against a server that behaves like SigNoz's API.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Output;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::server::{Answer, Request, Server};
use super::skein::TestDirectory;

const KEY: &str = "a-key-of-signoz";
/// Dashboards and rules that the program carries.
const DASHBOARDS: usize = 8;
const RULES: usize = 11;
/// The exit code after a failure in the middle.
const HALFWAY: Option<i32> = Some(4);

/// What SigNoz holds, and how it is to misbehave.
#[derive(Default)]
struct State {
    dashboards: Vec<Value>,
    rules: Vec<Value>,
    /// Dashboards that are not listed, but whose names are taken.
    hidden: Vec<String>,
    /// Requests that changed something, or tried to.
    writes: Vec<String>,
    /// From which write on everything fails with 500, from 1.
    fails_from: Option<usize>,
    next: u32,
}

/// A server like SigNoz: it wants a key, refuses what it does not know, keeps names of dashboards unique and unchanged,
/// lists in pages, and gives ids.
struct Signoz {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl Signoz {
    fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::seeing_all(move |request| {
            shared.lock().expect("nobody panics").answer(request)
        });
        Self { server, state }
    }

    fn with<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.state.lock().expect("nobody panics"))
    }

    /// `skein signoz apply` with a good key.
    fn apply(&self, temp: &TestDirectory, flags: &[&str]) -> Ended {
        let args = [&["signoz", "apply", "--url", &*self.server.url], flags].concat();
        temp.skein(&args).env("SIGNOZ_API_KEY", KEY).output().expect("skein starts").into()
    }
}

/// A command that has ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        let ended = Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        assert!(!ended.stdout.contains(KEY) && !ended.stderr.contains(KEY), "{}", ended.stderr);
        ended
    }
}

impl Ended {
    fn lines(&self, start: &str) -> usize {
        self.stdout.lines().filter(|line| line.starts_with(start)).count()
    }
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Some((status, json!({ "status": "error", "error": { "code": code, "message": message } })))
}

fn success(status: u16, data: &Value) -> Answer {
    Some((status, json!({ "status": "success", "data": data })))
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        if request.header("signoz-api-key") != KEY {
            return error(401, "unauthenticated", "unauthenticated");
        }
        let (method, target) = request.line.split_once(' ').expect("a method and a target");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut parts = path.trim_start_matches("/api/v2/").splitn(2, '/');
        let (kind, id) = (parts.next().unwrap_or_default().to_owned(), parts.next());
        if !path.starts_with("/api/v2/") || !matches!(&*kind, "dashboards" | "rules") {
            return error(404, "not_found", "no such route");
        }
        if method == "GET" {
            return self.list(&kind, query);
        }
        self.writes.push(request.line.clone());
        if self.fails_from.is_some_and(|from| self.writes.len() >= from) {
            return error(500, "internal", "the metastore is away");
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (method, id) {
            ("POST", None) => self.create(&kind, body),
            ("PUT", Some(id)) => self.update(&kind, id, body),
            ("DELETE", Some(id)) => {
                let list = self.of(&kind);
                let before = list.len();
                list.retain(|it| it["id"] != id);
                if list.len() == before {
                    error(404, "not_found", "there is none")
                } else {
                    Some((204, Value::Null))
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn of(&mut self, kind: &str) -> &mut Vec<Value> {
        if kind == "rules" { &mut self.rules } else { &mut self.dashboards }
    }

    fn list(&mut self, kind: &str, query: &str) -> Answer {
        if kind == "rules" {
            return success(200, &json!(self.rules));
        }
        let number = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| *key == name);
            found.map_or(0, |(_, value)| value.parse::<usize>().expect("a number"))
        };
        // Its pages may be smaller than what is asked for.
        let page = number("limit").min(3);
        let page: Vec<_> = self.dashboards.iter().skip(number("offset")).take(page).collect();
        let total = self.dashboards.len();
        success(200, &json!({ "dashboards": page, "tags": [], "total": total }))
    }

    fn create(&mut self, kind: &str, mut body: Value) -> Answer {
        if let Some(refusal) = refusal(kind, &body) {
            return refusal;
        }
        if kind == "dashboards" {
            let name = body["name"].as_str().expect("checked").to_owned();
            let is_taken = self.dashboards.iter().any(|it| it["name"] == *name);
            if is_taken || self.hidden.contains(&name) {
                return error(409, "already_exists", "a dashboard of this name exists");
            }
            body["locked"] = false.into();
        }
        self.next += 1;
        body["id"] = format!("id-{}", self.next).into();
        self.of(kind).push(body.clone());
        success(201, &body)
    }

    fn update(&mut self, kind: &str, id: &str, mut body: Value) -> Answer {
        if let Some(refusal) = refusal(kind, &body) {
            return refusal;
        }
        let Some(found) = self.of(kind).iter_mut().find(|it| it["id"] == id) else {
            return error(404, "not_found", "there is none");
        };
        if kind == "dashboards" && found["name"] != body["name"] {
            return error(400, "invalid_input", "name is immutable");
        }
        body["id"] = id.into();
        if kind == "dashboards" {
            body["locked"] = found["locked"].clone();
        }
        *found = body;
        if kind == "rules" { Some((204, Value::Null)) } else { success(200, found) }
    }
}

/// As SigNoz refuses what it does not know.
fn refusal(kind: &str, body: &Value) -> Option<Answer> {
    let (known, version): (&[&str], _) = if kind == "rules" {
        let known = &[
            "alert",
            "alertType",
            "ruleType",
            "version",
            "schemaVersion",
            "condition",
            "evaluation",
            "notificationSettings",
            "labels",
            "annotations",
        ];
        (known, "v2alpha1")
    } else {
        (&["schemaVersion", "name", "image", "tags", "spec"], "v6")
    };
    let members = body.as_object().expect("an object");
    if let Some(unknown) = members.keys().find(|member| !known.contains(&member.as_str())) {
        return Some(error(400, "invalid_input", &format!("unknown field {unknown:?}")));
    }
    (body["schemaVersion"] != version).then(|| error(400, "invalid_input", "schemaVersion"))
}

fn names(list: &[Value], member: &str) -> Vec<String> {
    let mut names: Vec<_> =
        list.iter().map(|it| it[member].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_is_applied_is_there_once_however_often_it_is_applied() {
    let temp = TestDirectory::new("signoz_apply");
    let signoz = Signoz::start();
    let somebodys = json!({ "id": "other", "name": "somebodys", "tags": [], "locked": false });
    signoz.with(|state| state.dashboards.push(somebodys.clone()));

    let planned = signoz.apply(&temp, &["--dry-run"]);
    assert_eq!((planned.code, planned.lines("would create ")), (Some(0), DASHBOARDS + RULES));
    assert_eq!(signoz.with(|state| state.writes.len()), 0);

    let first = signoz.apply(&temp, &[]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert_eq!(first.lines("created dashboard "), DASHBOARDS, "{}", first.stdout);
    assert_eq!(first.lines("created rule "), RULES, "{}", first.stdout);
    let held = |state: &mut State| (state.dashboards.clone(), state.rules.clone());
    let (dashboards, rules) = signoz.with(held);
    assert_eq!((dashboards.len(), rules.len()), (DASHBOARDS + 1, RULES));

    // What somebody has changed there is as it is to be again.
    signoz.with(|state| state.dashboards[1]["spec"] = json!({}));
    let second = signoz.apply(&temp, &[]);
    assert_eq!((second.code, second.lines("updated ")), (Some(0), DASHBOARDS + RULES));
    assert_eq!(signoz.with(held), (dashboards, rules));

    let planned = signoz.apply(&temp, &["--delete", "--dry-run"]);
    assert_eq!((planned.code, planned.lines("would delete ")), (Some(0), DASHBOARDS + RULES));
    let deleted = signoz.apply(&temp, &["--delete"]);
    assert_eq!((deleted.code, deleted.lines("deleted ")), (Some(0), DASHBOARDS + RULES));
    assert_eq!(signoz.with(held), (vec![somebodys], vec![]));
    let again = signoz.apply(&temp, &["--delete"]);
    assert_eq!((again.code, &*again.stdout), (Some(0), ""));
    assert!(again.stderr.starts_with("0 documents changed at http://127.0.0.1:"));
}

#[test]
fn a_key_that_signoz_does_not_know_is_refused_before_anything_is_changed() {
    let temp = TestDirectory::new("signoz_key");
    let signoz = Signoz::start();
    let apply = |flags: &[&str], key: Option<&str>| -> Ended {
        let args = [&["signoz", "apply", "--url", &*signoz.server.url], flags].concat();
        let mut command = temp.skein(&args);
        if let Some(key) = key {
            command.env("SIGNOZ_API_KEY", key);
        }
        command.output().expect("skein starts").into()
    };
    let none = apply(&[], None);
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    assert!(none.stderr.contains("SIGNOZ_API_KEY") && none.stderr.contains("--key-file"));
    let bad = apply(&[], Some("an-ingestion-key"));
    assert_eq!(bad.code, Some(1), "{}", bad.stderr);
    assert!(bad.stderr.contains("does not know the API key (unauthenticated)"), "{}", bad.stderr);
    assert!(!bad.stderr.contains("an-ingestion-key"));
    assert_eq!(signoz.with(|state| state.writes.len()), 0);
    // The file wins over the environment; a line end is no part of a key.
    fs::write(temp.path().join("key"), format!("{KEY}\n")).unwrap();
    let good = apply(&["--key-file", "key"], Some("an-ingestion-key"));
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    let missing = apply(&["--key-file", "nowhere"], Some(KEY));
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("cannot read the key in nowhere"), "{}", missing.stderr);
}

#[test]
fn what_is_in_the_way_is_told_of_all_at_once_and_nothing_is_changed() {
    let temp = TestDirectory::new("signoz_conflict");
    let signoz = Signoz::start();
    let ours = json!([{ "key": "managed_by", "value": "skein" }]);
    signoz.with(|state| {
        state.dashboards = vec![
            json!({ "id": "a", "name": "skein-api", "tags": [], "locked": false }),
            json!({ "id": "b", "name": "skein-llm", "tags": ours, "locked": true }),
        ];
        let rule =
            json!({ "alert": "Skein: timers are overdue", "labels": { "managed_by": "skein" } });
        for id in ["c", "d"] {
            let mut rule = rule.clone();
            rule["id"] = id.into();
            state.rules.push(rule);
        }
    });
    for flags in [&[][..], &["--dry-run"]] {
        let refused = signoz.apply(&temp, flags);
        assert_eq!((refused.code, &*refused.stdout), (Some(1), ""), "{}", refused.stderr);
        for said in [
            "dashboard \"skein-api\" (dashboards/api.json): SigNoz has one of that name that Skein has not made (a)",
            "dashboard \"skein-llm\" (dashboards/llm.json): it is locked in SigNoz (b)",
            "rule \"Skein: timers are overdue\" (rules/overdue-timers.json): SigNoz has 2 rules",
        ] {
            assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
        }
    }
    assert_eq!(signoz.with(|state| state.writes.len()), 0);
}

#[test]
fn after_a_failure_in_the_middle_it_says_how_far_it_came_and_goes_on_when_repeated() {
    let temp = TestDirectory::new("signoz_halfway");
    let signoz = Signoz::start();
    signoz.with(|state| state.fails_from = Some(5));
    let halfway = signoz.apply(&temp, &[]);
    assert_eq!((halfway.code, halfway.lines("created ")), (HALFWAY, 4), "{}", halfway.stderr);
    let left = DASHBOARDS + RULES - 5;
    for said in [
        "error: at dashboard \"skein-llm\" (dashboards/llm.json): SigNoz answers 500: the metastore is away",
        &*format!("done before: 4 documents; not tried: {left} documents"),
        "  rule \"Skein: timers are overdue\" (rules/overdue-timers.json)",
    ] {
        assert!(halfway.stderr.contains(said), "{said}: {}", halfway.stderr);
    }
    assert_eq!(signoz.with(|state| state.writes.len()), 5);
    signoz.with(|state| state.fails_from = None);
    let whole = signoz.apply(&temp, &[]);
    assert_eq!(
        (whole.code, whole.lines("updated "), whole.lines("created ")),
        (Some(0), 4, left + 1)
    );
    let (dashboards, rules) = signoz.with(|it| (it.dashboards.len(), it.rules.len()));
    assert_eq!((dashboards, rules), (DASHBOARDS, RULES));
}

#[test]
fn a_name_that_is_taken_by_what_is_not_listed_is_a_conflict() {
    let temp = TestDirectory::new("signoz_taken");
    let signoz = Signoz::start();
    signoz.with(|state| state.hidden.push("skein-api".to_owned()));
    let taken = signoz.apply(&temp, &[]);
    assert_eq!((taken.code, taken.lines("created ")), (HALFWAY, 1), "{}", taken.stderr);
    let said = "SigNoz has one of that name already (a dashboard of this name exists)";
    assert!(taken.stderr.contains(said), "{}", taken.stderr);
}

#[test]
fn own_files_are_applied_as_they_are_with_a_mark_and_channels() {
    let temp = TestDirectory::new("signoz_own");
    let signoz = Signoz::start();
    fs::create_dir_all(temp.path().join("own/dashboards")).unwrap();
    fs::create_dir_all(temp.path().join("own/rules")).unwrap();
    let dashboard = json!({ "schemaVersion": "v6", "name": "own", "tags": [], "spec": {} });
    let rule = json!({ "schemaVersion": "v2alpha1", "alert": "Own", "condition": { "thresholds": { "spec": [{}] } } });
    fs::write(temp.path().join("own/dashboards/own.json"), dashboard.to_string()).unwrap();
    fs::write(temp.path().join("own/dashboards/notes.txt"), "no JSON").unwrap();
    fs::write(temp.path().join("own/rules/own.json"), rule.to_string()).unwrap();
    let applied = signoz.apply(&temp, &["--dir", "own", "--channel", "ops", "--channel", "night"]);
    assert_eq!((applied.code, applied.lines("created ")), (Some(0), 2), "{}", applied.stderr);
    let (dashboard, rule) = signoz.with(|it| (it.dashboards[0].clone(), it.rules[0].clone()));
    assert_eq!(dashboard["tags"], json!([{ "key": "managed_by", "value": "skein" }]));
    assert_eq!(rule["labels"], json!({ "managed_by": "skein" }));
    assert_eq!(rule["condition"]["thresholds"]["spec"][0]["channels"], json!(["ops", "night"]));
    assert_eq!(rule["notificationSettings"], json!({ "usePolicy": false }));
    // What SigNoz does not know is its to refuse, and its words are shown.
    let more = json!({ "schemaVersion": "v6", "name": "own", "title": "old", "spec": {} });
    fs::write(temp.path().join("own/dashboards/own.json"), more.to_string()).unwrap();
    let refused = signoz.apply(&temp, &["--dir", "own"]);
    assert_eq!(refused.code, HALFWAY);
    assert!(refused.stderr.contains("answers 400: unknown field \"title\""), "{}", refused.stderr);
    let names = signoz.with(|it| (names(&it.dashboards, "name"), names(&it.rules, "alert")));
    assert_eq!(names, (vec!["own".to_owned()], vec!["Own".to_owned()]));
}

#[test]
fn what_is_no_signoz_is_told_apart() {
    let temp = TestDirectory::new("signoz_other");
    let at = |url: &str| -> Ended {
        let args = ["signoz", "apply", "--url", url];
        temp.skein(&args).env("SIGNOZ_API_KEY", KEY).output().expect("skein starts").into()
    };
    let old = Server::start(|_| Some((404, json!({ "status": "error", "error": "no route" }))));
    let refused = at(&old.url);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("has no /api/v2/dashboards (no route)"), "{}", refused.stderr);
    let page = Server::start(|_| Some((200, Value::String("<html>".to_owned()))));
    let refused = at(&page.url);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("does not answer like SigNoz"), "{}", refused.stderr);
    // Nobody can listen at the port of the discard service without being root, and nobody does.
    let refused = at("http://127.0.0.1:9");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("cannot be reached"), "{}", refused.stderr);
    let torn = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}", torn.local_addr().expect("it is bound"));
    let tearing = std::thread::spawn(move || {
        let (mut connection, _) = torn.accept().expect("a connection comes about");
        let mut lines =
            BufReader::new(connection.try_clone().expect("a socket can be shared")).lines();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let part = b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n{\"data\":";
        connection.write_all(part).expect("it can be written");
    });
    let refused = at(&url);
    tearing.join().expect("it was asked");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("or only a part of one"), "{}", refused.stderr);
    let none = temp.skein(&["signoz", "apply"]).output().expect("skein starts");
    assert_eq!(none.status.code(), Some(2));
}
