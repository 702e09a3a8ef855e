//! What calls to models cost.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use skein_shared::domain::ids::RunId;
use skein_shared::store::spending::{CostFilter, CostGrouping};

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::cursor::Listing;
use crate::dto::spending::{Cost, CostList};
use crate::parameters::{CURSOR, LIMIT, Parameters, Query as _, Reading, TIME, WORKFLOW, query};
use crate::problem::Problem;

const GROUP_BY: Reading<CostGrouping> = Reading {
    hint: || format!("one of {}", CostGrouping::WORDS.join(", ")),
    read: |word| word.parse().ok(),
};

const RUN: Reading<RunId> =
    Reading { hint: || "the id of a run, a UUID".to_owned(), read: |text| text.parse().ok() };

query! {
    /// Which costs are summed up, and by what.
    pub(crate) struct CostsQuery {
        /// What they are summed up by: `model`, `provider`, `workflow`, `run`, `node`, `user` or `day`.
        #[param(value_type = String, required = false, default = "model")]
        group_by: CostGrouping = GROUP_BY,
        /// Of this run only.
        #[param(value_type = String, required = false)]
        run: RunId = RUN,
        /// Of this workflow only.
        #[param(value_type = String, required = false)]
        workflow: String = WORKFLOW,
        /// Of calls that ended at or after this time only, RFC 3339.
        #[param(value_type = DateTime<Utc>, required = false)]
        from: DateTime<Utc> = TIME,
        /// Of calls that ended before this time only, RFC 3339.
        #[param(value_type = DateTime<Utc>, required = false)]
        to: DateTime<Utc> = TIME,
        /// The `next_cursor` of the page before, which must have had the same filters.
        #[param(value_type = String, required = false)]
        cursor: String = CURSOR,
        /// Rows at most.
        #[param(value_type = u32, required = false, minimum = 1, maximum = 500, default = 50)]
        limit: u32 = LIMIT,
    }
}

/// What calls to models cost in the workspace, summed up. Every request to a provider counts, refused, failed and
/// abandoned ones too; what has no price is counted in `unpriced_calls` and costs nothing here.
#[utoipa::path(
    get, path = "/costs", operation_id = "listCosts", tag = "costs", params(CostsQuery),
    responses((status = 200, body = CostList))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let CostsQuery { group_by, run, workflow, from, to, cursor, limit } =
        CostsQuery::take(&mut parameters);
    let grouping = group_by.unwrap_or(CostGrouping::Model);
    let filter = CostFilter { run, workflow, from, to };
    let listing = Listing::Costs(grouping, &filter);
    let page = parameters.page(listing, limit, cursor.as_deref());
    parameters.finish()?;
    let _permit = answers.permit().await?;
    let found = app.store.list_costs(&tenant, grouping, &filter, &page).await?;
    let list = CostList {
        items: found.items.into_iter().map(|group| Cost::new(grouping, group)).collect(),
        next_cursor: found.next_cursor.map(|cursor| listing.seal(&cursor)),
    };
    answers.json(StatusCode::OK, &list)
}
