//! A way to a server that can be cut and mended.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// They end, and new ones end at once.
    Cut,
    /// They stay and nothing comes through any more: what a lost route looks like.
    Silent,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Far {
    /// At a host's port.
    Tcp(String, u16),
    /// At a socket in the file system.
    Unix(PathBuf),
}

/// Forwards TCP from a loopback port to a server.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    way: Arc<watch::Sender<Way>>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start(far: Far) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let way = Arc::new(watch::Sender::new(Way::Open));
        let ways = Arc::clone(&way);
        let task = tokio::spawn(async move {
            let connections = TaskTracker::new();
            let gone = CancellationToken::new();
            let _gone = gone.clone().drop_guard();
            while let Ok((near, _)) = listener.accept().await {
                let forward = forward(near, far.clone(), ways.subscribe());
                connections.spawn(gone.clone().run_until_cancelled_owned(forward));
            }
        });
        Self { address, way, _task: AbortOnDropHandle::new(task) }
    }

    /// The port to connect to in place of the server's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends all connections, and all new ones at once.
    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Lets nothing through any more and says nothing about it.
    pub fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    /// Forwards again. Connections that were silenced end: what they carried is lost.
    pub fn mend(&self) {
        self.way.send_replace(Way::Open);
    }

    /// Ends all connections; new ones are forwarded.
    pub fn reset(&self) {
        self.cut();
        self.mend();
    }
}

async fn forward(mut near: TcpStream, far: Far, mut way: watch::Receiver<Way>) {
    let is_open = *way.borrow_and_update() == Way::Open;
    let mut forward = std::pin::pin!(async {
        // An error is an end like any other.
        let _ = match far {
            Far::Tcp(host, port) => match TcpStream::connect((host, port)).await {
                Ok(mut far) => copy_bidirectional(&mut near, &mut far).await,
                Err(error) => Err(error),
            },
            Far::Unix(path) => match UnixStream::connect(path).await {
                Ok(mut far) => copy_bidirectional(&mut near, &mut far).await,
                Err(error) => Err(error),
            },
        };
    });
    if is_open {
        tokio::select! {
            () = &mut forward => return,
            // Any change, so that a cut which is mended at once is felt too.
            _ = way.changed() => {}
        }
    }
    // Both ends stay as they are for as long as nothing is to be heard.
    let _ = way.wait_for(|way| *way != Way::Silent).await;
}
