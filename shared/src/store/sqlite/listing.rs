//! Listing runs.

use std::fmt::Write;

use sqlx::AssertSqlSafe;

use super::runs::summary_columns;
use super::{SqliteStore, store_error};
use crate::domain::state::RunState;
use crate::domain::tenant::Identity;
use crate::store::listing::{IdRange, Index, conditions};
use crate::store::runs::{RunFilter, RunSummary};
use crate::store::{Page, PageRequest, StoreError, shown};

/// The statement that lists the runs which a filter lets through: `?1` and `?2` the tenant, `?3` and `?4` between which
/// ids, `?5` how many, the set filters from `?6` on.
fn statement(filter: &RunFilter) -> String {
    let (index, state) = match Index::of(filter) {
        Index::All => ("runs_listing", ""),
        Index::BroughtDown => ("runs_brought_down", " AND cancel_state = ?6"),
        Index::Suspended => ("runs_suspended", " AND suspended_at IS NOT NULL"),
        Index::Open => ("runs_open", " AND ended_at IS NULL AND suspended_at IS NULL"),
    };
    let mut filters = String::new();
    for (condition, number) in conditions(filter).zip(6..) {
        // Writing to a string cannot fail.
        let _written = write!(filters, " AND {condition} ?{number}");
    }
    format!(
        "SELECT {columns} FROM runs INDEXED BY {index}
         WHERE organization_id = ?1 AND workspace_id = ?2{state} AND id >= ?3 AND id < ?4{filters}
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
        if let Some(state) = filter.state.map(RunState::as_str) {
            query = query.bind(state);
        }
        if let Some(workflow) = &filter.workflow {
            query = query.bind(workflow);
        }
        for time in filter.created_after.iter().chain(&filter.created_before) {
            query = query.bind(time.timestamp_micros());
        }
        let rows = query.fetch_all(self.readers()).await.map_err(store_error)?;
        let items = rows.iter().map(shown::run).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(items, page.limit, |last| last.id.to_string()))
    }
}
