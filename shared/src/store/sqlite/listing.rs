//! Listing runs.

use sqlx::AssertSqlSafe;

use super::runs::summary_columns;
use super::{SqliteStore, store_error};
use crate::domain::tenant::Identity;
use crate::store::listing::{
    self, FIRST_FILTER, IdRange, Index, READ_ROWS_MAX, Source, times, trace_number,
};
use crate::store::runs::{RunFilter, RunSummary};
use crate::store::{Page, PageRequest, StoreError};

/// The statement that lists the runs which a filter lets through: `?1` and `?2` the tenant, `?3` and `?4` between which
/// ids, `?5` how many, the set filters from `?6` on, the trace behind the others. Where several indexes hold them, a page
/// is merged from a page of each.
fn statement(filter: &RunFilter) -> String {
    let sources: Vec<_> = Source::all(filter)
        .iter()
        .map(|source| format!("SELECT * FROM ({})", page_of(source, filter)))
        .collect();
    format!("{} ORDER BY id DESC LIMIT ?5", sources.join(" UNION ALL "))
}

/// A page of the runs that one index holds. Only so many rows are read (`READ_ROWS_MAX`), and only until the page is
/// full.
fn page_of(source: &Source, filter: &RunFilter) -> String {
    let trace = trace_number(filter);
    let (index, held) = match source.index {
        Index::All => ("runs_listing", String::new()),
        Index::OfWorkflow => ("runs_of_workflow", format!(" AND workflow = ?{FIRST_FILTER}")),
        Index::BroughtDown(state) => {
            ("runs_brought_down", format!(" AND cancel_state = '{state}'"))
        }
        Index::OfWorkflowBroughtDown(state) => (
            "runs_of_workflow_brought_down",
            format!(" AND workflow = ?{FIRST_FILTER} AND cancel_state = '{state}'"),
        ),
        Index::Suspended => ("runs_suspended", " AND suspended_at IS NOT NULL".to_owned()),
        Index::Open => ("runs_open", " AND ended_at IS NULL AND suspended_at IS NULL".to_owned()),
        Index::OfTrace => ("runs_of_trace", format!(" AND trace_id = ?{trace}")),
        Index::OnceOfTrace => (
            "runs_listing",
            format!(
                " AND id IN (SELECT run_id FROM run_segments INDEXED BY run_segments_of_trace
                             WHERE organization_id = ?1 AND workspace_id = ?2 AND trace_id = ?{trace} AND run_id < ?4
                             ORDER BY run_id DESC LIMIT {READ_ROWS_MAX})"
            ),
        ),
    };
    let filters = source.conditions(filter, '?');
    let held = format!("organization_id = ?1 AND workspace_id = ?2{held} AND id < ?4");
    format!(
        "WITH last AS MATERIALIZED (
             SELECT id FROM runs INDEXED BY {index} WHERE {held} AND id >= ?3
             ORDER BY id DESC LIMIT 1 OFFSET {READ_ROWS_MAX} - 1)
         SELECT {columns}, true{filters} AS matches, id IS (SELECT id FROM last) AS is_last
         FROM runs INDEXED BY {index}
         WHERE {held} AND id >= coalesce((SELECT id FROM last), ?3) AND (matches OR is_last)
         ORDER BY id DESC LIMIT ?5",
        columns = summary_columns!()
    )
}

impl SqliteStore {
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
            .bind(from.to_string())
            .bind(before.to_string())
            .bind(i64::from(page.limit) + 1);
        if let Some(workflow) = &filter.workflow {
            query = query.bind(workflow);
        }
        for time in times(filter) {
            query = query.bind(time.timestamp_micros());
        }
        if let Some(trace) = filter.trace {
            query = query.bind(trace.to_string());
        }
        let rows = query.fetch_all(self.listing("list_runs")).await.map_err(store_error)?;
        listing::page(&rows, page.limit)
    }
}
