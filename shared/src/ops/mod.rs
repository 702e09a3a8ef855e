//! What operators ask a process: whether it lives, whether it is ready, and its metrics. An HTTP server of its own, so
//! that it can listen where only they reach it: it answers anybody, and shows nothing of any tenant.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ListenAddress;
use crate::telemetry::Scrape;

mod answer;
mod serve;

/// How long somebody who asks whether a process is ready waits for that at most.
const READY_TIME_MAX: Duration = Duration::from_secs(3);

/// Whether a process is ready to do what it is for.
#[async_trait]
pub trait Ready: Send + Sync + 'static {
    /// Asked at each probe. MUST NOT change anything, and MUST end soon.
    ///
    /// # Errors
    /// Why not, in one line that may be shown to anybody.
    async fn ready(&self) -> Result<(), String>;
}

/// Several parts of one process: it is ready when all of them are.
pub struct AllReady(pub Vec<Arc<dyn Ready>>);

#[async_trait]
impl Ready for AllReady {
    async fn ready(&self) -> Result<(), String> {
        for part in &self.0 {
            part.ready().await?;
        }
        Ok(())
    }
}

/// The server, if there is one. Ends with [`Self::stop`].
#[must_use = "it stops answering when it is stopped, and not before"]
pub struct Ops {
    shared: Arc<Shared>,
    address: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What answers are made of.
struct Shared {
    /// Set when the process has come so far that this can be asked.
    ready: OnceLock<Arc<dyn Ready>>,
    /// `None` where the process has no metrics.
    scrape: Option<Scrape>,
}

impl Ops {
    /// Listens at `listen`, or nowhere. It lives from now on, and is ready when [`Self::is_ready_when`] says so.
    ///
    /// # Errors
    /// When the address cannot be listened at.
    pub async fn start(listen: Option<&ListenAddress>, scrape: Option<Scrape>) -> io::Result<Self> {
        let shared = Arc::new(Shared { ready: OnceLock::new(), scrape });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut address = None;
        if let Some(listen) = listen {
            let listener = TcpListener::bind(listen.as_str()).await.map_err(|error| {
                let what =
                    format!("cannot listen at {} (SKEIN_OPS_LISTEN): {error}", listen.as_str());
                io::Error::new(error.kind(), what)
            })?;
            let bound = listener.local_addr()?;
            tracing::info!(address = %bound, "probes and metrics are answered");
            address = Some(bound);
            tasks.spawn(serve::serve(listener, Arc::clone(&shared), stop.clone(), tasks.clone()));
        }
        Ok(Self { shared, address, stop, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Who knows from now on whether the process is ready. Only the first call counts.
    pub fn is_ready_when(&self, ready: Arc<dyn Ready>) {
        let _ = self.shared.ready.set(ready);
    }

    /// Stops answering.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Shared {
    async fn ready(&self) -> Result<(), String> {
        let Some(ready) = self.ready.get() else { return Err("it is starting".to_owned()) };
        tokio::time::timeout(READY_TIME_MAX, ready.ready())
            .await
            .unwrap_or_else(|_| Err("it does not know in time".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    struct Fixed(Result<(), String>);

    #[async_trait]
    impl Ready for Fixed {
        async fn ready(&self) -> Result<(), String> {
            self.0.clone()
        }
    }

    async fn ask(ops: &Ops, request: &str) -> String {
        let address = ops.address().expect("it listens");
        let mut stream = TcpStream::connect(address).await.expect("it accepts");
        let head = format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    #[tokio::test]
    async fn a_process_lives_before_it_is_ready_and_says_why_it_is_not() {
        let listen = "127.0.0.1:0".parse().unwrap();
        let ops = Ops::start(Some(&listen), None).await.unwrap();
        assert!(ask(&ops, "GET /livez").await.starts_with("HTTP/1.1 200 "));
        let starting = ask(&ops, "GET /readyz").await;
        assert!(
            starting.starts_with("HTTP/1.1 503 ") && starting.ends_with("\r\nit is starting\n")
        );
        let parts: Vec<Arc<dyn Ready>> =
            vec![Arc::new(Fixed(Ok(()))), Arc::new(Fixed(Err("no store".to_owned())))];
        ops.is_ready_when(Arc::new(AllReady(parts)));
        assert!(ask(&ops, "GET /readyz").await.ends_with("\r\nno store\n"));
        assert!(ask(&ops, "GET /metrics").await.starts_with("HTTP/1.1 404 "));
        let refused = ask(&ops, "POST /livez").await;
        assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("GET, HEAD"), "{refused}");
        assert!(ask(&ops, "HEAD /livez").await.ends_with("\r\n\r\n"), "without a body");
        let address = ops.address().unwrap();
        ops.stop().await;
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn nobody_listens_where_no_address_is_given() {
        let ops = Ops::start(None, None).await.unwrap();
        assert_eq!(ops.address(), None);
        ops.stop().await;
    }
}
