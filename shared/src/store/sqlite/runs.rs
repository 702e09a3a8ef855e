//! Runs as the API sees them.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::accept::Accept;
use super::log;
use super::rows::{Input, get, load_run};
use super::writer::{Tx, Write};
use super::{SqliteStore, store_error};
use crate::domain::ids::{ActivationKey, RunId};
use crate::domain::limits::RUN_ATTEMPTS_MAX;
use crate::domain::state::RunState;
use crate::domain::tenant::Identity;
use crate::store::log_entry::Entry;
use crate::store::log_filter::LogFilter;
use crate::store::rows::parse;
use crate::store::runs::{
    Acceptance, Cancellation, EarlierAttempt, Idempotency, LogRow, NewRun, NodeRun, RunDetail,
    RunFilter, RunStore, RunSummary, Segment,
};
use crate::store::{Page, PageRequest, StoreError, step_views, views};
use crate::telemetry::Statement;

/// The columns of a [`RunSummary`].
macro_rules! summary_columns {
    () => {
        "id, workflow, version, state, cancel_requested_at IS NOT NULL AS cancelling, step_mode, user_id, error,
         trace_id, publish_span_id, root_span_id, trace_flags, trace_state, segment, resumed_at, created_at, started_at, ended_at"
    };
}
pub(super) use summary_columns;

/// What a run may spend, and has spent, and where both are found: `runs r`, and the total of the run.
macro_rules! spending_columns {
    () => {
        "max_nanos, max_tokens, max_steps, on_exhausted, deadline_at, spent_nanos, input_tokens, cached_tokens,
         cache_write_tokens, output_tokens, calls, unpriced_calls, steps
         FROM runs r
         LEFT JOIN budget_totals t ON t.organization_id = r.organization_id AND t.bucket = 'run:' || r.id"
    };
}
pub(super) use spending_columns;

/// The columns of a [`NodeRun`] that are not large.
macro_rules! node_columns {
    () => {
        "(SELECT trace_id FROM runs WHERE id = run_id) AS trace_id, node_key, scope, kind, state AS node_state,
         attempts, error AS node_error, CASE WHEN attempts > 0 THEN span_id END AS node_span_id,
         CASE WHEN attempts > 0 THEN (SELECT s.trace_id FROM run_segments s
                                      WHERE s.run_id = node_runs.run_id AND s.segment = node_runs.segment)
              END AS node_trace_id,
         CASE WHEN attempts > 0 THEN worker END AS node_worker, queued_at,
         started_at AS node_started_at, ended_at AS node_ended_at,
         CASE WHEN state IN ('retry', 'waiting') THEN wake_at END AS wake_at,
         CASE WHEN state = 'waiting' THEN waiting_for END AS waiting_for"
    };
}

#[async_trait]
impl RunStore for SqliteStore {
    async fn accept_runs(&self, batch: &[NewRun]) -> Result<Vec<Acceptance>, StoreError> {
        self.write(Accept { batch: batch.to_vec() }).await
    }

    async fn find_repeated(
        &self,
        tenant: &Identity,
        idempotency: &Idempotency,
    ) -> Result<Option<RunId>, StoreError> {
        let row = sqlx::query(
            "SELECT id FROM runs
             WHERE organization_id = ?1 AND workspace_id = ?2 AND idempotency_key = ?3 AND idempotency_digest = ?4",
        )
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(&idempotency.key)
        .bind(&idempotency.digest[..])
        .fetch_optional(self.reading("find_repeated"))
        .await
        .map_err(store_error)?;
        row.map(|row| parse(&row, "id")).transpose()
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
        // One transaction, one snapshot: a run is never shown ended with a node still running. Should the
        // caller be dropped, sqlx rolls it back before the connection is used again.
        let read = async {
            let mut snapshot = self.listings().begin().await.map_err(store_error)?;
            let mut detail = detail(&mut snapshot, tenant, id, shown).await?;
            snapshot.rollback().await.map_err(store_error)?;
            if let Some(detail) = &mut detail {
                let needs_one =
                    matches!(detail.summary.state, RunState::Queued | RunState::Running);
                detail.no_worker = needs_one && self.living().is_empty();
            }
            Ok(detail)
        };
        self.watch(Statement::named("find_run"), read).await
    }

    async fn find_node(
        &self,
        tenant: &Identity,
        key: &ActivationKey,
    ) -> Result<Option<NodeRun>, StoreError> {
        let read = async {
            let mut snapshot = self.listings().begin().await.map_err(store_error)?;
            let found = find_node(&mut snapshot, tenant, key).await?;
            snapshot.rollback().await.map_err(store_error)?;
            Ok(found)
        };
        self.watch(Statement::named("find_node"), read).await
    }

    async fn run_logs(
        &self,
        tenant: &Identity,
        id: RunId,
        filter: &LogFilter,
        page: &PageRequest,
    ) -> Result<Option<Page<LogRow>>, StoreError> {
        let known = sqlx::query(
            "SELECT 1 FROM runs WHERE id = ?1 AND organization_id = ?2 AND workspace_id = ?3",
        )
        .bind(id.to_string())
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .fetch_optional(self.listing("find_logged_run"))
        .await
        .map_err(store_error)?;
        if known.is_none() {
            return Ok(None);
        }
        // There is one writer: rows appear in the order of their ids.
        let after: i64 =
            page.cursor.as_deref().and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
        let rows = sqlx::query(
            "WITH last AS MATERIALIZED (
                 SELECT id FROM event_logs WHERE run_id = ?1 AND id > ?2 ORDER BY id LIMIT 1 OFFSET ?4 - 1)
             SELECT id, ts, level, event, message, node_key, scope, data, trace_id, span_id,
                    level IN (SELECT value FROM json_each(?5)) AND (?6 IS NULL OR node_key = ?6)
                        AND (?7 IS NULL OR ts >= ?7) AS matches
             FROM event_logs
             WHERE run_id = ?1 AND id > ?2 AND id <= coalesce((SELECT id FROM last), 9223372036854775807)
               AND (matches OR id = (SELECT id FROM last))
             ORDER BY id LIMIT ?3",
        )
        .bind(id.to_string())
        .bind(after)
        .bind(page.limit)
        .bind(filter.read_max(page.limit))
        .bind(serde_json::Value::from(filter.levels()).to_string())
        .bind(&filter.node)
        .bind(filter.since.map(|since| since.timestamp_micros()))
        .fetch_all(self.listing("run_logs"))
        .await
        .map_err(store_error)?;
        let mut page = Page { items: Vec::with_capacity(rows.len()), next_cursor: None };
        for row in &rows {
            let id: i64 = get(row, "id")?;
            page.next_cursor = Some(id.to_string());
            // The last one that may be read is there whether it passes or not: the next page goes on behind it.
            if get(row, "matches")? {
                page.items.push(views::log_row(row, id, id.to_string())?);
            }
        }
        Ok(Some(page))
    }

    async fn request_cancel(
        &self,
        tenant: &Identity,
        id: RunId,
    ) -> Result<Option<Cancellation>, StoreError> {
        self.write(RequestCancel { tenant: tenant.clone(), id }).await
    }

    async fn ended_runs(&self, ids: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let read = async {
            let mut connection = self.readers().acquire().await.map_err(store_error)?;
            let mut ended = Vec::new();
            for id in ids {
                let row = sqlx::query(
                    "SELECT 1 FROM runs WHERE id = ?1 AND state NOT IN ('queued', 'running', 'suspended')",
                )
                .bind(id.to_string())
                .fetch_optional(&mut *connection)
                .await
                .map_err(store_error)?;
                ended.extend(row.map(|_| *id));
            }
            Ok(ended)
        };
        self.watch(Statement::named("ended_runs"), read).await
    }
}

struct RequestCancel {
    tenant: Identity,
    id: RunId,
}

#[async_trait]
impl Write for RequestCancel {
    type Reply = Option<Cancellation>;
    const NAME: &'static str = "request_cancel";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let run = load_run(tx, self.id, Input::Leave).await?.filter(|run| {
            let owner = &run.header.identity;
            owner.organization == self.tenant.organization
                && owner.workspace == self.tenant.workspace
        });
        let Some(run) = run else { return Ok(None) };
        if run.state.is_terminal() {
            return Ok(Some(Cancellation::AlreadyEnded(run.state)));
        }
        if !run.cancelling {
            tx.execute(
                sqlx::query(
                    "UPDATE runs SET cancel_requested_at = ?2, cancel_state = 'cancelled', wake_at = ?2 WHERE id = ?1",
                )
                .bind(self.id.to_string())
                .bind(tx.now),
            )
            .await?;
            log::write(tx, &run.header, Entry::run_cancel_requested()).await?;
        }
        Ok(Some(Cancellation::Requested))
    }
}

async fn detail(
    snapshot: &mut SqliteConnection,
    tenant: &Identity,
    id: RunId,
    shown: usize,
) -> Result<Option<RunDetail>, StoreError> {
    let row = sqlx::query(concat!(
        "SELECT ",
        summary_columns!(),
        ", input, output, ",
        spending_columns!(),
        " WHERE r.id = ?1 AND r.organization_id = ?2 AND r.workspace_id = ?3"
    ))
    .bind(id.to_string())
    .bind(&*tenant.organization)
    .bind(&*tenant.workspace)
    .fetch_optional(&mut *snapshot)
    .await
    .map_err(store_error)?;
    let Some(row) = row else { return Ok(None) };
    let rows = sqlx::query(concat!(
        "SELECT CASE WHEN NOT omitted THEN input END AS node_input, CASE WHEN NOT omitted THEN output END AS node_output,
                omitted, attempts_omitted, attempts_before, ",
        node_columns!(),
        " FROM (
             SELECT *, attempts_before > 0 AND sum(attempts_before) OVER (ORDER BY ordinal) > ?3 AS attempts_omitted,
                    sum(coalesce(octet_length(input), 0) + coalesce(octet_length(output), 0))
                           OVER (ORDER BY ordinal) > ?2 AND (input IS NOT NULL OR output IS NOT NULL) AS omitted
             FROM (SELECT n.*, (SELECT count(*) FROM node_attempts a
                                WHERE a.run_id = n.run_id AND a.node_key = n.node_key AND a.scope = n.scope)
                               AS attempts_before
                   FROM node_runs n WHERE run_id = ?1 AND kind <> 'end')
         ) AS node_runs
         ORDER BY ordinal",
    ))
    .bind(id.to_string())
    .bind(i64::try_from(shown).unwrap_or(i64::MAX))
    .bind(RUN_ATTEMPTS_MAX as i64)
    .fetch_all(&mut *snapshot)
    .await
    .map_err(store_error)?;
    let mut nodes = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut node = views::node(row)?;
        if get::<i64>(row, "attempts_before")? > 0 && !node.attempts_omitted {
            node.earlier = earlier_attempts(snapshot, id, &node.node, &node.scope).await?;
        }
        nodes.push(node);
    }
    Ok(Some(RunDetail {
        summary: views::run(&row)?,
        input: get(&row, "input")?,
        output: get(&row, "output")?,
        nodes,
        earlier: earlier_segments(snapshot, tenant, id).await?,
        spent: step_views::spending(&row)?,
        budget: step_views::run_budget(&row)?,
        no_worker: false,
    }))
}

async fn earlier_segments(
    snapshot: &mut SqliteConnection,
    tenant: &Identity,
    id: RunId,
) -> Result<Vec<Segment>, StoreError> {
    let rows = sqlx::query(
        "SELECT segment, trace_id, root_span_id, started_at, suspended_at FROM run_segments
         WHERE run_id = ?1 AND organization_id = ?2 AND workspace_id = ?3 ORDER BY segment",
    )
    .bind(id.to_string())
    .bind(&*tenant.organization)
    .bind(&*tenant.workspace)
    .fetch_all(snapshot)
    .await
    .map_err(store_error)?;
    rows.iter().map(views::segment).collect()
}

async fn find_node(
    snapshot: &mut SqliteConnection,
    tenant: &Identity,
    key: &ActivationKey,
) -> Result<Option<NodeRun>, StoreError> {
    let row = sqlx::query(concat!(
        "SELECT input AS node_input, output AS node_output, 0 AS omitted, 0 AS attempts_omitted, ",
        node_columns!(),
        " FROM node_runs
         WHERE run_id = ?1 AND node_key = ?2 AND scope = ?3 AND organization_id = ?4 AND workspace_id = ?5
           AND kind <> 'end'"
    ))
    .bind(key.run.to_string())
    .bind(&*key.node)
    .bind(&*key.scope)
    .bind(&*tenant.organization)
    .bind(&*tenant.workspace)
    .fetch_optional(&mut *snapshot)
    .await
    .map_err(store_error)?;
    let Some(row) = row else { return Ok(None) };
    let mut found = views::node(&row)?;
    found.earlier = earlier_attempts(snapshot, key.run, &key.node, &key.scope).await?;
    Ok(Some(found))
}

async fn earlier_attempts(
    snapshot: &mut SqliteConnection,
    id: RunId,
    node: &str,
    scope: &str,
) -> Result<Vec<EarlierAttempt>, StoreError> {
    let rows = sqlx::query(
        "SELECT r.trace_id, s.trace_id AS attempt_trace_id, a.attempt, a.outcome, a.error AS attempt_error,
                a.span_id AS attempt_span_id, a.worker AS attempt_worker, a.started_at AS attempt_started_at,
                a.ended_at AS attempt_ended_at
         FROM node_attempts a JOIN runs r ON r.id = a.run_id
         LEFT JOIN run_segments s ON s.run_id = a.run_id AND s.segment = a.segment
         WHERE a.run_id = ?1 AND a.node_key = ?2 AND a.scope = ?3 ORDER BY a.claim",
    )
    .bind(id.to_string())
    .bind(node)
    .bind(scope)
    .fetch_all(snapshot)
    .await
    .map_err(store_error)?;
    rows.iter().map(views::attempt).collect()
}
