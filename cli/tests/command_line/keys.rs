//! `skein keys`, against a server that is real and one that is not.

use serde_json::{Value, json};

use super::server::Server;
use super::skein::TestDirectory;
use super::{answer, dev};

/// What a command has written, and whether it succeeded.
struct Ended {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

fn skein(temp: &TestDirectory, args: &[&str]) -> Ended {
    let ended = temp.skein(args).output().expect("skein can be started");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    Ended { stdout: text(ended.stdout), stderr: text(ended.stderr), code: ended.status.code() }
}

#[test]
fn a_key_that_is_made_works_until_it_is_revoked() {
    let temp = TestDirectory::new("keys");
    let (_running, banner) = dev::start(&temp);
    let (_, url) = banner.split_once("http://").unwrap();
    let url = format!("http://{}", url.split_whitespace().next().unwrap());

    let made = skein(
        &temp,
        &["keys", "create", "ci", "--scope", "read", "--scope", "run", "--expires", "30d"],
    );
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    // Alone, so that a script can take it.
    let key = made.stdout.strip_suffix('\n').unwrap();
    assert!(key.starts_with("sk_") && !key.contains(char::is_whitespace));
    assert!(made.stderr.contains("`ci`") && made.stderr.contains("read run"), "{}", made.stderr);
    assert!(made.stderr.ends_with(&format!(" It is good at {url}.\n")), "{}", made.stderr);
    assert!(!made.stderr.contains(key), "it is not repeated");
    let id = made.stderr.split_whitespace().next().unwrap();

    let with_key = |args: &[&str]| skein(&temp, &[args, &["--url", &url, "--key", key]].concat());
    let runs = with_key(&["runs"]);
    assert_eq!((runs.code, &*runs.stdout), (Some(0), "no runs\n"), "{}", runs.stderr);
    let refused = with_key(&["run", "w.yaml"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("lacks the scope `write`"), "{}", refused.stderr);
    assert!(!refused.stderr.contains(key));
    assert!(with_key(&["keys", "list"]).stderr.contains("lacks the scope `admin`"));

    let listed = skein(&temp, &["keys", "list"]);
    let line = listed.stdout.lines().find(|line| line.contains(id)).unwrap();
    assert!(line.contains("ci") && line.contains("read run") && line.contains("ends in"), "{line}");
    assert!(!listed.stdout.contains(key));
    let revoked = skein(&temp, &["keys", "revoke", id]);
    assert_eq!(revoked.stdout, format!("{id} revoked\n"), "{}", revoked.stderr);
    let refused = with_key(&["runs"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("API key"), "{}", refused.stderr);
    let listed = skein(&temp, &["keys", "list", "-o", "json"]);
    let keys: Vec<Value> =
        listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let revoked = keys.iter().find(|key| key["id"] == id).unwrap();
    assert!(revoked["revoked_at"].is_string() && keys.len() == 2, "{keys:?}");
    // The key of the directory is the last that may make others.
    let own = keys.iter().find(|key| key["id"] != id).unwrap()["id"].as_str().unwrap();
    let refused = skein(&temp, &["keys", "revoke", own]);
    assert!(refused.stderr.contains("last key with the scope `admin`"), "{}", refused.stderr);
    assert_eq!(refused.code, Some(1));
}

#[test]
fn a_directory_whose_key_was_revoked_gets_another() {
    let temp = TestDirectory::new("revoked");
    let ran = skein(&temp, &["run", "w.yaml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let key = || std::fs::read_to_string(temp.path().join(".skein/key")).unwrap();
    let first = key();
    let heir = skein(&temp, &["keys", "create", "heir", "--scope", "admin"]);
    assert_eq!(heir.code, Some(0), "{}", heir.stderr);
    assert!(heir.stderr.ends_with(" It is good for what is in .skein.\n"), "{}", heir.stderr);
    let listed = skein(&temp, &["keys", "list", "-o", "json"]);
    let keys = listed.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let own = keys.into_iter().find(|key| key["name"].is_null()).unwrap();
    assert_eq!(skein(&temp, &["keys", "revoke", own["id"].as_str().unwrap()]).code, Some(0));
    let runs = skein(&temp, &["runs"]);
    assert_eq!(runs.code, Some(0), "{}", runs.stderr);
    assert_ne!(key(), first);
}

#[test]
fn what_is_asked_for_is_what_is_sent() {
    let temp = TestDirectory::new("sent");
    let server = Server::start(|request| match request {
        "POST /v1/keys" => answer(json!({ "id": "key_1", "key": "sk_x" })),
        "GET /v1/keys?workspace=lab&user=bob&limit=3" => {
            answer(json!({ "items": [{ "id": "key_1" }], "next_cursor": "more" }))
        }
        "DELETE /v1/keys/key_1" => Some((204, Value::Null)),
        other => panic!("{other}"),
    });
    let url = ["--url", &*server.url, "--key", "a-key"];
    let skein = |args: &[&str]| skein(&temp, &[args, &url].concat());
    let made = skein(&["keys", "create", "ci", "--scope", "read", "-o", "json"]);
    let body: Value = serde_json::from_str(&made.stdout).unwrap();
    assert_eq!((&body["key"], &*made.stderr), (&json!("sk_x"), ""));
    let list =
        ["keys", "list", "-o", "json", "--workspace", "lab", "--user", "bob", "--limit", "3"];
    let listed = skein(&list);
    assert_eq!(listed.stdout, "{\"id\":\"key_1\"}\n");
    assert!(listed.stderr.contains("there are more than these 3"), "{}", listed.stderr);
    assert_eq!(skein(&["keys", "revoke", "key_1"]).stdout, "key_1 revoked\n");
}
