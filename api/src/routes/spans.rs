//! The spans of a run, for a collector that has not got them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use skein_shared::telemetry::resource_spans;
use utoipa::ToSchema;

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::cursor::Listing;
use crate::parameters::{CURSOR, Parameters, Query as _, query};
use crate::path_parameters::RunPath;
use crate::problem::Problem;
use crate::rebuild::rebuild;
use crate::span_position::SpanPosition;

query! {
    /// Which spans are shown.
    pub(crate) struct SpansQuery {
        /// The `next_cursor` of the page before.
        #[param(value_type = String, required = false, min_length = 1, max_length = 2048)]
        cursor: String = CURSOR,
    }
}

/// A page of spans: an `ExportTraceServiceRequest` of OTLP in its JSON encoding, with one field more, which collectors
/// pass over.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SpanList {
    /// The spans, below the services that made them.
    #[serde(rename = "resourceSpans")]
    resource_spans: Vec<Value>,
    /// Where the next page starts; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// The spans of a run, made once more from its rows, with the ids that they had the first time: for what was not sampled,
/// died with its process, or ended while the collector was down. They carry `skein.rebuilt`. Of a run that is under way,
/// there is what has ended by now. A page can be sent to a collector's `/v1/traces` as it is.
///
/// There are the spans of publishing, runs, nodes, agents, and calls to models and tools; those of requests and of received
/// messages are kept nowhere. An attempt begins with its claim and ends with its commit, by the database's clock.
#[utoipa::path(
    get, path = "/runs/{id}/spans", operation_id = "getRunSpans", tag = "runs",
    params(RunPath, SpansQuery),
    responses((status = 200, body = SpanList),
              (status = 404, description = "run-not-found"))
)]
pub(crate) async fn spans(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    RunPath(id): RunPath,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let listing = Listing::Spans(id);
    let SpansQuery { cursor } = SpansQuery::take(&mut parameters);
    let page = parameters.page(listing, None, cursor.as_deref());
    parameters.finish()?;
    let from = page.cursor.and_then(|cursor| cursor.parse().ok());
    let _permit = answers.permit().await?;
    let (spans, next) = rebuild(&app, &tenant, id, from.unwrap_or(SpanPosition::START)).await?;
    let list = SpanList {
        resource_spans: resource_spans(spans, app.traces.services),
        next_cursor: next.map(|position| listing.seal(&position.to_string())),
    };
    answers.json(StatusCode::OK, &list)
}
