//! Starts a process that plays a scenario, and collects what it says.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use skein_tests::otlp::Receiver;
use tokio::process::Command;

/// The longest that a scenario may take. The bound of a shutdown is 5 s.
const SCENARIO_MAX: Duration = Duration::from_secs(30);

/// Both runtimes that the programs may be started in.
pub(crate) const RUNTIMES: [&str; 2] = ["multi", "current"];

/// What a scenario said.
#[derive(Debug)]
pub(crate) struct Played {
    /// Its result.
    pub(crate) seen: Value,
    /// Its log, one line each.
    pub(crate) log: Vec<String>,
}

impl Played {
    /// The log lines as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// How long something took.
    pub(crate) fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(self.seen[name].as_u64().expect("milliseconds"))
    }
}

/// Plays a scenario in a process that has this environment and no other `OTEL_*` variables.
pub(crate) async fn play(
    runtime: &str,
    scenario: &str,
    environment: &[(&str, &str)],
) -> anyhow::Result<Played> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telemetry-scenario"));
    command.args([runtime, scenario]).stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars().filter(|(name, _)| is_telemetry(name)) {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    let output = tokio::time::timeout(SCENARIO_MAX, command.output())
        .await
        .context("the scenario does not end")??;
    let log = String::from_utf8(output.stderr)?;
    let result = String::from_utf8(output.stdout)?;
    anyhow::ensure!(output.status.success(), "{}: {log}", output.status);
    anyhow::ensure!(!log.contains("panicked"), "{log}");
    Ok(Played {
        seen: serde_json::from_str(&result).context("the result")?,
        log: log.lines().map(str::to_owned).collect(),
    })
}

/// Plays a scenario that exports everything to the receiver.
pub(crate) async fn play_with(
    receiver: &Receiver,
    runtime: &str,
    scenario: &str,
    environment: &[(&str, &str)],
) -> anyhow::Result<Played> {
    let endpoint = receiver.endpoint();
    let mut all = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    all.extend(environment);
    play(runtime, scenario, &all).await
}

fn is_telemetry(name: &str) -> bool {
    name.starts_with("OTEL_") || name.starts_with("SKEIN_") || name == "RUST_LOG"
}
