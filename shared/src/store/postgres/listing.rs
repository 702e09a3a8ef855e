//! Listing runs.

use std::fmt::Write;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{PostgresStore, store_error};
use crate::domain::state::RunState;
use crate::domain::tenant::Identity;
use crate::store::listing::{
    self, FIRST_FILTER, IdRange, Index, READ_ROWS_MAX, conditions, times, workflow_number,
};
use crate::store::runs::{RunFilter, RunSummary};
use crate::store::{Page, PageRequest, StoreError};

/// The statement that lists the runs which a filter lets through: `$1` and `$2` the tenant, `$3` and `$4` between which
/// ids, `$5` how many, the set filters from `$6` on.
///
/// Only so many rows are read (`READ_ROWS_MAX`), and only until the page is full. All columns of the index but the
/// last two are compared for themselves. Those two are bounded together, and the order is theirs: no other index has it.
/// With the ids alone in order, the planner may as well walk through the runs of all tenants. A scan ends where the
/// first of the two changes and does not end at a bound of the second, so the smallest id is no bound but a filter.
#[must_use]
pub fn statement(filter: &RunFilter) -> String {
    let workflow = format!("${}", workflow_number(filter));
    let state = format!("${FIRST_FILTER}");
    // Each names what its index is limited to, so that the planner may use that.
    let (held, column, value) = match Index::of(filter) {
        Index::All => (String::new(), "workspace_id", "$2"),
        Index::OfWorkflow => (" AND workspace_id = $2".to_owned(), "workflow", &*workflow),
        Index::BroughtDown => (
            " AND workspace_id = $2 AND cancel_state IS NOT NULL".to_owned(),
            "cancel_state",
            &*state,
        ),
        Index::OfWorkflowBroughtDown => (
            format!(
                " AND workspace_id = $2 AND workflow = {workflow} AND cancel_state IS NOT NULL"
            ),
            "cancel_state",
            &*state,
        ),
        Index::Suspended => (" AND suspended_at IS NOT NULL".to_owned(), "workspace_id", "$2"),
        Index::Open => {
            (" AND ended_at IS NULL AND suspended_at IS NULL".to_owned(), "workspace_id", "$2")
        }
    };
    let order = format!("{column} DESC, id DESC");
    let mut filters = "id >= $3".to_owned();
    for (condition, number) in conditions(filter).zip(FIRST_FILTER..) {
        // Writing to a string cannot fail.
        let _written = write!(filters, " AND {condition} ${number}");
    }
    format!(
        "SELECT *, place = {READ_ROWS_MAX} AND id >= $3 AS is_last
         FROM (SELECT workspace_id, cancel_state, id, workflow, version, state,
                      cancel_requested_at IS NOT NULL AS cancelling, step_mode, user_id, error::text AS error, trace_id,
                      publish_span_id, root_span_id, trace_flags, trace_state, segment, resumed_at, created_at,
                      started_at, ended_at, {filters} AS matches, row_number() OVER (ORDER BY {order}) AS place
               FROM runs
               WHERE organization_id = $1{held}
                 AND ({column}, id) >= ({value}, '{least}') AND ({column}, id) < ({value}, $4)
               ORDER BY {order} LIMIT {READ_ROWS_MAX}) read
         WHERE matches OR place = {READ_ROWS_MAX}
         ORDER BY {order} LIMIT $5",
        least = Uuid::nil(),
    )
}

impl PostgresStore {
    pub(super) async fn list(
        &self,
        tenant: &Identity,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<Page<RunSummary>, StoreError> {
        let IdRange { from, before } = IdRange::of(filter, page);
        let mut query = sqlx::query(AssertSqlSafe(statement(filter)))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(from)
            .bind(before)
            .bind(i64::from(page.limit) + 1);
        if let Some(state) = filter.state.map(RunState::as_str) {
            query = query.bind(state);
        }
        if let Some(workflow) = &filter.workflow {
            query = query.bind(workflow);
        }
        for time in times(filter) {
            query = query.bind(time);
        }
        let rows = query.fetch_all(self.reads.named("list_runs")).await.map_err(store_error)?;
        listing::page(&rows, page.limit)
    }
}
