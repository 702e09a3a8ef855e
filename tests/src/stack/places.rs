//! Where the programs of a stack lie, listen and write.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

/// Where cargo puts what it builds for this profile: `target/debug`.
pub(super) fn build_directory() -> PathBuf {
    let test = std::env::current_exe().expect("a test has an executable");
    let directory = test.parent().and_then(Path::parent).expect("tests lie in target/debug/deps");
    directory.to_owned()
}

/// The root of the project.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a member")
}

/// A directory for the logs of one case, empty.
pub(super) fn log_directory(label: &str) -> PathBuf {
    let target = build_directory();
    let target = target.parent().expect("the build directory lies in the target directory");
    let logs = target.join("e2e-logs").join(label);
    let _ = std::fs::remove_dir_all(&logs);
    logs
}

/// A port for a program that must keep it over restarts. Below the range that the system picks ports for
/// outgoing connections from, so nobody takes it while the program is down.
///
/// # Panics
/// Never: a process has fewer than 65,536 ports.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("below the count");
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
