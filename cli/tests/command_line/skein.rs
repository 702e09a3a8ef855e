//! The command, started as a person does.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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

    /// `skein run` of the workflow on a server.
    pub(crate) fn run(&self, url: &str, flags: &[&str]) -> Running {
        let args = [&["run", "w.yaml", "--url", url, "--key", "a-key"], flags].concat();
        Running(self.skein(&args).spawn().expect("skein can be started"))
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command that has been started. It does not outlive its test.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let id = self.0.id();
        // The shell's own `kill`: a minimal system has no other.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -INT {id}")).status();
        assert!(sent.expect("there is a shell").success());
    }

    /// Waits for its end; its exit code and what it wrote to standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.0.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        let mut text = String::new();
        let stderr = self.0.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut text).expect("it is text");
        (status.code(), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
