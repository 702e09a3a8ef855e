//! A receiver of traces that somebody else has written: oteltap, from PyPI.

use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::traces::Seen;
use super::{PATIENCE, poll};

/// oteltap as a process, killed when dropped.
#[derive(Debug)]
pub struct Tap {
    port: u16,
    output: std::path::PathBuf,
    _process: tokio::process::Child,
}

impl Tap {
    /// Starts it.
    ///
    /// # Panics
    /// When it is not there, or does not listen within a minute.
    pub async fn start() -> Self {
        let program = std::env::var("SKEIN_TEST_OTELTAP").expect(
            "this test needs oteltap: run it by tests/run, or set SKEIN_TEST_WITHOUT_PYPI=1 to go without",
        );
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let name = format!("skein_oteltap_{}", uuid::Uuid::new_v4().simple());
        let output = std::env::temp_dir().join(name);
        let stdout = std::fs::File::create(&output).expect("a directory for temporary files");
        let stderr = stdout.try_clone().expect("a file can be shared");
        let process = Command::new(&program)
            .args(["--port", &port.to_string()])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let tap = Self { port, output, _process: process };
        let listens =
            poll(PATIENCE, async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok());
        assert!(listens.await.is_some(), "{program} does not listen: {}", tap.complaints());
        tap
    }

    /// Its base URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The spans so far: one a line, among log records, metrics and words.
    #[must_use]
    pub fn spans(&self) -> Vec<Seen> {
        let output = std::fs::read_to_string(&self.output).unwrap_or_default();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter_map(|line| Seen::from_json(&line).ok())
            .filter(|span| !span.name.is_empty())
            .collect()
    }

    fn complaints(&self) -> String {
        let output = std::fs::read_to_string(&self.output).unwrap_or_default();
        output.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.output);
    }
}
