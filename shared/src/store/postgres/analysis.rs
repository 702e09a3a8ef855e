//! What is read of runs for those who look back at many of them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::rows::get;
use super::spending::DIALECT;
use super::{PostgresStore, store_error};
use crate::domain::ids::{RunId, VersionId};
use crate::domain::tenant::Identity;
use crate::store::StoreError;
use crate::store::analysis::{
    self, ACTIVATIONS_READ_MAX, ATTEMPTS_READ_MAX, Activations, AnalysedRun, AnalysisStore,
    COST_DIGITS, COST_GROUPS_MAX, ModelCosts, ROWS_READ_MAX, RUNS_READ_MAX, RunRange,
};

/// The statement that reads a page of runs: `$1` and `$2` the tenant, `$3` and `$4` between which ids, `$5` how many, `$6`
/// the workflow if there is one.
///
/// As in a listing, the order is that of the index which only the tenant's runs are in, and the last two of its columns are
/// bounded together. A scan does not end at a bound of the second of them, so the last id is no bound but a filter, behind
/// the limit: what is read beyond it is the rest of a page.
#[must_use]
pub fn runs_statement(is_of_workflow: bool) -> String {
    let (held, column, value) = match is_of_workflow {
        false => ("", "workspace_id", "$2"),
        true => (" AND workspace_id = $2", "workflow", "$6"),
    };
    format!(
        "SELECT r.*, t.calls, t.unpriced_calls, t.spent_nanos
         FROM (SELECT workspace_id, id, workflow, version, version_id, state, trace_id, created_at, ended_at
               FROM runs
               WHERE organization_id = $1{held}
                 AND ({column}, id) >= ({value}, $3) AND ({column}, id) <= ({value}, '{last}')
               ORDER BY {column}, id LIMIT $5) r
         LEFT JOIN LATERAL (SELECT calls, unpriced_calls, spent_nanos FROM budget_totals
                            WHERE organization_id = $1 AND bucket = 'run:' || r.id LIMIT 1) t ON true
         WHERE r.id < $4
         ORDER BY r.id",
        last = Uuid::max(),
    )
}

/// The statement that sums up what calls to models came to.
#[must_use]
pub fn model_costs_statement(is_of_workflow: bool) -> String {
    let cost_digits = format!("lpad(coalesce(cost_nanos, 0)::text, {COST_DIGITS}, '0')");
    analysis::costs_statement(&DIALECT, &cost_digits, is_of_workflow)
}

#[async_trait]
impl AnalysisStore for PostgresStore {
    async fn runs_in(
        &self,
        tenant: &Identity,
        workflow: Option<&str>,
        range: RunRange,
    ) -> Result<Vec<AnalysedRun>, StoreError> {
        let mut query = sqlx::query(AssertSqlSafe(runs_statement(workflow.is_some())))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(range.first())
            .bind(range.end())
            .bind(whole(RUNS_READ_MAX));
        if let Some(workflow) = workflow {
            query = query.bind(workflow);
        }
        let rows = query.fetch_all(self.analysis.named("runs_in")).await.map_err(store_error)?;
        rows.iter().map(analysis::run).collect()
    }

    async fn activations_of(
        &self,
        tenant: &Identity,
        runs: &[RunId],
    ) -> Result<Vec<Activations>, StoreError> {
        let rows = sqlx::query(include_str!("sql/analysed_activations.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(runs.iter().map(|run| run.0).collect::<Vec<_>>())
            .bind(whole(ACTIVATIONS_READ_MAX + 1))
            .bind(whole(ATTEMPTS_READ_MAX))
            .bind(whole(ROWS_READ_MAX + 1))
            .fetch_all(self.analysis.named("activations_of"))
            .await
            .map_err(store_error)?;
        analysis::activations(&rows, runs, ROWS_READ_MAX)
    }

    async fn documents_of(
        &self,
        tenant: &Identity,
        versions: &[VersionId],
    ) -> Result<Vec<(VersionId, String)>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, document::text AS document FROM versions_and_drafts
             WHERE organization_id = $1 AND workspace_id = $2 AND id = ANY($3)",
        )
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(versions.iter().map(|version| version.0).collect::<Vec<_>>())
        .fetch_all(self.analysis.named("documents_of"))
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| Ok((VersionId(get(row, "id")?), get(row, "document")?))).collect()
    }

    async fn model_costs_in(
        &self,
        tenant: &Identity,
        workflow: Option<&str>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<ModelCosts>, StoreError> {
        let mut query = sqlx::query(AssertSqlSafe(model_costs_statement(workflow.is_some())))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(from)
            .bind(to)
            .bind(whole(COST_GROUPS_MAX));
        if let Some(workflow) = workflow {
            query = query.bind(workflow);
        }
        let rows =
            query.fetch_all(self.analysis.named("model_costs_in")).await.map_err(store_error)?;
        rows.iter().map(analysis::model_costs).collect()
    }
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
