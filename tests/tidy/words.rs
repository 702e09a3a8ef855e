//! Words that have their places: whoever reads the clock, reads the environment, or starts a task or a thread that no
//! tracker knows, is named here with the reason.

use crate::{assert_none, mentions, sources};

/// Where each may be, and why.
const PLACES: &[(&str, &[(&str, &str)])] = &[
    (
        "tokio::spawn",
        &[(
            "shared/src/shutdown.rs",
            "the task that waits for signals lives as long as the process",
        )],
    ),
    ("task::spawn(", &[]),
    ("spawn_local", &[]),
    (
        "spawn_blocking(",
        &[
            ("api/src/plans.rs", "compiling a document takes long; the request waits for it"),
            ("api/src/lineage.rs", "compiling a document takes long; the request waits for it"),
            ("api/src/check.rs", "checking an input takes long; the request waits for it"),
            ("api/src/routes/workflows.rs", "reading a document takes long; the request waits"),
            ("worker/src/evaluate.rs", "a large expression takes long; its node waits for it"),
            (
                "shared/src/ops/answer.rs",
                "metrics are read from files; who has asked waits for them",
            ),
            (
                "worker/src/nodes/llm/schema.rs",
                "checking an answer by a schema takes long; its node waits for it",
            ),
        ],
    ),
    ("thread::spawn(", &[]),
    (
        "env::var",
        &[
            ("shared/src/telemetry/config.rs", "the OpenTelemetry environment, read once at start"),
            ("worker/src/models/config.rs", "the keys that the file of providers names, read once"),
            ("cli/src/render/terminal.rs", "NO_COLOR and the terminal's width"),
            ("cli/src/connection.rs", "whether a person asked for the log"),
            ("cli/src/doctor/settings.rs", "what is set is what a person asks about"),
            ("shared/build.rs", "where Cargo has a build script write"),
        ],
    ),
    (
        "Utc::now()",
        &[
            ("shared/src/store/sqlite/writer.rs", "the store's clock: once a transaction"),
            ("shared/src/telemetry/logs/line.rs", "when a line was written"),
            (
                "api/src/routes/costs.rs",
                "costs are those of the last days unless a request says which",
            ),
            (
                "api/src/routes/analysis.rs",
                "an analysis is of the last day unless a request says which",
            ),
            ("worker/src/egress/observer.rs", "when a request was sent and answered, for its span"),
            ("cli/", "a person waits"),
        ],
    ),
];

#[test]
fn time_tasks_and_environment_have_their_places() {
    let sources = sources();
    let mut diagnostics = Vec::new();
    for (word, places) in PLACES {
        let others = sources.iter().filter(|source| {
            let is_placed = places.iter().any(|(place, _)| source.path.starts_with(place));
            !is_placed && !source.is_test()
        });
        diagnostics.extend(mentions(others, &[*word]));
    }
    assert_none("out of place", &diagnostics);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let sources = sources();
    let homes = ["root", "work", "home"].map(|home| format!("\"/{home}/"));
    let homes: Vec<&str> = homes.iter().map(String::as_str).collect();
    let others = sources.iter().filter(|source| !source.path.starts_with("tests/tidy/"));
    assert_none("a path of one machine", &mentions(others, &homes));
}
