//! The handlers, a file for each group of endpoints.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

pub(crate) mod health;
pub(crate) mod logs;
pub(crate) mod nodes;
pub(crate) mod runs;
pub(crate) mod workflows;

/// A JSON answer.
fn json(status: StatusCode, body: impl Serialize) -> Response {
    (status, Json(body)).into_response()
}
