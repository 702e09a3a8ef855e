//! The log of a run.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use skein_shared::domain::ids::RunId;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::{Page, PageRequest, runs};

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::cursor::Listing;
use crate::dto::log::{LogList, LogRow};
use crate::limits::{LOG_PAGE_BYTES, LOG_ROWS_READ};
use crate::parameters::{CURSOR, LIMIT, Parameters, Query as _, query};
use crate::path_parameters::{RunPath, no_run};
use crate::problem::Problem;

query! {
    /// Which rows of a log are listed.
    pub(crate) struct LogQuery {
        /// Rows behind this `next_cursor` only.
        #[param(value_type = String, required = false)]
        after: String = CURSOR,
        /// Rows at most; fewer where they are large.
        #[param(value_type = u32, required = false, minimum = 1, maximum = 500, default = 50)]
        limit: u32 = LIMIT,
    }
}

/// The log of a run, oldest first. To follow it, ask again with the last `next_cursor`: no row is skipped,
/// though the newest may show up a moment late.
#[utoipa::path(
    get, path = "/runs/{id}/logs", operation_id = "getRunLogs", tag = "runs",
    params(("id" = String, Path, description = "The run's id, a UUID"), LogQuery),
    responses((status = 200, body = LogList))
)]
pub(crate) async fn log(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    RunPath(id): RunPath,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let listing = Listing::Logs(id);
    let LogQuery { after, limit } = LogQuery::take(&mut parameters);
    let page = parameters.page(listing, limit, after.as_deref());
    parameters.finish()?;
    let _permit = answers.permit().await?;
    let rows = rows(&app, &tenant, id, page).await?;
    let items = rows.items.into_iter().map(|row| LogRow::of_run(id, row));
    let list = LogList {
        items: items.collect::<Result<_, _>>()?,
        next_cursor: rows.next_cursor.map(|cursor| listing.seal(&cursor)),
    };
    answers.json(StatusCode::OK, &list)
}

/// A page, as far as it is not too large. Some rows are read at a time, because what they take is not known before.
async fn rows(
    app: &App,
    tenant: &Identity,
    id: RunId,
    page: PageRequest,
) -> Result<Page<runs::LogRow>, Problem> {
    let mut found = Page { items: Vec::new(), next_cursor: None };
    let (mut left, mut cursor, mut bytes) = (page.limit, page.cursor, 0);
    while left > 0 && bytes < LOG_PAGE_BYTES {
        let some = PageRequest { limit: left.min(LOG_ROWS_READ), cursor: cursor.take() };
        let read = app.store.run_logs(tenant, id, &some).await?.ok_or_else(|| no_run(id))?;
        let (rows, all) =
            (u32::try_from(read.items.len()).unwrap_or(left), read.next_cursor.is_none());
        bytes += read.items.iter().map(size).sum::<usize>();
        left = left.saturating_sub(rows);
        found.items.extend(read.items);
        found.next_cursor = read.next_cursor.or(found.next_cursor);
        if all || rows < some.limit {
            break;
        }
        cursor.clone_from(&found.next_cursor);
    }
    Ok(found)
}

fn size(row: &runs::LogRow) -> usize {
    row.message.len() + row.data.as_ref().map_or(0, String::len)
}
