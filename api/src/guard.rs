//! Bounds around every request: how many at a time, for how long, and no panic gets out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::app::App;
use crate::limits::WAIT_SECONDS_MAX;
use crate::problem::{Kind, Problem};

/// Serves the request within the bounds.
///
/// When the time is up the handler is dropped; writes go on, because tasks of their own make them.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = app.requests.try_acquire() else {
        let detail = format!("{} requests are being served already", app.limits.requests);
        return Problem::new(Kind::Overloaded, detail).into_response();
    };
    // `wait` bounds itself; here it only may not be cut short.
    let waits = request.uri().query().is_some_and(|query| query.contains("wait="));
    let wait =
        if waits { Duration::from_secs(u64::from(WAIT_SECONDS_MAX)) } else { Duration::ZERO };
    let bound = app.limits.request_time + wait;
    contain(bound, next.run(request)).await
}

/// The response, unless it takes too long or panics.
async fn contain(bound: Duration, response: impl Future<Output = Response>) -> Response {
    let served = AssertUnwindSafe(tokio::time::timeout(bound, response)).catch_unwind();
    match served.await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!(bound_ms = bound.as_millis(), "a request took too long");
            Problem::new(Kind::Unavailable, "the request took too long").into_response()
        }
        Err(panic) => {
            Problem::internal(format_args!("panic: {}", message(&*panic))).into_response()
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

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_hangs_or_panics_is_answered_for() {
        let bound = Duration::from_secs(1);
        let hung = contain(bound, std::future::pending()).await;
        assert_eq!(hung.status(), StatusCode::SERVICE_UNAVAILABLE);
        let panicked = contain(bound, async { panic!("at the disco") }).await;
        assert_eq!(panicked.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let fine = contain(bound, async { StatusCode::OK.into_response() }).await;
        assert_eq!(fine.status(), StatusCode::OK);
    }
}
