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

use crate::holding_body::HoldingBody;
use crate::limits::{
    HEADER_BYTES_MAX, HEADERS_MAX, Limits, RESERVED_CONNECTIONS_MAX, RESERVED_TIME_MAX,
    SEND_BUFFER_BYTES, WRITE_BYTES_PER_SECOND_MIN,
};
use crate::server_span::ClientAddress;
use permits::{Permit, Permits};
use state::{Answering, ConnectionState};
use stream::{TimeoutStream, Timeouts};

mod permits;
mod state;
mod stream;

/// The pause after an accept that failed for want of resources, which time may bring back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// On a request that came by a reserved connection: there was no other permit, and only probes are answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReservedConnection;

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
    let (regular, reserved) = (ConnectionClass::regular(limits), ConnectionClass::reserved(limits));
    let abort = CancellationToken::new();
    while let Some((stream, peer)) = next(listener, &regular.permits, shutdown).await {
        let permit = |class: &ConnectionClass| {
            class.permits.take(peer.ip()).map(|permit| (class.clone(), permit))
        };
        let Some((class, permit)) = permit(&regular).or_else(|| permit(&reserved)) else {
            tracing::debug!(client.address = %peer.ip(), "no place for a connection");
            continue;
        };
        // Answers are small and written at once: waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let evicted = permit.evicted().clone();
        let connection = connection(class, stream, peer, permit, router.clone(), shutdown.clone());
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

/// The regular connections, or those that are reserved for when no permit is left.
#[derive(Clone)]
struct ConnectionClass {
    permits: Arc<Permits>,
    protocol: Arc<http1::Builder>,
    timeouts: Timeouts,
    is_reserved: bool,
}

impl ConnectionClass {
    fn regular(limits: &Limits) -> Self {
        let timeouts = Timeouts {
            first_byte: limits.first_byte_time,
            head: limits.head_time,
            idle: limits.idle_time,
            write: limits.write_time,
            write_rate: WRITE_BYTES_PER_SECOND_MIN,
        };
        let protocol = Arc::new(protocol());
        Self {
            permits: Permits::regular(limits.connections),
            protocol,
            timeouts,
            is_reserved: false,
        }
    }

    fn reserved(limits: &Limits) -> Self {
        let timeouts = Timeouts {
            first_byte: RESERVED_TIME_MAX,
            head: RESERVED_TIME_MAX,
            idle: RESERVED_TIME_MAX,
            write: RESERVED_TIME_MAX,
            ..Self::regular(limits).timeouts
        };
        let mut protocol = protocol();
        protocol.keep_alive(false);
        let protocol = Arc::new(protocol);
        Self {
            permits: Permits::reserved(RESERVED_CONNECTIONS_MAX),
            protocol,
            timeouts,
            is_reserved: true,
        }
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
    permits: &Permits,
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
                    permits.evict_one();
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
    class: ConnectionClass,
    stream: TcpStream,
    peer: SocketAddr,
    permit: Permit,
    router: Router,
    shutdown: CancellationToken,
) {
    let state = Arc::new(ConnectionState::new(permit));
    let stream = TimeoutStream::new(stream, Arc::clone(&state), class.timeouts);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        state.serve();
        let state = Arc::clone(&state);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ClientAddress(peer.ip()));
        if class.is_reserved {
            request.extensions_mut().insert(ReservedConnection);
        }
        let answer = router.clone().oneshot(request);
        async move {
            let held = |body| HoldingBody { body, _held: Answering(state) };
            answer.await.map(|answer| answer.map(held))
        }
    });
    let connection = class.protocol.serve_connection(TokioIo::new(stream), service);
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
