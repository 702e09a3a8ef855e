//! What calls to models cost.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use skein_shared::domain::ids::RunId;
use skein_shared::store::spending::{CostFilter, CostGrouping};

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::cursor::Listing;
use crate::dto::spending::{Cost, CostList};
use crate::parameters::{CURSOR, LIMIT, Parameters, Query as _, Reading, TIME, WORKFLOW, query};
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};
use crate::server_span::RequestTrace;
use crate::words;

/// How far back costs are summed up unless the request says so.
const DAYS_DEFAULT: i64 = 30;
/// The longest time that is summed up in one answer: a leap year. Its rows are read for every page.
const DAYS_MAX: i64 = 366;
/// How long after the first page the last one may be asked for, if they are of a whole year up to now.
const PAGES_TIME_MAX: TimeDelta = TimeDelta::days(1);

const GROUP_BY: Reading<CostGrouping> = Reading {
    hint: || format!("one of {}", CostGrouping::WORDS.join(", ")),
    read: |word| word.parse().ok(),
};

const RUN: Reading<RunId> =
    Reading { hint: || "the id of a run, a UUID".to_owned(), read: |text| text.parse().ok() };

query! {
    /// Which costs are summed up, and by what.
    pub(crate) struct CostsQuery {
        /// What they are summed up by: `model` unless given.
        #[param(value_type = words::CostGrouping, inline, required = false)]
        group_by: CostGrouping = GROUP_BY,
        /// Of this run only: of all of its time, unless `from` or `to` says otherwise.
        #[param(value_type = String, required = false, format = "uuid")]
        run: RunId = RUN,
        /// Of this workflow only.
        #[param(value_type = String, required = false, min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
        workflow: String = WORKFLOW,
        /// Of calls that ended at or after this time only, RFC 3339. If it is absent, and `run` is too: 30 days before `to`,
        /// or before now. From there to `to`, or to now, may be 366 days.
        #[param(value_type = DateTime<Utc>, required = false)]
        from: DateTime<Utc> = TIME,
        /// Of calls that ended before this time only, RFC 3339.
        #[param(value_type = DateTime<Utc>, required = false)]
        to: DateTime<Utc> = TIME,
        /// The `next_cursor` of the page before, which must have had the same filters.
        #[param(value_type = String, required = false, min_length = 1, max_length = 2048)]
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
    (caller, trace): (Caller, RequestTrace),
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let CostsQuery { group_by, run, workflow, from, to, cursor, limit } =
        CostsQuery::take(&mut parameters);
    let grouping = group_by.unwrap_or(CostGrouping::Model);
    let asked = CostFilter { run, workflow, from, to };
    let listing = Listing::Costs(grouping, &asked);
    let mut page = parameters.page(listing, limit, cursor.as_deref());
    parameters.finish()?;
    // All pages are of the time that the first one was of.
    let begun = page.cursor.take().and_then(|cursor| {
        let (from, key) = cursor.split_once('.')?;
        page.cursor = Some(key.to_owned());
        DateTime::from_timestamp_micros(from.parse().ok()?)
    });
    let now = if begun.is_some() { Utc::now() - PAGES_TIME_MAX } else { Utc::now() };
    let filter = bounded(CostFilter { from: begun.or(asked.from), ..asked.clone() }, now)?;
    let turn = app.broad_reads.permit(&caller.0.organization).await?;
    let _permit = answers.permit().await?;
    let (store, tenant, from) = (Arc::clone(&app.store), caller.0.clone(), filter.from);
    let read = async move {
        let found = store.list_costs(&tenant, grouping, &filter, &page).await;
        drop(turn);
        found
    };
    let found = app.uncancelled(&trace, &caller, read).await??;
    let from = from.map_or_else(String::new, |from| from.timestamp_micros().to_string());
    let list = CostList {
        items: found.items.into_iter().map(|group| Cost::new(grouping, group)).collect(),
        next_cursor: found.next_cursor.map(|cursor| listing.seal(&format!("{from}.{cursor}"))),
    };
    answers.json(StatusCode::OK, &list)
}

/// The filter with a beginning, unless it is of one run, whose rows are its own and few.
fn bounded(asked: CostFilter, now: DateTime<Utc>) -> Result<CostFilter, Problem> {
    if asked.run.is_some() {
        return Ok(asked);
    }
    // There are no costs of the future.
    let to = asked.to.map_or(now, |to| to.min(now));
    let Some(from) = asked.from else {
        let from = to.checked_sub_signed(TimeDelta::days(DAYS_DEFAULT));
        return Ok(CostFilter { from: Some(from.unwrap_or(DateTime::UNIX_EPOCH)), ..asked });
    };
    if to.signed_duration_since(from) <= TimeDelta::days(DAYS_MAX) {
        return Ok(asked);
    }
    let message = format!("is more than {DAYS_MAX} days before `to`, or before now");
    let hint = "the costs of so long a time are to be asked for in parts, or of one run";
    let diagnostic = ProblemDiagnostic::parameter("from", message, hint);
    Err(Problem::with_diagnostics(ProblemKind::InvalidRequest, vec![diagnostic]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_a_beginning_and_is_of_a_year_at_most() {
        let now = Utc::now();
        let days = |days| Some(now - TimeDelta::days(days));
        let of = |from, to| CostFilter { from, to, ..CostFilter::default() };
        for (from, to, begins) in [
            (None, None, days(30)),
            (None, days(100), days(130)),
            (days(366), None, days(366)),
            (days(700), days(400), days(700)),
            (days(-5), None, days(-5)),
            (None, days(-900), days(30)),
            (days(9), days(-900), days(9)),
        ] {
            assert_eq!(bounded(of(from, to), now).unwrap().from, begins);
        }
        let refused = bounded(of(days(367), None), now).unwrap_err();
        assert_eq!(refused.kind(), ProblemKind::InvalidRequest);
        assert!(bounded(of(Some(DateTime::<Utc>::MIN_UTC), None), now).is_err());
        assert!(bounded(of(None, Some(DateTime::<Utc>::MIN_UTC)), now).is_ok());
        let of_run = CostFilter { run: Some(RunId::generate()), ..of(days(900), None) };
        assert_eq!(bounded(of_run.clone(), now).unwrap(), of_run);
    }
}
