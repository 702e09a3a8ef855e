//! `skein publish`, `workflows`, `archive`, and `validate` of several files.

use serde_json::{Value, json};

use super::answer;
use super::server::Server;
use super::skein::TestDirectory;

/// A document of a workflow with this name.
fn document(name: &str) -> String {
    format!("name: {name}\nnodes:\n  - {{ id: a, type: transform, params: {{ value: 1 }} }}\n")
}

/// A problem as a server answers it.
fn problem(status: u16, code: &str, title: &str) -> (u16, Value) {
    let r#type = format!("urn:skein:problem:{code}");
    (
        status,
        json!({ "type": r#type, "title": title, "status": status, "detail": "so it is", "trace_id": "07" }),
    )
}

/// A server that has version 2 of `kept`, which is archived, and a draft of `tried`, and takes anything else but `broken`.
fn server() -> Server {
    Server::seeing_all(|request| {
        let body = String::from_utf8_lossy(&request.body);
        let name = body.lines().next().and_then(|line| line.strip_prefix("name: "));
        let version = |version| json!({ "name": name, "version": version, "draft": false });
        let with = |number, outcome: &str| {
            let mut version = version(number);
            version["outcome"] = json!(outcome);
            version["archived"] = json!(name == Some("kept"));
            version["warnings"] =
                json!([{ "pointer": "/nodes/0", "message": "odd", "hint": "even" }]);
            version
        };
        Some(match (&*request.line, name) {
            ("POST /v1/workflows", Some("kept")) => (200, with(2, "unchanged")),
            ("POST /v1/workflows", Some("tried")) => (200, with(4, "promoted")),
            // As an older server answers.
            ("POST /v1/workflows", Some("older")) => (200, version(3)),
            ("POST /v1/workflows", Some("broken")) => {
                let (status, mut body) =
                    problem(422, "invalid-workflow", "The workflow is not valid");
                body["errors"] =
                    json!([{ "pointer": "/nodes", "message": "wrong", "hint": "right" }]);
                (status, body)
            }
            ("POST /v1/workflows", Some(_)) => (201, version(1)),
            _ => problem(404, "workflow-not-found", "There is no such workflow"),
        })
    })
}

#[test]
fn each_result_is_told_and_one_fault_does_not_hide_the_others() {
    let temp = TestDirectory::new("publish");
    for name in ["new", "kept", "broken", "tried", "older"] {
        temp.write(&format!("{name}.yaml"), &document(name));
    }
    let server = server();
    let files = [
        "publish",
        "new.yaml",
        "kept.yaml",
        "broken.yaml",
        "none.yaml",
        "tried.yaml",
        "older.yaml",
    ];
    let called = temp.call_on(&server.url, &files);
    // That of the file that cannot be read.
    assert_eq!(called.code, Some(2), "{}", called.stderr);
    let asked = server.asked();
    assert!(asked.len() == 5 && asked.iter().all(|it| it == "POST /v1/workflows"), "{asked:?}");
    let undo = format!("`skein archive kept --undo --url {}`", server.url);
    assert!(called.stderr.contains(&undo), "{}", called.stderr);
    let expected = "\
new v1 created
kept v2 unchanged: it is the latest version already
tried v4 draft promoted: it is the latest version now
older v3 is the latest version; it was stored before
";
    assert_eq!(called.stdout, expected, "{}", called.stderr);
    for part in ["broken.yaml:\n", "/nodes", "hint: right", "error: cannot read none.yaml"] {
        assert!(called.stderr.contains(part), "{part}: {}", called.stderr);
    }

    let good = temp.call_on(&server.url, &["publish", "new.yaml", "kept.yaml", "-q"]);
    assert_eq!((good.code, &*good.stdout), (Some(0), "new@1\nkept@2\n"));
    assert_eq!(good.stderr, "");

    let called = temp.call_on(&server.url, &["publish", "new.yaml", "broken.yaml", "-o", "json"]);
    assert_eq!(called.code, Some(1));
    let told: Value = serde_json::from_str(&called.stdout).unwrap();
    let expected = json!({
        "file": "new.yaml", "name": "new", "version": 1, "outcome": "created", "archived": null, "warnings": [],
    });
    assert_eq!(told, expected);
    let error: Value = serde_json::from_str(&called.stderr).unwrap();
    let expected = json!({
        "error": "The workflow is not valid: so it is", "code": "invalid-workflow", "status": 422, "hint": "right",
        "diagnostics": [{ "pointer": "/nodes", "message": "wrong", "hint": "right" }], "trace_id": "07",
        "file": "broken.yaml",
    });
    assert_eq!(error, expected);
}

#[test]
fn a_publication_without_a_file_or_with_two_standard_inputs_is_no_call() {
    let temp = TestDirectory::new("publish_usage");
    for args in [&["publish"][..], &["publish", "-", "-"]] {
        let called = temp.call(args);
        assert_eq!(called.code, Some(2), "{args:?}: {}", called.stderr);
    }
}

#[test]
fn workflows_and_their_versions_are_listed() {
    let temp = TestDirectory::new("workflows");
    let server = Server::start(|request| {
        let time = "2030-01-31T12:00:00Z";
        let workflow = |name: &str, version: Value, archived: Value| {
            json!({ "name": name, "description": null, "version": version, "archived_at": archived,
                "created_at": time, "updated_at": time })
        };
        let version = |version: u32, draft: bool| {
            json!({ "name": "kept", "version": version, "draft": draft, "description": null, "node_count": 2,
                "edge_count": 1, "created_by": "ada", "created_at": time })
        };
        match request {
            "GET /v1/workflows?limit=50" => answer(json!({ "items": [
                workflow("kept", json!(2), Value::Null), workflow("old", json!(1), json!(time)),
                workflow("tried", Value::Null, Value::Null) ], "next_cursor": "c" })),
            "GET /v1/workflows/kept/versions?limit=50" => answer(
                json!({ "items": [version(3, true), version(2, false), version(1, false)], "next_cursor": null }),
            ),
            "GET /v1/workflows/kept" => {
                answer(json!({ "name": "kept", "version": 2, "archived_at": time }))
            }
            _ => Some(problem(404, "workflow-not-found", "There is no such workflow")),
        }
    });
    let skein = |args: &[&str]| temp.call_on(&server.url, args);
    let all = skein(&["workflows"]);
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    let rows: Vec<_> = all.stdout.lines().collect();
    for (row, name, status) in [
        (rows[1], "kept", "published"),
        (rows[2], "old", "archived"),
        (rows[3], "tried", "drafts only"),
    ] {
        assert!(row.starts_with(name) && row.contains(status), "{row}");
    }
    assert!(all.stderr.contains("there are more than these 50"), "{}", all.stderr);
    assert_eq!(skein(&["workflows", "-q"]).stdout, "kept\nold\ntried\n");

    let versions = skein(&["workflows", "kept"]);
    let rows: Vec<_> = versions.stdout.lines().collect();
    assert!(rows[1].contains("draft") && rows[2].contains("latest"), "{versions:?}");
    assert!(rows[4].contains("kept is archived") && rows[4].contains("--undo"), "{versions:?}");
    assert!(rows[4].ends_with("` lets it take them again"), "{versions:?}");
    assert_eq!(skein(&["workflows", "kept", "-q"]).stdout, "kept@3\nkept@2\nkept@1\n");
    let json = skein(&["workflows", "kept", "-o", "json"]).stdout;
    assert_eq!(json.lines().count(), 3, "{json}");

    let unknown = skein(&["workflows", "nothing"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("There is no such workflow"), "{}", unknown.stderr);
}

#[test]
fn a_workflow_is_archived_and_taken_back() {
    let temp = TestDirectory::new("archive");
    let server = Server::start(|request| match request {
        "POST /v1/workflows/kept/archive" => {
            answer(json!({ "name": "kept", "archived_at": "2030" }))
        }
        "POST /v1/workflows/kept/unarchive" => {
            answer(json!({ "name": "kept", "archived_at": null }))
        }
        _ => Some(problem(404, "workflow-not-found", "There is no such workflow")),
    });
    let skein = |args: &[&str]| temp.call_on(&server.url, args);
    assert_eq!(skein(&["archive", "kept"]).stdout, "kept archived\n");
    assert_eq!(skein(&["archive", "kept", "--undo"]).stdout, "kept takes new runs again\n");
    assert_eq!(skein(&["archive", "kept", "-q"]).stdout, "");
    let json = skein(&["archive", "kept", "-o", "json"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["archived_at"], "2030");
    let unknown = skein(&["archive", "nothing"]);
    assert_eq!(unknown.code, Some(1), "{}", unknown.stderr);
}

#[test]
fn several_files_are_validated_and_each_is_told_of() {
    let temp = TestDirectory::new("validate");
    temp.write("good.yaml", &document("good"));
    temp.write("bad.yaml", "name: bad\nnodes: []\n");
    let called = temp.call(&["validate", "bad.yaml", "none.yaml", "good.yaml"]);
    assert_eq!(called.code, Some(2));
    assert!(called.stdout.contains("good is valid: 1 node, 0 edges"), "{called:?}");
    assert!(
        called.stderr.contains("bad.yaml") && called.stderr.contains("none.yaml"),
        "{called:?}"
    );
    let quiet = temp.call(&["validate", "good.yaml", "-q"]);
    assert_eq!((quiet.code, &*quiet.stdout, &*quiet.stderr), (Some(0), "", ""));

    let called = temp.call(&["validate", "bad.yaml", "good.yaml", "-o", "json"]);
    let rows: Vec<Value> =
        called.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((called.code, rows.len()), (Some(1), 2), "{called:?}");
    assert_eq!((&rows[0]["valid"], &rows[1]["valid"]), (&json!(false), &json!(true)));
    assert!(rows[0]["diagnostics"][0]["pointer"].is_string(), "{rows:?}");
    assert_eq!((&rows[1]["name"], &rows[1]["nodes"]), (&json!("good"), &json!(1)));
    assert_eq!(temp.call(&["validate", "none.yaml"]).code, Some(2), "there is nothing to do");
}

#[test]
fn what_is_said_of_a_document_beside_its_version_is_in_its_object() {
    let temp = TestDirectory::new("publish_warned");
    temp.write("kept.yaml", &document("kept"));
    let server = server();
    let called = temp.call_on(&server.url, &["publish", "kept.yaml", "-o", "json"]);
    assert_eq!((called.code, &*called.stderr), (Some(0), ""));
    let told: Value = serde_json::from_str(&called.stdout).unwrap();
    assert_eq!((&told["outcome"], &told["archived"]), (&json!("unchanged"), &json!(true)));
    assert_eq!(told["warnings"][0]["message"], "odd");
    let text = temp.call_on(&server.url, &["publish", "kept.yaml"]);
    assert!(text.stderr.contains("kept.yaml has 1 warning"), "{}", text.stderr);
}

#[test]
fn a_file_that_cannot_be_read_is_the_same_mistake_wherever_it_is_named() {
    let temp = TestDirectory::new("unreadable");
    for args in [&["validate", "none.yaml"][..], &["publish", "none.yaml"], &["run", "none.yaml"]] {
        let called = temp.call(&[args, &["-o", "json"]].concat());
        assert_eq!((called.code, &*called.stdout), (Some(2), ""), "{args:?}: {}", called.stderr);
        let error: Value = serde_json::from_str(&called.stderr).unwrap();
        assert_eq!(error["code"], "usage", "{args:?}: {error}");
    }
    assert!(!temp.path().join(".skein").exists(), "there was nothing to do");
    for command in ["validate", "publish"] {
        let called = temp.call(&[command, "none.yaml", "neither.yaml", "-o", "yaml"]);
        assert_eq!(called.code, Some(2), "{command}: {}", called.stderr);
        let documents: Vec<_> = called.stderr.split("---\n").skip(1).collect();
        assert_eq!(documents.len(), 2, "{command}: {}", called.stderr);
        assert!(documents[0].contains("file: none.yaml\n"), "{command}: {documents:?}");
        assert!(documents[1].contains("file: neither.yaml\n"), "{command}: {documents:?}");
    }
}
