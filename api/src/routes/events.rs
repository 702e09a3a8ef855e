//! The events of a run, as they happen.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use skein_shared::domain::ids::RunId;
use skein_shared::store::log_filter::WHOLE_LOG;
use utoipa::IntoParams;

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::cursor::Listing;
use crate::event_stream::EventStream;
use crate::parameters::Parameters;
use crate::path_parameters::RunPath;
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};

const LAST_EVENT_ID: &str = "last-event-id";
/// Has nginx, and what behaves like it, hand on what comes when it comes.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The headers of [`events`].
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct EventsHeaders {
    /// The `id` of the last event that was seen, or the `next_cursor` of a page of the run's log: the stream goes on
    /// behind it.
    #[param(rename = "Last-Event-ID", value_type = String, required = false, min_length = 1, max_length = 2048)]
    last_event_id: Option<String>,
}

impl EventsHeaders {
    /// Reads them; the id becomes the store's cursor.
    fn read(headers: &HeaderMap, run: RunId) -> Result<Self, Problem> {
        let mut values = headers.get_all(LAST_EVENT_ID).iter();
        let Some(value) = values.next() else { return Ok(Self { last_event_id: None }) };
        let hint = "one header with the `id` of an event of this run, unchanged";
        if values.next().is_some() {
            return Err(Problem::header("Last-Event-ID", "is there twice", hint));
        }
        let cursor = value.to_str().ok().and_then(|text| Listing::Logs(run, &WHOLE_LOG).open(text));
        let cursor = cursor.ok_or_else(|| {
            let message = "is not an event of this run";
            let diagnostic = ProblemDiagnostic::header("Last-Event-ID", message, hint);
            Problem::with_diagnostics(ProblemKind::InvalidRequest, vec![diagnostic])
        })?;
        Ok(Self { last_event_id: Some(cursor) })
    }
}

/// The events of a run as they happen, as server-sent events. Each row of the log is an event of the row's `event`,
/// with the row as `getRunLogs` shows it as its `data`, and an `id`; none is missed and none comes twice, also over
/// several requests with `Last-Event-ID`, though the newest may come a moment late. Between them come `llm.delta`
/// events `{node, scope, step, seq, text}` without an `id`: text that a model yields right now. Those are kept
/// nowhere. `seq` counts them within a call (`step`); a number that is missing was lost, and one that is not higher
/// than the one before means that the call is made anew. The last event is `end`, `{status, trace_url?}`. A stream that ends
/// without it is to be asked for again after the time that its `retry` says: it ends after an hour, when the server
/// shuts down, and when the client does not keep up.
#[utoipa::path(
    get, path = "/runs/{id}/events", operation_id = "followRun", tag = "runs",
    params(RunPath, EventsHeaders),
    responses((status = 200, body = String, content_type = "text/event-stream", description = "Server-sent events"),
              (status = 404, description = "run-not-found"))
)]
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    RunPath(id): RunPath,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let EventsHeaders { last_event_id } = EventsHeaders::read(&headers, id)?;
    let stream = EventStream::open(app, answers, tenant, id, last_event_id).await?;
    let mut response = Response::new(stream.into_body());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}
