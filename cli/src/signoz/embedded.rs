//! The files of `deploy/signoz`, as they were when the program was built.

macro_rules! files {
    ($folder:literal: $($file:literal),* $(,)?) => {
        &[$((
            concat!($folder, "/", $file),
            include_str!(concat!("../../../deploy/signoz/", $folder, "/", $file)),
        )),*]
    };
}

/// Paths and contents of the dashboards. A test keeps both lists whole.
pub(super) const DASHBOARDS: &[(&str, &str)] = files!("dashboards":
    "agents.json",
    "api.json",
    "database.json",
    "fleet.json",
    "llm.json",
    "nodes.json",
    "queue.json",
    "workflows.json",
);

/// Paths and contents of the alert rules.
pub(super) const RULES: &[(&str, &str)] = files!("rules":
    "budget-exhausted.json",
    "cost-per-hour.json",
    "dead-letters.json",
    "exporter-failures.json",
    "failure-ratio.json",
    "no-worker.json",
    "oldest-waiting.json",
    "overdue-timers.json",
    "run-p95.json",
    "sweeper-rescues.json",
    "telemetry-dropped.json",
);
