//! Listing runs.

use std::fmt::Write;

use sqlx::AssertSqlSafe;

use super::{PostgresStore, store_error};
use crate::domain::state::RunState;
use crate::domain::tenant::Identity;
use crate::store::listing::{IdRange, Index, conditions};
use crate::store::runs::{RunFilter, RunSummary};
use crate::store::{Page, PageRequest, StoreError, shown};

/// The statement that lists the runs which a filter lets through: `$1` and `$2` the tenant, `$3` and `$4` between which
/// ids, `$5` how many, the set filters from `$6` on.
///
/// The bounds are rows of the index and the order is that of the index, read backwards: no other index fits. With the
/// tenant compared for itself the planner may as well walk through the runs of all tenants, whose ids are in order too.
#[must_use]
pub fn statement(filter: &RunFilter) -> String {
    const BY_ID: (&str, &str, &str, &str) = (
        "(organization_id, workspace_id, id)",
        "($1, $2, $3)",
        "(organization_id, workspace_id, id) < ($1, $2, $4)",
        "organization_id DESC, workspace_id DESC, id DESC",
    );
    const BY_END: (&str, &str, &str, &str) = (
        "(organization_id, workspace_id, cancel_state, id)",
        "($1, $2, $6, $3)",
        "(organization_id, workspace_id, cancel_state, id) < ($1, $2, $6, $4)",
        "organization_id DESC, workspace_id DESC, cancel_state DESC, id DESC",
    );
    // Each names what its index is limited to, so that the planner may use that.
    let (held, (columns, from, before, order)) = match Index::of(filter) {
        Index::All => ("", BY_ID),
        Index::BroughtDown => ("cancel_state IS NOT NULL AND ", BY_END),
        Index::Suspended => ("suspended_at IS NOT NULL AND ", BY_ID),
        Index::Open => ("ended_at IS NULL AND suspended_at IS NULL AND ", BY_ID),
    };
    let mut filters = String::new();
    for (condition, number) in conditions(filter).zip(6..) {
        // Writing to a string cannot fail.
        let _written = write!(filters, " AND {condition} ${number}");
    }
    format!(
        "SELECT id, workflow, version, state, cancel_requested_at IS NOT NULL AS cancelling, step_mode, user_id,
                error::text AS error, trace_id, publish_span_id, root_span_id, trace_flags, trace_state, segment,
                resumed_at, created_at, started_at, ended_at
         FROM runs
         WHERE {held}{columns} >= {from} AND {before}{filters}
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
        let rows = query.fetch_all(&self.pool).await.map_err(store_error)?;
        let items = rows.iter().map(shown::run).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(items, page.limit, |last| last.id.to_string()))
    }
}
