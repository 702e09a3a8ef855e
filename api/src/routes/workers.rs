//! Workers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::answers::Answers;
use crate::app::App;
use crate::cursor::Listing;
use crate::dto::worker::WorkerList;
use crate::parameters::{CURSOR, LIMIT, Parameters, Query as _, query};
use crate::problem::Problem;

query! {
    /// Which workers are listed.
    pub(crate) struct WorkersQuery {
        /// The `next_cursor` of the page before.
        #[param(value_type = String, required = false, min_length = 1, max_length = 2048)]
        cursor: String = CURSOR,
        /// Rows at most.
        #[param(value_type = u32, required = false, minimum = 1, maximum = 500, default = 50)]
        limit: u32 = LIMIT,
    }
}

/// The workers, newest first: those that live and those that are gone since a day. All organizations share them, and
/// what they work at is not shown here.
#[utoipa::path(
    get, path = "/workers", operation_id = "listWorkers", tag = "workers", params(WorkersQuery),
    responses((status = 200, body = WorkerList))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    answers: Answers,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let WorkersQuery { cursor, limit } = WorkersQuery::take(&mut parameters);
    let listing = Listing::Workers;
    let page = parameters.page(listing, limit, cursor.as_deref());
    parameters.finish()?;
    let found = app.store.list_workers(&page).await?;
    let list = WorkerList {
        items: found.items.into_iter().map(Into::into).collect(),
        next_cursor: found.next_cursor.map(|cursor| listing.seal(&cursor)),
    };
    answers.json(StatusCode::OK, &list)
}
