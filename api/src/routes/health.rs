//! Probes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::limits::READY_TIME_MAX;
use crate::problem::{Problem, ProblemKind};

/// The answer of a probe.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// Whether the process runs. Asks nobody: a process is not to be restarted because its store is down.
#[utoipa::path(get, path = "/livez", operation_id = "getLiveness", tag = "health", responses((status = 200, body = Health)))]
pub(crate) async fn live() -> Json<Health> {
    OK
}

/// Whether requests should be sent here: the store answers, and the process is not shutting down. The
/// broker is not asked, because runs are accepted without it.
#[utoipa::path(get, path = "/readyz", operation_id = "getReadiness", tag = "health", responses((status = 200, body = Health)))]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Health>, Problem> {
    if app.shutdown.is_cancelled() {
        return Err(Problem::shutting_down());
    }
    match tokio::time::timeout(READY_TIME_MAX, app.store.ping()).await {
        Ok(pinged) => pinged?,
        Err(_) => {
            return Err(Problem::new(ProblemKind::Unavailable, "the store does not answer"));
        }
    }
    Ok(OK)
}
