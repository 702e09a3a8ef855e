//! The command, started as a person does.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Instant;

use super::server::PATIENCE;

/// A workflow that can be sent; what a server says of it is up to the test.
const WORKFLOW: &str = "\
name: w
nodes:
  - id: a
    type: transform
    params:
      value: {}
";

/// A directory that is gone after the test.
pub(crate) struct TestDirectory(PathBuf);

impl TestDirectory {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // What an earlier test run has left.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory can be made");
        fs::write(path.join("w.yaml"), WORKFLOW).expect("a file can be written");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The command within the directory, with nothing of this process's environment.
    pub(crate) fn skein(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
        command.args(args).current_dir(&self.0).env_clear().stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What has come of the command.
    pub(crate) fn call(&self, args: &[&str]) -> Called {
        let ended = self.skein(args).output().expect("skein can be started");
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        Called { code: ended.status.code(), stdout: text(ended.stdout), stderr: text(ended.stderr) }
    }

    /// What has come of the command on a server.
    pub(crate) fn call_on(&self, url: &str, args: &[&str]) -> Called {
        self.call(&[args, &["--url", url, "--key", "a-key"]].concat())
    }

    /// `skein run` of the workflow on a server.
    pub(crate) fn run(&self, url: &str, flags: &[&str]) -> Running {
        self.begin(&[&["run", "w.yaml", "--url", url, "--key", "a-key"], flags].concat())
    }

    /// The command, under way.
    pub(crate) fn begin(&self, args: &[&str]) -> Running {
        Running::of(self.skein(args).spawn().expect("skein can be started"))
    }

    /// Writes a file into the directory.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file can be written");
    }
}

/// What has come of a command.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command that has been started. It does not outlive its test.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn of(mut child: Child) -> Self {
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        Self { child, stderr }
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal("INT");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id();
        // The shell's own `kill`: a minimal system has no other.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status();
        assert!(sent.expect("there is a shell").success());
    }

    /// Waits until a line with this part stands on standard error, and returns that line.
    pub(crate) fn says(&mut self, part: &str) -> String {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            let count = self.stderr.read_line(&mut line).expect("it is text");
            assert!(count > 0, "it never says {part:?}: {before}");
            if line.contains(part) {
                return line;
            }
            before.push_str(&line);
        }
    }

    /// Waits for its end; its exit code and what it wrote to standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        let mut text = String::new();
        self.stderr.read_to_string(&mut text).expect("it is text");
        (status.code(), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
