//! Listing runs.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{PostgresStore, store_error};
use crate::domain::tenant::Identity;
use crate::store::listing::{
    self, FIRST_FILTER, IdRange, Index, READ_ROWS_MAX, Source, times, trace_number,
};
use crate::store::runs::{RunFilter, RunSummary};
use crate::store::{Page, PageRequest, StoreError};

/// The statement that lists the runs which a filter lets through: `$1` and `$2` the tenant, `$3` and `$4` between which
/// ids, `$5` how many, the set filters from `$6` on, the trace behind the others.
///
/// Where several indexes hold them, a page is merged from a page of each.
#[must_use]
pub fn statement(filter: &RunFilter) -> String {
    let sources: Vec<_> =
        Source::all(filter).iter().map(|source| page_of(source, filter)).collect();
    match &sources[..] {
        [only] => only.clone(),
        several => format!(
            "SELECT * FROM (({})) merged ORDER BY id DESC LIMIT $5",
            several.join(") UNION ALL (")
        ),
    }
}

/// A page of the runs that one index holds.
///
/// Only so many rows are read (`READ_ROWS_MAX`), and only until the page is full. All columns of the index but the
/// last two are compared for themselves. Those two are bounded together, and the order is theirs: no other index has it.
/// With the ids alone in order, the planner may as well walk through the runs of all tenants. A scan ends where the
/// first of the two changes and does not end at a bound of the second, so the smallest id is no bound but a filter.
fn page_of(source: &Source, filter: &RunFilter) -> String {
    let (workflow, trace) = (format!("${FIRST_FILTER}"), format!("${}", trace_number(filter)));
    let least = Uuid::nil();
    let of_index = |held: &str, column: &str, value: &str| {
        format!(
            "organization_id = $1{held}
                 AND ({column}, id) >= ({value}, '{least}') AND ({column}, id) < ({value}, $4)"
        )
    };
    // Each names what its index is limited to, so that the planner may use that.
    let (column, held) = match source.index {
        Index::All => ("workspace_id", of_index("", "workspace_id", "$2")),
        Index::OfWorkflow => {
            ("workflow", of_index(" AND workspace_id = $2", "workflow", &workflow))
        }
        Index::BroughtDown(state) => (
            "cancel_state",
            of_index(
                " AND workspace_id = $2 AND cancel_state IS NOT NULL",
                "cancel_state",
                &format!("'{state}'"),
            ),
        ),
        Index::OfWorkflowBroughtDown(state) => (
            "cancel_state",
            of_index(
                &format!(
                    " AND workspace_id = $2 AND workflow = {workflow} AND cancel_state IS NOT NULL"
                ),
                "cancel_state",
                &format!("'{state}'"),
            ),
        ),
        Index::Suspended => {
            ("workspace_id", of_index(" AND suspended_at IS NOT NULL", "workspace_id", "$2"))
        }
        Index::Open => (
            "workspace_id",
            of_index(" AND ended_at IS NULL AND suspended_at IS NULL", "workspace_id", "$2"),
        ),
        Index::OfTrace => ("trace_id", of_index(" AND workspace_id = $2", "trace_id", &trace)),
        Index::OnceOfTrace => {
            ("workspace_id", "organization_id = $1 AND workspace_id = $2".to_owned())
        }
    };
    let runs = match source.index {
        // Each is looked up by its id: the planner may not walk through all runs of the tenant for them.
        Index::OnceOfTrace => format!(
            "(SELECT run_id FROM run_segments
                     WHERE organization_id = $1 AND workspace_id = $2
                       AND (trace_id, run_id) >= ({trace}, '{least}') AND (trace_id, run_id) < ({trace}, $4)
                     ORDER BY trace_id DESC, run_id DESC LIMIT {READ_ROWS_MAX}) once
               CROSS JOIN LATERAL (SELECT * FROM runs r WHERE r.id = once.run_id OFFSET 0) runs"
        ),
        _ => "runs".to_owned(),
    };
    let (order, filters) = (format!("{column} DESC, id DESC"), source.conditions(filter, '$'));
    format!(
        "SELECT *, place = {READ_ROWS_MAX} AND id >= $3 AS is_last
         FROM (SELECT workspace_id, cancel_state, id, workflow, version, state,
                      cancel_requested_at IS NOT NULL AS cancelling, step_mode, user_id, error::text AS error, trace_id,
                      publish_span_id, root_span_id, trace_flags, trace_state, segment, resumed_at, created_at,
                      started_at, ended_at, id >= $3{filters} AS matches, row_number() OVER (ORDER BY {order}) AS place
               FROM {runs}
               WHERE {held}
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
        if let Some(workflow) = &filter.workflow {
            query = query.bind(workflow);
        }
        for time in times(filter) {
            query = query.bind(time);
        }
        if let Some(trace) = filter.trace {
            query = query.bind(trace.to_string());
        }
        let rows = query.fetch_all(self.reads.named("list_runs")).await.map_err(store_error)?;
        listing::page(&rows, page.limit)
    }
}
