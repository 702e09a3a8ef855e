//! What is read of runs for those who look back at many of them.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::rows::get;
use super::spending::DIALECT;
use super::{SqliteStore, store_error};
use crate::domain::ids::{RunId, VersionId};
use crate::domain::tenant::Identity;
use crate::store::StoreError;
use crate::store::analysis::{
    self, ACTIVATIONS_READ_MAX, ATTEMPTS_READ_MAX, Activations, AnalysedRun, AnalysisStore,
    COST_DIGITS, COST_GROUPS_MAX, ModelCosts, ROWS_READ_MAX, RUNS_READ_MAX, RunRange,
};
use crate::store::rows::parse;

/// How long a statement may take; none should take a tenth of it. SQLite itself knows no such bound.
const READ_MAX: Duration = Duration::from_secs(3);

const ACTIVATIONS: &str = "
    SELECT n.run_id, n.node_key, n.scope, n.kind, n.state, n.error ->> '$.code' AS code, n.queued_at, n.started_at,
           n.ended_at, a.outcome, a.error ->> '$.code' AS attempt_code, a.started_at AS attempt_started_at,
           a.ended_at AS attempt_ended_at,
           CASE WHEN a.outcome = 'waiting'
                THEN (SELECT e.data ->> '$.waiting_for.type' FROM event_logs e
                      WHERE e.run_id = ?1 AND e.span_id = a.span_id AND e.event = 'node.waiting' LIMIT 1)
           END AS awaited
    FROM (SELECT * FROM node_runs
          WHERE run_id = ?1 AND organization_id = ?2 AND workspace_id = ?3 AND kind <> 'end'
          ORDER BY node_key, scope LIMIT ?4) n
    LEFT JOIN node_attempts a
        ON a.run_id = n.run_id AND a.node_key = n.node_key AND a.scope = n.scope
           AND a.claim <= coalesce((SELECT t.claim FROM node_attempts t
                                    WHERE t.run_id = n.run_id AND t.node_key = n.node_key AND t.scope = n.scope
                                    ORDER BY t.claim LIMIT 1 OFFSET ?5 - 1), n.claim)
    ORDER BY n.node_key, n.scope, a.claim
    LIMIT ?6";

fn runs_statement(is_of_workflow: bool) -> String {
    let (index, held) = match is_of_workflow {
        false => ("runs_listing", ""),
        true => ("runs_of_workflow", " AND workflow = ?6"),
    };
    format!(
        "SELECT r.id, r.workflow, r.version, r.version_id, r.state, r.trace_id, r.created_at, r.ended_at, t.calls,
                t.unpriced_calls, t.spent_nanos
         FROM (SELECT * FROM runs INDEXED BY {index}
               WHERE organization_id = ?1 AND workspace_id = ?2{held} AND id >= ?3 AND id < ?4
               ORDER BY id LIMIT ?5) r
         LEFT JOIN budget_totals t ON t.organization_id = ?1 AND t.bucket = 'run:' || r.id
         ORDER BY r.id"
    )
}

#[async_trait]
impl AnalysisStore for SqliteStore {
    async fn runs_in(
        &self,
        tenant: &Identity,
        workflow: Option<&str>,
        range: RunRange,
    ) -> Result<Vec<AnalysedRun>, StoreError> {
        let mut query = sqlx::query(AssertSqlSafe(runs_statement(workflow.is_some())))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(range.first().to_string())
            .bind(range.end().to_string())
            .bind(RUNS_READ_MAX as i64);
        if let Some(workflow) = workflow {
            query = query.bind(workflow);
        }
        let rows = within(query.fetch_all(self.analysis("runs_in"))).await?;
        rows.iter().map(analysis::run).collect()
    }

    async fn activations_of(
        &self,
        tenant: &Identity,
        runs: &[RunId],
    ) -> Result<Vec<Activations>, StoreError> {
        let mut rows = Vec::new();
        for run in runs {
            let query = sqlx::query(ACTIVATIONS)
                .bind(run.to_string())
                .bind(&*tenant.organization)
                .bind(&*tenant.workspace)
                .bind(ACTIVATIONS_READ_MAX as i64 + 1)
                .bind(ATTEMPTS_READ_MAX as i64)
                .bind((ROWS_READ_MAX + 1 - rows.len()) as i64);
            rows.extend(within(query.fetch_all(self.analysis("activations_of"))).await?);
            if rows.len() > ROWS_READ_MAX {
                break;
            }
        }
        analysis::activations(&rows, runs, ROWS_READ_MAX)
    }

    async fn documents_of(
        &self,
        tenant: &Identity,
        versions: &[VersionId],
    ) -> Result<Vec<(VersionId, String)>, StoreError> {
        let mut found = Vec::with_capacity(versions.len());
        for version in versions {
            let query = sqlx::query(
                "SELECT id, document FROM versions_and_drafts
                 WHERE id = ?1 AND organization_id = ?2 AND workspace_id = ?3",
            )
            .bind(version.0.to_string())
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace);
            if let Some(row) = within(query.fetch_optional(self.analysis("documents_of"))).await? {
                found.push((VersionId(parse(&row, "id")?), get(&row, "document")?));
            }
        }
        Ok(found)
    }

    async fn model_costs_in(
        &self,
        tenant: &Identity,
        workflow: Option<&str>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<ModelCosts>, StoreError> {
        let cost_digits = format!("printf('%0{COST_DIGITS}d', coalesce(cost_nanos, 0))");
        let statement = analysis::costs_statement(&DIALECT, &cost_digits, workflow.is_some());
        let mut query = sqlx::query(AssertSqlSafe(statement))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(from.timestamp_micros())
            .bind(to.timestamp_micros())
            .bind(COST_GROUPS_MAX as i64);
        if let Some(workflow) = workflow {
            query = query.bind(workflow);
        }
        let rows = within(query.fetch_all(self.analysis("model_costs_in"))).await?;
        rows.iter().map(analysis::model_costs).collect()
    }
}

/// What a statement answers in time.
async fn within<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(READ_MAX, asked).await {
        Ok(answered) => answered.map_err(store_error),
        Err(late) => Err(StoreError::TooSlow(late.into())),
    }
}
