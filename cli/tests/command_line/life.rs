//! The life of a workflow from the command line, on a server that stays and on one within each command: written, validated,
//! published, started by version, followed, shown, and started again.

use serde_json::Value;

use super::dev;
use super::skein::TestDirectory;

/// A workflow that yields this, and fails unless it is given a number.
fn document(yields: &str) -> String {
    format!(
        "\
name: life
input: {{ type: object, required: [n], properties: {{ n: {{ type: number }} }} }}
nodes:
  - id: a
    type: transform
    params: {{ value: \"{{{{ {yields} }}}}\" }}
output: \"{{{{ nodes.a }}}}\"
"
    )
}

fn walk(temp: &TestDirectory, stays: bool) {
    let skein = |args: &[&str], code: i32| {
        let called = temp.call(args);
        assert_eq!(called.code, Some(code), "{args:?}: {}{}", called.stdout, called.stderr);
        called
    };
    temp.write("life.yaml", &document("input.n + 1"));
    skein(&["validate", "life.yaml"], 0);

    // A draft is nobody's latest version.
    let ran = skein(&["run", "life.yaml", "-i", "n=1"], 0);
    assert!(ran.stdout.contains("life v1 succeeded"), "{}", ran.stdout);
    assert!(ran.stderr.contains("version 1 of life is a draft"), "{}", ran.stderr);
    let refused = skein(&["start", "life", "-i", "n=1", "--wait"], 1);
    assert!(refused.stderr.contains("409"), "{}", refused.stderr);
    let by_number = skein(&["start", "life@1", "-i", "n=1", "--wait"], 0);
    assert!(by_number.stdout.ends_with("\nOutput\n2\n"), "{}", by_number.stdout);

    let published = skein(&["publish", "life.yaml"], 0);
    assert!(published.stdout.starts_with("life v1 draft promoted"), "{}", published.stdout);
    let again = skein(&["publish", "life.yaml"], 0);
    assert!(again.stdout.starts_with("life v1 unchanged"), "{}", again.stdout);

    // Another draft leaves version 1 to everybody else.
    temp.write("life.yaml", &document("input.n < 'x'"));
    let failed = skein(&["run", "life.yaml", "-i", "n=1"], 3);
    assert!(failed.stdout.contains("life v2 failed"), "{}", failed.stdout);
    let why = skein(&["show", "last"], 0);
    assert!(why.stdout.contains("Attempts") && why.stdout.contains("error"), "{}", why.stdout);
    let latest = skein(&["start", "life", "--input", "{n: 41}", "--wait"], 0);
    assert!(latest.stdout.contains("life v1 succeeded"), "{}", latest.stdout);
    let versions = skein(&["workflows", "life"], 0).stdout;
    let rows: Vec<_> = versions.lines().collect();
    assert!(rows[1].contains("draft") && rows[2].contains("latest"), "{versions}");

    // By its trace, too.
    let shown = skein(&["show", "last", "-o", "json"], 0);
    let run: Value = serde_json::from_str(&shown.stdout).expect("it is JSON");
    let text = |name: &str| run[name].as_str().expect("it is text");
    let (id, trace) = (text("id"), text("trace_id"));
    for command in ["show", "trace", "logs"] {
        let by_trace = skein(&[command, trace], 0).stdout;
        assert!(
            by_trace.contains(if command == "logs" { "run.accepted" } else { id }),
            "{by_trace}"
        );
    }
    let failed = skein(&["runs", "--status", "failed,cancelled", "--since", "1h", "-q"], 0).stdout;
    assert_eq!(failed.lines().count(), 1, "{failed}");
    let warned = skein(&["logs", failed.trim(), "--level", "warn", "--since", "1h"], 0).stdout;
    assert!(warned.contains("run.failed") && !warned.contains("run.accepted"), "{warned}");

    skein(&["archive", "life"], 0);
    let refused = skein(&["start", "life", "-i", "n=1", "--wait", "-o", "json"], 1);
    assert!(refused.stderr.contains("workflow-archived"), "{}", refused.stderr);
    assert!(skein(&["workflows", "life"], 0).stdout.contains("life is archived"));
    skein(&["archive", "life", "--undo"], 0);
    if stays {
        let id = skein(&["start", "life", "-i", "n=1", "-q"], 0).stdout;
        let followed = skein(&["show", id.trim(), "--follow"], 0);
        assert!(followed.stdout.contains("life v1 succeeded"), "{}", followed.stdout);
        let key = ["start", "life", "-i", "n=1", "--idempotency-key", "one", "-q"];
        assert_eq!(skein(&key, 0).stdout, skein(&key, 0).stdout);
        let workers = skein(&["workers"], 0).stdout;
        assert!(workers.contains("live"), "{workers}");
    }
}

#[test]
fn a_workflow_is_walked_through_its_life_on_a_server_that_stays() {
    let temp = TestDirectory::new("life_dev");
    let (_dev, _) = dev::start(&temp);
    walk(&temp, true);
}

#[test]
fn a_workflow_is_walked_through_its_life_without_a_server() {
    walk(&TestDirectory::new("life_embedded"), false);
}

#[test]
fn a_workflow_is_published_where_there_was_nothing() {
    let temp = TestDirectory::new("life_publish");
    let published = temp.call(&["publish", "w.yaml"]);
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    assert_eq!(published.stdout, "w v1 created\n");
    let listed = temp.call(&["workflows", "-q"]);
    assert_eq!((listed.code, &*listed.stdout), (Some(0), "w\n"), "{}", listed.stderr);
}
