//! One of Skein's programs as an OS process.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

use super::PATIENCE;
use super::places::{build_directory, log_directory, workspace};
use super::polling::POLL_INTERVAL;

/// How long a program may take to stop after SIGTERM: drain, flush, and a slow machine.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A program that can be started, killed and started again. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

/// Memory in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All that is resident.
    pub resident: u64,
    /// Of that, what is not the program's own file: heap and stacks.
    pub own: u64,
}

impl Program {
    /// A program that does not run yet. `command` is the binary and its arguments; what it prints is
    /// appended to `{name}.log` in `logs`.
    pub(super) fn new(
        name: &str,
        command: &[&str],
        environment: Vec<(String, String)>,
        logs: &Path,
    ) -> Self {
        Self {
            name: name.to_owned(),
            command: command.iter().map(ToString::to_string).collect(),
            environment,
            log: logs.join(format!("{name}.log")),
            child: None,
        }
    }

    /// A program that belongs to no stack and does not run yet; its log lies with those of the case of that name. The
    /// command is the binary and its arguments.
    ///
    /// # Panics
    /// When there is no binary in it.
    #[must_use]
    pub fn apart(label: &str, command: &[&str], environment: &[(&str, &str)]) -> Self {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self::new(command[0], command, environment.collect(), &log_directory(label))
    }

    /// Starts it. The environment is what the stack says and nothing else, so that a variable of the
    /// shell that runs the tests changes nothing.
    ///
    /// # Panics
    /// When there is no such binary, or it runs already.
    pub fn start(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.name);
        let output = self.open_log().expect("the target directory can be written");
        let errors = output.try_clone().expect("a file can be shared");
        let binary = binary(&self.command[0]);
        let inherited = ["PATH", "HOME", "TMPDIR"]
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        let child = Command::new(&binary)
            .args(&self.command[1..])
            .current_dir(workspace())
            .env_clear()
            .envs(inherited)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{}: {error}", binary.display())));
    }

    /// Sets a variable for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Takes all variables away for the next start.
    pub fn unset_all(&mut self) {
        self.environment.clear();
    }

    /// Takes a variable away for the next start.
    pub fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// SIGKILL: it gets no chance to do anything. Returns when it is gone.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("only what runs can be killed");
        child.kill().await.expect("a child can be killed");
    }

    /// SIGTERM: asks it to stop.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// SIGSTOP: it stands still, its connections open, until it is [thawed](Self::thaw).
    ///
    /// # Panics
    /// When it does not run.
    pub async fn freeze(&self) {
        self.signal("STOP").await;
    }

    /// SIGCONT: it goes on as if no time had passed.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) {
        let pid = self.pid();
        // The shell's own `kill`: a minimal system has no other.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status().await;
        assert!(sent.expect("there is a shell").success(), "{} is gone already", self.name);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within a minute, or does not run.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("only what runs can end");
        match tokio::time::timeout(STOP_MAX, child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("{} does not end within {STOP_MAX:?}:\n{}", self.name, self.tail(40)),
        }
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// When it does not end within a minute, or does not run.
    pub async fn stop(&mut self) -> ExitStatus {
        self.terminate().await;
        self.ended().await
    }

    /// Whether it has been started and not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("only what runs has a process id")
    }

    /// What it is called in logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything that it has printed, over all of its lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines that it has printed, and where the rest is.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<_> = log.lines().collect();
        let last = all[all.len().saturating_sub(lines)..].join("\n");
        format!("--- {} ({})\n{last}\n", self.name, self.log.display())
    }

    /// Waits until it has printed `text` once more than the `before` times so far.
    ///
    /// # Panics
    /// When it does not, or ends meanwhile.
    pub async fn prints(&mut self, text: &str, before: usize) {
        let what = format!("{} prints {text:?}", self.name);
        // No closure that borrows the program: a future that holds one cannot be spawned.
        let until = Instant::now() + PATIENCE;
        while self.log().matches(text).count() <= before {
            assert!(self.is_running(), "{} ended:\n{}", self.name, self.tail(40));
            assert!(Instant::now() < until, "it is not so within {PATIENCE:?} that {what}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// What it holds in memory now.
    ///
    /// # Errors
    /// When it does not run.
    pub fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).context(path)?;
        let kib = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            let number = number.with_context(|| format!("{} has no {name}", self.name))?;
            Ok(number.parse()?)
        };
        Ok(Memory { resident: kib("VmRSS:")?, own: kib("RssAnon:")? })
    }

    fn open_log(&self) -> std::io::Result<File> {
        if let Some(directory) = self.log.parent() {
            fs::create_dir_all(directory)?;
        }
        OpenOptions::new().create(true).append(true).open(&self.log)
    }
}

/// A program of this workspace. They are built first, once for all tests of a process: cargo does not build
/// the binaries of other packages for a test, and a stale one would be tested in silence.
fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let directory = build_directory();
    BUILT.get_or_init(|| build(&directory));
    directory.join(name)
}

fn build(directory: &Path) {
    let Some(cargo) = std::env::var_os("CARGO") else { return };
    let mut command = std::process::Command::new(cargo);
    command.current_dir(workspace());
    // With a test beside them, which is there already: without any, features of dependencies that only tests want are
    // left out, and most of the workspace is built a second time.
    command.args(["build", "--workspace", "--bins", "--test", "e2e", "--quiet"]);
    // What cargo passes to a test about its own package would make build scripts that look at it run again.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let of_package =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|it| name.starts_with(it));
        if of_package || matches!(name.as_str(), "OUT_DIR" | "LD_LIBRARY_PATH") {
            command.env_remove(name);
        }
    }
    if let Some(target) = directory.parent() {
        command.arg("--target-dir").arg(target);
    }
    if directory.ends_with("release") {
        command.arg("--release");
    }
    let built = command.status().expect("cargo runs");
    assert!(built.success(), "the programs under test do not build");
}
