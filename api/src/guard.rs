//! Bounds around every request: what its headers may be, how long it may take, and no panic gets out.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, Request};
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::app::App;
use crate::connections::ReservedConnection;
use crate::limits::HEADER_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};

/// How long the request may still take. A handler that waits for something of its own, and bounds that, asks for as
/// much more before it does.
#[derive(Debug, Clone)]
pub(crate) struct TimeBound(Arc<Mutex<Instant>>);

impl TimeBound {
    fn new(bound: Duration) -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + bound)))
    }

    /// Leaves this much from now on, if that is more than there is.
    pub(crate) fn leave(&self, time: Duration) {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Instant::now() + time);
    }

    fn until(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the time is up.
    async fn run_out(&self) {
        while Instant::now() < self.until() {
            tokio::time::sleep_until(self.until()).await;
        }
    }
}

impl<S: Sync> FromRequestParts<S> for TimeBound {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let bound = parts.extensions.get::<Self>().cloned();
        bound.ok_or_else(|| Problem::internal("a route stands outside of the guard"))
    }
}

/// Serves the request within the bounds.
///
/// When the time is up the handler is dropped; writes go on, because tasks of their own make them.
pub(crate) async fn guard(app: &App, mut request: Request, next: Next) -> Response {
    if head_bytes(&request) > HEADER_BYTES_MAX {
        let detail = format!("a request's line and headers may have {HEADER_BYTES_MAX} bytes");
        return Problem::new(ProblemKind::HeadersTooLarge, detail).into_response();
    }
    if let Err(problem) = check_host(request.version(), request.headers()) {
        return problem.into_response();
    }
    if request.extensions().get::<ReservedConnection>().is_some() && !is_probe(request.uri().path())
    {
        let detail = "all connections are taken; try again";
        return Problem::new(ProblemKind::Overloaded, detail).into_response();
    }
    let bound = TimeBound::new(app.limits.request_time);
    request.extensions_mut().insert(bound.clone());
    contain(&bound, next.run(request)).await
}

/// Whether the path is one that an orchestrator asks.
fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz")
}

/// Whether there is one `Host`: of two, whoever stands before this server may have believed the other.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(|host| Authority::try_from(host.as_bytes()));
    match host {
        Some(_) if hosts.next().is_some() => {
            Err(Problem::header("host", "is there twice", "one header"))
        }
        Some(Ok(host)) if !host.as_str().contains('@') => Ok(()),
        None if version < Version::HTTP_11 => Ok(()),
        Some(_) => Err(Problem::header("host", "cannot be read", "a name, and perhaps a port")),
        None => Err(Problem::header("host", "is missing", "the server's name")),
    }
}

/// What the line and the headers of a request take as they are sent. A connection looks only whether its buffer is
/// full, and one read may bring more than that.
fn head_bytes(request: &Request) -> usize {
    /// Two spaces, the version and the end of the line.
    const LINE: usize = "  HTTP/1.1\r\n".len();
    /// What stands around a name and a value.
    const FIELD: usize = ": \r\n".len();
    let uri = request.uri().path_and_query().map_or(0, |it| it.as_str().len());
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    request.method().as_str().len() + uri + LINE + fields.sum::<usize>()
}

/// The response, unless it takes too long or panics.
async fn contain(bound: &TimeBound, response: impl Future<Output = Response>) -> Response {
    let began = Instant::now();
    let served = AssertUnwindSafe(response).catch_unwind();
    tokio::select! {
        biased;
        served = served => served.unwrap_or_else(|panic| {
            Problem::internal(format_args!("panic: {}", message(&*panic))).into_response()
        }),
        () = bound.run_out() => {
            tracing::error!(after_ms = began.elapsed().as_millis(), "a request took too long");
            let detail = "the request took too long; whether it has done something is not known";
            Problem::new(ProblemKind::TimedOut, detail).into_response()
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_head_of_a_request_is_counted_as_it_was_sent() {
        let head = "GET /v1/runs?limit=1 HTTP/1.1\r\nhost: a\r\nx-note: b c\r\n";
        let request = Request::get("/v1/runs?limit=1").header("Host", "a").header("x-note", "b c");
        assert_eq!(head_bytes(&request.body(axum::body::Body::empty()).unwrap()), head.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_hangs_or_panics_is_answered_for() {
        let hung = contain(&TimeBound::new(SECOND), std::future::pending()).await;
        assert_eq!(hung.status(), StatusCode::SERVICE_UNAVAILABLE);
        let panicked = contain(&TimeBound::new(SECOND), async { panic!("at the disco") }).await;
        assert_eq!(panicked.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let fine = async { StatusCode::OK.into_response() };
        assert_eq!(contain(&TimeBound::new(SECOND), fine).await.status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_gets_the_time_that_it_asks_for_and_no_more() {
        for (asked, needed, status) in [(60, 59, 200), (60, 61, 503), (0, 2, 503)] {
            let bound = TimeBound::new(SECOND);
            let response = async {
                tokio::time::sleep(SECOND / 2).await;
                bound.leave(SECOND * asked);
                tokio::time::sleep(SECOND * needed).await;
                StatusCode::OK.into_response()
            };
            let began = Instant::now();
            assert_eq!(contain(&bound, response).await.status().as_u16(), status);
            assert!(began.elapsed() < SECOND * 62);
        }
    }
}
