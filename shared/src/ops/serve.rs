//! Connections, within limits: whoever reaches the listener can cost the process little.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Shared, answer};

/// Connections at a time: a probe and some scrapers, with room to spare. Others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// How long the headers of a request may take to come in.
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a connection may take in all: one request, what is asked for it, and an answer that is taken slowly.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(15);
/// Bytes that are read ahead at most, headers included. hyper wants 8 KiB at least.
const BUFFER_BYTES_MAX: usize = 8 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 32;
/// The pause after an accept that failed for want of resources, which time may bring back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accept = async {
        loop {
            // Never closed.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (shared, stop) = (Arc::clone(&shared), stop.clone());
                    tasks.spawn(async move {
                        let _permit = permit;
                        let connection = connection(stream, &shared);
                        let timed = tokio::time::timeout(CONNECTION_TIME_MAX, connection);
                        stop.run_until_cancelled(timed).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection to the operators' listener");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept).await;
}

/// One request.
async fn connection(stream: TcpStream, shared: &Shared) {
    let service = service_fn(move |request: hyper::Request<Incoming>| async move {
        let answer = answer::answer(shared, request.method(), request.uri().path()).await;
        Ok::<_, Infallible>(answer)
    });
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .keep_alive(false)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    if let Err(error) = protocol.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the operators' listener ended badly");
    }
}
