//! Accepting connections: a bounded number of them, fairly shared, each bounded in what its headers may cost and in how
//! long it may keep the server waiting.
//!
//! `axum::serve` takes neither a bound for headers nor one for connections, so the loop is written
//! out on hyper.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::limits::{
    HEADER_BYTES_MAX, HEADERS_MAX, Limits, SEND_BUFFER_BYTES, SPARE_CONNECTIONS_MAX,
    SPARE_TIME_MAX, WRITE_BYTES_PER_SECOND_MIN,
};
use crate::server_span::ClientAddress;
use line::{Answering, Line};
use places::{Place, Places};
use stream::{Patience, PatientStream};

mod line;
mod places;
mod stream;

/// The pause after an accept that failed for want of resources, which time may bring back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// On a request that came by a spare connection: there was no place, and only probes are answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spare;

/// Serves until `shutdown`, then lets requests in flight end for as long as the limits say.
pub(crate) async fn serve(
    listener: &TcpListener,
    router: Router,
    limits: &Limits,
    shutdown: &CancellationToken,
) {
    if let Err(error) = bound_send_buffers(listener) {
        tracing::warn!(%error, "cannot bound what the kernel holds of answers");
    }
    let connections = TaskTracker::new();
    let (usual, spare) = (Kind::usual(limits), Kind::spare(limits));
    let abort = CancellationToken::new();
    while let Some((stream, peer)) = next(listener, &usual.places, shutdown).await {
        let place = |kind: &Kind| kind.places.take(peer.ip()).map(|place| (kind.clone(), place));
        let Some((kind, place)) = place(&usual).or_else(|| place(&spare)) else {
            tracing::debug!(client.address = %peer.ip(), "no place for a connection");
            continue;
        };
        // Answers are small and written at once: waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let evicted = place.evicted().clone();
        let connection = connection(kind, stream, peer, place, router.clone(), shutdown.clone());
        let abort = abort.clone();
        connections.spawn(async move {
            evicted.run_until_cancelled(abort.run_until_cancelled(connection)).await;
        });
    }
    connections.close();
    if tokio::time::timeout(limits.drain_time, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "cutting off requests that do not end");
        abort.cancel();
        connections.wait().await;
    }
}

/// Bounds what the kernel takes of an answer before its client does, on all connections that will be accepted. By itself
/// that grows to some megabytes for each, and belongs to no key.
fn bound_send_buffers(listener: &TcpListener) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;

        let same = std::net::TcpStream::from(listener.as_fd().try_clone_to_owned()?);
        TcpSocket::from_std_stream(same).set_send_buffer_size(SEND_BUFFER_BYTES)?;
    }
    Ok(())
}

/// The usual connections, or those that are there when no other place is.
#[derive(Clone)]
struct Kind {
    places: Arc<Places>,
    protocol: Arc<http1::Builder>,
    patience: Patience,
    is_spare: bool,
}

impl Kind {
    fn usual(limits: &Limits) -> Self {
        let patience = Patience {
            first_byte: limits.first_byte_time,
            head: limits.head_time,
            idle: limits.idle_time,
            write: limits.write_time,
            write_rate: WRITE_BYTES_PER_SECOND_MIN,
        };
        let protocol = Arc::new(protocol());
        Self { places: Places::usual(limits.connections), protocol, patience, is_spare: false }
    }

    fn spare(limits: &Limits) -> Self {
        let patience = Patience {
            first_byte: SPARE_TIME_MAX,
            head: SPARE_TIME_MAX,
            idle: SPARE_TIME_MAX,
            write: SPARE_TIME_MAX,
            ..Self::usual(limits).patience
        };
        let mut protocol = protocol();
        protocol.keep_alive(false);
        let protocol = Arc::new(protocol);
        Self { places: Places::spare(SPARE_CONNECTIONS_MAX), protocol, patience, is_spare: true }
    }
}

fn protocol() -> http1::Builder {
    let mut protocol = http1::Builder::new();
    // The stream sees to the time.
    protocol.header_read_timeout(None).max_headers(HEADERS_MAX).max_buf_size(HEADER_BYTES_MAX);
    protocol
}

/// The next connection; `None` at shutdown.
async fn next(
    listener: &TcpListener,
    places: &Places,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    let accept = async {
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    // Perhaps somebody else has taken the descriptors.
                    places.evict_one();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await
}

/// Whether the error is about a connection that was gone before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

async fn connection(
    kind: Kind,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    router: Router,
    shutdown: CancellationToken,
) {
    let line = Arc::new(Line::new(place));
    let stream = PatientStream::new(stream, Arc::clone(&line), kind.patience);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        line.serve();
        let line = Arc::clone(&line);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ClientAddress(peer.ip()));
        if kind.is_spare {
            request.extensions_mut().insert(Spare);
        }
        let answer = router.clone().oneshot(request);
        async move { answer.await.map(|answer| answer.map(|body| Answering::new(body, line))) }
    });
    let connection = kind.protocol.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended badly");
    }
}
