//! The API: HTTP in, run row and message out.
//!
//! In reading order: `router` has every route and layer, `accept` is the step that makes a run,
//! `wait` answers when it ends.

mod router;

mod auth;
mod connections;
mod descriptors;
mod guard;
mod holding_body;
mod hosts;
mod key_uses;
mod keyed_routes;
mod known_keys;
mod route_needs;
mod server_span;
mod shares;

mod accept;
mod accept_batch;
mod analysis;
mod check;
mod fingerprint;
mod key_request;
mod lineage;
mod plans;
mod rebuild;
mod routes;
mod start_request;
mod unpublished;
mod wait;

mod event_stream;
mod sse;
mod tails;

mod answers;
mod body;
mod broad_reads;
mod budget_request;
mod cursor;
mod decision_request;
mod docs;
mod dto;
mod openapi;
mod parameters;
mod path_parameters;
mod problem;
mod span_position;
mod static_file;

mod app;
mod bootstrap;
pub mod limits;
mod random_key;
mod read_permits;
mod ready;
mod trace_view;
mod words;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use app::Deps;
pub use auth::digest;
pub use bootstrap::ensure_bootstrap_key;
pub use hosts::Hosts;
pub use limits::Limits;
pub use random_key::{NoRandomNumbers, RandomKey};
pub use ready::ApiReady;
pub use trace_view::TraceView;

/// Serves the API on `listener` until `shutdown`. Raises the process's soft limit of open descriptors, as far as the
/// connections need that.
///
/// Then it accepts no more connections, ends every wait for a run with 202, lets requests in flight
/// end (bounded by [`Limits::drain_time`]) and returns when what they have written is committed and
/// handed to the dispatcher. Store, broker and dispatcher stay open: they belong to the caller.
pub async fn serve(listener: TcpListener, deps: Deps, limits: Limits, shutdown: CancellationToken) {
    let limits = limits.within(descriptors::connections_max());
    let tasks = TaskTracker::new();
    let app = app::App::start(deps, limits, &tasks, shutdown.clone());
    connections::serve(&listener, router::router(app), &limits, &shutdown).await;
    drop(listener);
    tasks.close();
    if tokio::time::timeout(limits.drain_time, tasks.wait()).await.is_err() {
        tracing::warn!(tasks = tasks.len(), "writes are still under way");
    }
}

/// The OpenAPI document of the routes, as JSON.
#[must_use]
pub fn openapi_json() -> String {
    router::openapi()
}
