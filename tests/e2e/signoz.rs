//! Panels and rules for SigNoz, over what a mixed load of real processes has exported.

use std::path::PathBuf;
use std::process::Stdio;

use skein_tests::stack::{Setup, with_stack, workspace};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::mixed_load;
use crate::played::{asking, beside_models};

/// Panels and rules about what such a load does not bring about: a wait of a quarter of an hour, a fault of the API, of the
/// database or of the broker, a message that is given up, telemetry that is lost.
const MAY_BE_EMPTY: &[&str] = &[
    "dashboards/workflows.json#suspended",
    "dashboards/database.json#errors",
    "dashboards/queue.json#failures",
    "dashboards/api.json#failed",
    "dashboards/api.json#errors",
    "rules/dead-letters.json",
    "rules/exporter-failures.json",
];

/// The receiver that writes what it gets into a file; killed when dropped.
struct Capture {
    url: String,
    output: PathBuf,
    process: Child,
}

impl Capture {
    async fn start(python: &str) -> Self {
        let name = format!("skein_capture_{}", uuid::Uuid::new_v4().simple());
        let output = std::env::temp_dir().join(name);
        let mut process = Command::new(python)
            .arg(workspace().join("tests/signoz/capture.py"))
            .arg("--output")
            .arg(&output)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{python}: {error}"));
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let url = lines.next_line().await.expect("it can be read").expect("it says where it is");
        Self { url, output, process }
    }

    /// Ends it; the file is whole then.
    async fn end(&mut self) {
        let id = self.process.id().expect("it runs");
        let sent = Command::new("sh").arg("-c").arg(format!("kill -TERM {id}")).status().await;
        assert!(sent.expect("there is a shell").success());
        assert!(self.process.wait().await.expect("it ends").success());
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // To be looked at after a failure.
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(&self.output);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_and_rule_finds_what_is_right_in_what_a_mixed_load_exports() {
    if std::env::var("SKEIN_TEST_WITHOUT_PYPI").is_ok_and(|value| !value.is_empty()) {
        eprintln!("without chdb, as SKEIN_TEST_WITHOUT_PYPI says");
        return;
    }
    let python = std::env::var("SKEIN_TEST_CHDB").expect(
        "this test needs chdb: run it by tests/run, or set SKEIN_TEST_WITHOUT_PYPI=1 to go without",
    );
    let tried = Command::new(&python)
        .args(["-m", "unittest", "-q", "test_check"])
        .current_dir(workspace().join("tests/signoz"))
        .output();
    let tried = tried.await.expect("it starts");
    assert!(tried.status.success(), "{}", String::from_utf8_lossy(&tried.stderr));

    let mut capture = Capture::start(&python).await;
    beside_models(mixed_load::SCRIPT, async |models, _| {
        let setup = asking(Setup::distributed("signoz").collector(&capture.url), models);
        // So that gauges are sampled more than once while the load runs.
        with_stack(setup.env("OTEL_METRIC_EXPORT_INTERVAL", "1000"), async |stack| {
            mixed_load::run(stack).await;
            let codes = stack.stop().await;
            assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
        })
        .await;
    })
    .await;
    capture.end().await;

    let checked = Command::new(&python)
        .arg(workspace().join("tests/signoz/check.py"))
        .arg(&capture.output)
        .arg("--may-be-empty")
        .args(MAY_BE_EMPTY)
        .output();
    let checked = checked.await.expect("it starts");
    let said = String::from_utf8_lossy(&checked.stdout);
    let wrong: Vec<_> = said.lines().filter(|line| !line.starts_with("ok ")).collect();
    let stderr = String::from_utf8_lossy(&checked.stderr);
    let file = capture.output.display();
    assert!(checked.status.success(), "{file}:\n{}\n{stderr}", wrong.join("\n"));
}
