//! PgBouncer, the pooler that people put in front of PostgreSQL, as a process of a test's own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::postgres::OwnDatabase;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pooler in front of a database. Killed when dropped.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    name: String,
    settings: PathBuf,
    _child: Child,
}

impl Pooler {
    /// Starts one that hands its sessions out for a `session`, a `transaction` or a `statement`. Whoever connects is let
    /// in and reaches the database as the user of `DATABASE_URL`.
    ///
    /// # Panics
    /// When there is no PgBouncer, which `tests/services` installs.
    pub async fn start(database: &OwnDatabase, mode: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let port = free.local_addr().expect("a bound socket has an address").port();
        drop(free);
        let name = database.name().to_owned();
        let settings = std::env::temp_dir().join(format!("{name}_{mode}.ini"));
        let text = format!(
            "[databases]\n{name} = {}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\n",
            database.connection_string(),
        );
        // It refuses to run as root, and becomes somebody else when it is asked to.
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| {
            use std::os::unix::fs::MetadataExt;
            own.uid() == 0
        });
        let text = if is_root { format!("{text}user = nobody\n") } else { text };
        fs::write(&settings, text).expect("a temporary file");
        let child = Command::new(program())
            .arg("-q")
            .arg(&settings)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("PgBouncer starts");
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < until, "PgBouncer does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { port, name, settings, _child: child }
    }

    /// The database past the pooler.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://skein@127.0.0.1:{}/{}", self.port, self.name)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // What stays is a small file that the next cleaning of the machine takes away.
        let _ = fs::remove_file(&self.settings);
    }
}

/// Debian puts it where only root's `PATH` leads.
fn program() -> &'static Path {
    let debians = Path::new("/usr/sbin/pgbouncer");
    if debians.exists() { debians } else { Path::new("pgbouncer") }
}
