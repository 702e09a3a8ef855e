//! Who may know whom.

use std::fs;

use crate::{assert_none, mentions, root, sources};

fn depends_on(member: &str, dependency: &str) -> bool {
    let manifest = fs::read_to_string(root().join(member).join("Cargo.toml"))
        .expect("each member has a manifest");
    manifest.lines().any(|line| {
        line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with([' ', '.', '=']))
    })
}

#[test]
fn only_cli_and_tests_see_both_sides() {
    assert!(!depends_on("api", "skein-worker"), "api knows worker");
    assert!(!depends_on("worker", "skein-api"), "worker knows api");
    for side in ["skein-api", "skein-worker"] {
        assert!(!depends_on("shared", side), "shared knows {side}");
        assert!(depends_on("cli", side) && depends_on("tests", side));
    }
}

#[test]
fn the_domain_does_no_io() {
    let sources = sources();
    let domain = sources.iter().filter(|source| {
        let is_domain = source.path.starts_with("shared/src/domain/")
            || source.path.starts_with("shared/src/expression/");
        is_domain && !source.is_test()
    });
    let banned =
        ["tokio", "sqlx", "lapin", "axum", "opentelemetry", "std::fs", "std::net", "reqwest"];
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
    let kinds = [
        "nodes::http",
        "nodes::transform",
        "nodes::condition",
        "nodes::delay",
        "nodes::log",
        "egress",
        "reqwest",
    ];
    assert_none("the engine knows a node kind's business", &mentions(engine, &kinds));
    let nodes = sources.iter().filter(|source| source.path.starts_with("worker/src/nodes/"));
    let banned = [
        "sqlx",
        "lapin",
        "skein_shared::store",
        "skein_shared::broker",
        "crate::engine",
        "crate::lanes",
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
