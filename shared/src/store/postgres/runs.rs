//! Runs as the API sees them.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::event_logs::Logging;
use super::rows::get;
use super::{PostgresStore, store_error};
use crate::domain::ids::{ActivationKey, RunId};
use crate::domain::limits::RUN_ATTEMPTS_MAX;
use crate::domain::state::RunState;
use crate::domain::tenant::Identity;
use crate::store::log_filter::LogFilter;
use crate::store::rows::{Columns, parse};
use crate::store::runs::{
    Acceptance, Cancellation, Idempotency, LogRow, NewRun, NodeRun, RunDetail, RunFilter, RunStore,
    RunSummary, Segment,
};
use crate::store::{Page, PageRequest, StoreError, step_views, views};

static REQUEST_CANCEL: Logging = Logging::of(|| include_str!("sql/request_cancel.sql"));

#[async_trait]
impl RunStore for PostgresStore {
    async fn accept_runs(&self, batch: &[NewRun]) -> Result<Vec<Acceptance>, StoreError> {
        self.accept(batch).await
    }

    async fn find_repeated(
        &self,
        tenant: &Identity,
        idempotency: &Idempotency,
    ) -> Result<Option<RunId>, StoreError> {
        let row = sqlx::query(
            "SELECT id FROM runs
             WHERE organization_id = $1 AND workspace_id = $2 AND idempotency_key = $3 AND idempotency_digest = $4",
        )
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(&idempotency.key)
        .bind(&idempotency.digest[..])
        .fetch_optional(self.pool.named("find_repeated"))
        .await
        .map_err(store_error)?;
        row.map(|row| Ok(RunId(get(&row, "id")?))).transpose()
    }

    async fn list_runs(
        &self,
        tenant: &Identity,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<Page<RunSummary>, StoreError> {
        self.list(tenant, filter, page).await
    }

    async fn find_run(
        &self,
        tenant: &Identity,
        id: RunId,
        shown: usize,
    ) -> Result<Option<RunDetail>, StoreError> {
        // One statement, one snapshot: a run is never shown ended with a node still running.
        let rows = sqlx::query(include_str!("sql/find_run.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(id.0)
            .bind(i64::try_from(shown).unwrap_or(i64::MAX))
            .bind(RUN_ATTEMPTS_MAX as i64)
            .fetch_all(self.reads.named("find_run"))
            .await
            .map_err(store_error)?;
        let Some(first) = rows.first() else { return Ok(None) };
        let mut detail = RunDetail {
            summary: views::run(first)?,
            input: get(first, "input")?,
            output: get(first, "output")?,
            nodes: Vec::new(),
            earlier: Vec::new(),
            spent: step_views::spending(first)?,
            budget: step_views::run_budget(first)?,
            no_worker: get(first, "no_worker")?,
        };
        let mut places: HashMap<(String, String), usize> = HashMap::new();
        for row in &rows {
            let key = match get::<Option<String>>(row, "node_key")? {
                Some(node) => (node, get(row, "scope")?),
                None => continue,
            };
            match places.get(&key) {
                Some(place) => detail.nodes[*place].earlier.push(views::attempt(row)?),
                None => {
                    places.insert(key, detail.nodes.len());
                    detail.nodes.push(node(row)?);
                }
            }
        }
        // They do not change any more, so a second statement may read them.
        if detail.summary.segment > 1 {
            detail.earlier = self.segments_before(tenant, id, detail.summary.segment).await?;
        }
        Ok(Some(detail))
    }

    async fn find_node(
        &self,
        tenant: &Identity,
        key: &ActivationKey,
    ) -> Result<Option<NodeRun>, StoreError> {
        let rows = sqlx::query(include_str!("sql/find_node.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(key.run.0)
            .bind(&*key.node)
            .bind(&*key.scope)
            .fetch_all(self.reads.named("find_node"))
            .await
            .map_err(store_error)?;
        let Some((first, more)) = rows.split_first() else { return Ok(None) };
        let mut found = node(first)?;
        for row in more {
            found.earlier.push(views::attempt(row)?);
        }
        Ok(Some(found))
    }

    async fn run_logs(
        &self,
        tenant: &Identity,
        id: RunId,
        filter: &LogFilter,
        page: &PageRequest,
    ) -> Result<Option<Page<LogRow>>, StoreError> {
        let (after_xid, after_id) = page.cursor.as_deref().and_then(split_cursor).unwrap_or((0, 0));
        let rows = sqlx::query(include_str!("sql/run_logs.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(id.0)
            .bind(after_xid.to_string())
            .bind(after_id)
            .bind(i64::from(page.limit))
            .bind(i64::from(filter.read_max(page.limit)))
            .bind(filter.levels())
            .bind(&filter.node)
            .bind(filter.since)
            .fetch_all(self.reads.named("run_logs"))
            .await
            .map_err(store_error)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut page = Page { items: Vec::with_capacity(rows.len()), next_cursor: None };
        for row in &rows {
            let Some(id) = get::<Option<i64>>(row, "log_id")? else { continue };
            let cursor = format!("{}.{id}", get::<&str>(row, "commit_xid")?);
            page.next_cursor = Some(cursor.clone());
            if get(row, "matches")? {
                page.items.push(views::log_row(row, id, cursor)?);
            }
        }
        Ok(Some(page))
    }

    async fn request_cancel(
        &self,
        tenant: &Identity,
        id: RunId,
    ) -> Result<Option<Cancellation>, StoreError> {
        let statement = sqlx::query(REQUEST_CANCEL.text(self))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(id.0);
        let rows = self.fetch_logging(statement, self.pool.named("request_cancel")).await?;
        rows.first()
            .map(|row| {
                let state: RunState = parse(row, "state")?;
                Ok(if state.is_terminal() {
                    Cancellation::AlreadyEnded(state)
                } else {
                    Cancellation::Requested
                })
            })
            .transpose()
    }

    async fn ended_runs(&self, ids: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM runs WHERE id = ANY($1) AND state NOT IN ('queued', 'running', 'suspended')",
        )
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_all(self.pool.named("ended_runs"))
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| Ok(RunId(get(row, "id")?))).collect()
    }
}

impl PostgresStore {
    async fn segments_before(
        &self,
        tenant: &Identity,
        id: RunId,
        segment: u32,
    ) -> Result<Vec<Segment>, StoreError> {
        let rows = sqlx::query(
            "SELECT segment, trace_id, root_span_id, started_at, suspended_at FROM run_segments
             WHERE run_id = $1 AND organization_id = $2 AND workspace_id = $3 AND segment < $4 ORDER BY segment",
        )
        .bind(id.0)
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(i64::from(segment))
        .fetch_all(self.reads.named("segments_before"))
        .await
        .map_err(store_error)?;
        rows.iter().map(views::segment).collect()
    }
}

fn split_cursor(cursor: &str) -> Option<(u64, i64)> {
    let (xid, id) = cursor.split_once('.')?;
    Some((xid.parse().ok()?, id.parse().ok()?))
}

/// An activation from the first row of it, which is also that of its first earlier attempt.
fn node(row: &PgRow) -> Result<NodeRun, StoreError> {
    let mut node = views::node(row)?;
    if row.text("outcome")?.is_some() {
        node.earlier.push(views::attempt(row)?);
    }
    Ok(node)
}
