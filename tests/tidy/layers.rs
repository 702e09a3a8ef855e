//! Who may know whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;
use skein_shared::domain::kind::NodeKind;

use crate::arrows::{Arrow, Crate};
use crate::{assert_none, mentions, root, sources};

/// The members of the workspace, as cargo describes them.
pub(crate) fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").expect("cargo runs the tests");
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version=1", "--no-deps", "--locked", "--offline"]);
    let output = command.current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

/// Each member of the workspace and the members that it depends on, as cargo sees it: whatever the kind of the
/// dependency, and however it is written and renamed.
fn members() -> BTreeMap<String, BTreeSet<String>> {
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let packages = packages();
    let names: BTreeSet<_> = packages.iter().map(name).collect();
    let dependencies = |package: &Value| -> BTreeSet<String> {
        let all = package["dependencies"].as_array().expect("a list");
        all.iter().map(name).filter(|name| names.contains(name)).collect()
    };
    packages.iter().map(|package| (name(package), dependencies(package))).collect()
}

#[test]
fn only_cli_and_tests_see_both_sides() {
    let seen = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let expected = [
        ("skein", seen(&["skein-api", "skein-shared", "skein-worker"])),
        ("skein-api", seen(&["skein-shared"])),
        ("skein-shared", seen(&[])),
        ("skein-tests", seen(&["skein", "skein-api", "skein-shared", "skein-worker"])),
        ("skein-worker", seen(&["skein-shared"])),
    ];
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(name, seen)| (name.to_owned(), seen)).collect();
    assert_eq!(members(), expected);
}

/// What `shared` is made of, from the ground up.
const LAYERS: [&[&str]; 8] = [
    &["domain"],
    &["document"],
    &["expression"],
    &["workflow"],
    &["private", "config", "host", "shutdown"],
    &["broker", "batcher", "store", "telemetry"],
    &["abandoned", "ops", "portions"],
    &["dispatch", "finish", "monitor", "sweeper"],
];

#[test]
fn no_import_runs_up() {
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let crates = Crate::all(&sources());
    let shared = crates.iter().find(|it| it.folder == "shared/src").expect("it is there");
    let unplaced: Vec<_> =
        shared.top().filter(|name| layer(name).is_none()).map(str::to_owned).collect();
    assert_none("parts of shared without a layer", &unplaced);
    let runs_up = |arrow: &Arrow| match (arrow.from.first(), arrow.to.first()) {
        (Some(from), Some(to)) => layer(from) < layer(to),
        _ => false,
    };
    let up: Vec<_> = shared.arrows().into_iter().filter(runs_up).map(|arrow| arrow.text).collect();
    assert_none("an import runs from a lower to a higher layer", &up);
}

#[test]
fn the_domain_does_no_io() {
    let sources = sources();
    let domain = sources.iter().filter(|source| {
        let is_domain = source.path.starts_with("shared/src/domain/")
            || source.path.starts_with("shared/src/expression/");
        is_domain && !source.is_test()
    });
    let banned = [
        "tokio",
        "sqlx",
        "lapin",
        "axum",
        "opentelemetry",
        "reqwest",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "crate::store",
        "crate::broker",
        "crate::telemetry",
    ];
    assert_none("the domain does I/O", &mentions(domain, &banned));
}

#[test]
fn broker_and_store_do_not_know_each_other() {
    let sources = sources();
    let store = sources.iter().filter(|source| source.path.starts_with("shared/src/store/"));
    assert_none("the store knows the broker", &mentions(store, &["crate::broker", "lapin"]));
    let broker = sources.iter().filter(|source| source.path.starts_with("shared/src/broker/"));
    assert_none("the broker knows the store", &mentions(broker, &["crate::store", "sqlx"]));
}

#[test]
fn the_engine_knows_no_kind_and_a_kind_knows_no_queue_and_no_sql() {
    let sources = sources();
    let engine = sources
        .iter()
        .filter(|source| source.path.starts_with("worker/src/engine/") && !source.is_test());
    let kinds: Vec<_> = NodeKind::WORDS.iter().map(|kind| format!("nodes::{kind}")).collect();
    let kinds = kinds.iter().map(String::as_str);
    let kinds: Vec<_> = kinds.chain(["egress", "reqwest", "NodeKind::", "Params::"]).collect();
    assert_none("the engine knows a node kind's business", &mentions(engine, &kinds));
    let nodes = sources.iter().filter(|source| source.path.starts_with("worker/src/nodes/"));
    let banned = [
        "sqlx",
        "lapin",
        "skein_shared::store",
        "skein_shared::broker",
        "crate::engine",
        "crate::batchers",
    ];
    assert_none("a node kind knows queue, store or engine", &mentions(nodes, &banned));
}

#[test]
fn only_telemetry_names_exporters_and_providers() {
    let sources = sources();
    let others = sources.iter().filter(|source| {
        let is_wiring = source.path.ends_with("/main.rs");
        !source.path.starts_with("shared/src/telemetry/")
            && !source.path.starts_with("tests/")
            && !is_wiring
    });
    let banned = [
        "opentelemetry_sdk",
        "opentelemetry_otlp",
        "tracing_opentelemetry",
        "TracerProvider",
        "SpanExporter",
    ];
    assert_none("an exporter or a provider is named elsewhere", &mentions(others, &banned));
}

#[test]
fn migrations_come_in_pairs() {
    let names = |store: &str| {
        let folder = root().join("migrations").join(store);
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let postgres = names("postgres");
    assert!(!postgres.is_empty());
    assert_eq!(postgres, names("sqlite"));
}
