//! The log of a run.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::log_filter::LogFilter;
use skein_shared::store::{Page, PageRequest, runs};
use skein_shared::workflow::params::log::Level;

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::cursor::Listing;
use crate::dto::log::{LogList, LogRow};
use crate::limits::{LOG_PAGE_BYTES, LOG_ROWS_READ};
use crate::parameters::{CURSOR, LIMIT, Parameters, Query as _, Reading, TIME, query};
use crate::path_parameters::{RunPath, may_be_node, no_run};
use crate::problem::Problem;
use crate::words::LogLevel;

const LEVEL: Reading<Level> = Reading {
    hint: || format!("one of {}", Level::WORDS.join(", ")),
    read: |word| word.parse().ok(),
};

const NODE: Reading<String> = Reading {
    hint: || "the id of a node".to_owned(),
    read: |node| may_be_node(node).then(|| node.to_owned()),
};

query! {
    /// Which rows of a log are listed.
    pub(crate) struct LogQuery {
        /// Rows of this level and of more severe ones only.
        #[param(value_type = LogLevel, inline, required = false)]
        level: Level = LEVEL,
        /// Rows about this node only.
        #[param(value_type = String, required = false, min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
        node: String = NODE,
        /// Rows of this time and later only, RFC 3339.
        #[param(value_type = DateTime<Utc>, required = false)]
        since: DateTime<Utc> = TIME,
        /// Rows behind this `next_cursor` only, of a page that had the same filters.
        #[param(value_type = String, required = false, min_length = 1, max_length = 2048)]
        after: String = CURSOR,
        /// Rows at most; fewer where they are large.
        #[param(value_type = u32, required = false, minimum = 1, maximum = 500, default = 50)]
        limit: u32 = LIMIT,
    }
}

/// The log of a run, oldest first. To follow it, ask again with the last `next_cursor`: no row is skipped,
/// though the newest may show up a moment late. Where a page would have to read very many rows to find those that pass the
/// filters, it ends early, with fewer than asked for or none, and its `next_cursor` goes on from there.
#[utoipa::path(
    get, path = "/runs/{id}/logs", operation_id = "getRunLogs", tag = "runs",
    params(RunPath, LogQuery),
    responses((status = 200, body = LogList),
              (status = 404, description = "run-not-found"))
)]
pub(crate) async fn log(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    RunPath(id): RunPath,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let LogQuery { level, node, since, after, limit } = LogQuery::take(&mut parameters);
    let filter = LogFilter { level, node, since };
    let listing = Listing::Logs(id, &filter);
    let page = parameters.page(listing, limit, after.as_deref());
    parameters.finish()?;
    let _permit = answers.permit().await?;
    let rows = rows(&app, &tenant, id, &filter, page).await?;
    let items = rows.items.into_iter().map(|row| LogRow::of_run(id, row));
    let list = LogList {
        items: items.collect::<Result<_, _>>()?,
        next_cursor: rows.next_cursor.map(|cursor| listing.seal(&cursor)),
    };
    answers.json(StatusCode::OK, &list)
}

/// A page, as far as it is not too large. Some rows are read at a time, because what they take is not known before. What
/// ends early because few rows pass the filter is a page.
async fn rows(
    app: &App,
    tenant: &Identity,
    id: RunId,
    filter: &LogFilter,
    page: PageRequest,
) -> Result<Page<runs::LogRow>, Problem> {
    let mut found = Page { items: Vec::new(), next_cursor: None };
    let (mut left, mut cursor, mut bytes) = (page.limit, page.cursor, 0);
    while left > 0 && bytes < LOG_PAGE_BYTES {
        let some = PageRequest { limit: left.min(LOG_ROWS_READ), cursor: cursor.take() };
        let read =
            app.store.run_logs(tenant, id, filter, &some).await?.ok_or_else(|| no_run(id))?;
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
