//! Listing runs.

use std::fmt::Write;

use sqlx::AssertSqlSafe;

use super::{PostgresStore, store_error};
use crate::domain::state::RunState;
use crate::domain::tenant::Identity;
use crate::store::listing::{
    self, FIRST_FILTER, IdRange, Index, READ_ROWS_MAX, conditions, workflow_number,
};
use crate::store::runs::{RunFilter, RunSummary};
use crate::store::{Page, PageRequest, StoreError};

/// The statement that lists the runs which a filter lets through: `$1` and `$2` the tenant, `$3` and `$4` between which
/// ids, `$5` how many, the set filters from `$6` on.
///
/// The bounds are rows of the index and the order is that of the index, read backwards: no other index fits. With the
/// tenant compared for itself the planner may as well walk through the runs of all tenants, whose ids are in order too.
/// Only so many rows are read (see [`READ_ROWS_MAX`]), and only until the page is full.
#[must_use]
pub fn statement(filter: &RunFilter) -> String {
    // Each names what its index is limited to, so that the planner may use that.
    let (held, between) = match Index::of(filter) {
        Index::All => ("", ""),
        Index::OfWorkflow => ("", "workflow"),
        Index::BroughtDown => ("cancel_state IS NOT NULL AND ", "cancel_state"),
        Index::OfWorkflowBroughtDown => ("cancel_state IS NOT NULL AND ", "workflow, cancel_state"),
        Index::Suspended => ("suspended_at IS NOT NULL AND ", ""),
        Index::Open => ("ended_at IS NULL AND suspended_at IS NULL AND ", ""),
    };
    let between: Vec<_> = between.split(", ").filter(|column| !column.is_empty()).collect();
    let columns = [&["organization_id", "workspace_id"], between.as_slice(), &["id"]].concat();
    let order = columns.iter().map(|column| format!("{column} DESC")).collect::<Vec<_>>().join(", ");
    let columns = columns.join(", ");
    let bound = |id| {
        let values = between.iter().map(|column| match *column {
            "workflow" => workflow_number(filter),
            _ => FIRST_FILTER,
        });
        let numbers = [1, 2].into_iter().chain(values).chain([id]);
        numbers.map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
    };
    let (from, before) = (bound(3), bound(4));
    let mut filters = "true".to_owned();
    for (condition, number) in conditions(filter).zip(FIRST_FILTER..) {
        // Writing to a string cannot fail.
        let _written = write!(filters, " AND {condition} ${number}");
    }
    format!(
        "SELECT *, place = {READ_ROWS_MAX} AS is_last
         FROM (SELECT organization_id, workspace_id, cancel_state, id, workflow, version, state,
                      cancel_requested_at IS NOT NULL AS cancelling, step_mode, user_id, error::text AS error, trace_id,
                      publish_span_id, root_span_id, trace_flags, trace_state, segment, resumed_at, created_at,
                      started_at, ended_at, {filters} AS matches, row_number() OVER (ORDER BY {order}) AS place
               FROM runs
               WHERE {held}({columns}) >= ({from}) AND ({columns}) < ({before})
               ORDER BY {order} LIMIT {READ_ROWS_MAX}) read
         WHERE matches OR place = {READ_ROWS_MAX}
         ORDER BY {order} LIMIT $5"
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
        for time in filter.created_after.iter().chain(&filter.created_before) {
            query = query.bind(time);
        }
        let rows = query.fetch_all(&self.reads).await.map_err(store_error)?;
        listing::page(&rows, page.limit)
    }
}
