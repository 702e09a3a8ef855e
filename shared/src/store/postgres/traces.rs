//! What is kept of runs' spans, on PostgreSQL.

use async_trait::async_trait;

use super::{PostgresStore, store_error};
use crate::domain::ids::{ActivationKey, RunId};
use crate::domain::kind::NodeKind;
use crate::domain::run::ClosedSegment;
use crate::domain::tenant::Identity;
use crate::domain::traced::{AttemptPosition, TracedAttempt, TracedNode, TracedRun, TracedStep};
use crate::store::rows::closed_segment;
use crate::store::traces::TraceStore;
use crate::store::{StoreError, trace_views};

#[async_trait]
impl TraceStore for PostgresStore {
    async fn traced_run(
        &self,
        tenant: &Identity,
        run: RunId,
    ) -> Result<Option<TracedRun>, StoreError> {
        let row = sqlx::query(include_str!("sql/traced_run.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.0)
            .fetch_optional(self.reads.named("traced_run"))
            .await
            .map_err(store_error)?;
        row.as_ref().map(trace_views::run).transpose()
    }

    async fn traced_segments(
        &self,
        tenant: &Identity,
        run: RunId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<ClosedSegment>, StoreError> {
        let rows = sqlx::query(include_str!("sql/traced_segments.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.0)
            .bind(i64::from(after))
            .bind(i64::from(limit))
            .fetch_all(self.reads.named("traced_segments"))
            .await
            .map_err(store_error)?;
        rows.iter().map(closed_segment).collect()
    }

    async fn traced_attempts(
        &self,
        tenant: &Identity,
        run: RunId,
        after: AttemptPosition,
        limit: u32,
    ) -> Result<Vec<TracedAttempt>, StoreError> {
        let rows = sqlx::query(include_str!("sql/traced_attempts.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.0)
            .bind(after.ordinal)
            .bind(i64::from(after.claim))
            .bind(i64::from(limit))
            .bind(NodeKind::Agent.as_str())
            .fetch_all(self.reads.named("traced_attempts"))
            .await
            .map_err(store_error)?;
        rows.iter().map(trace_views::attempt).collect()
    }

    async fn traced_nodes(
        &self,
        tenant: &Identity,
        run: RunId,
        keys: &[ActivationKey],
    ) -> Result<Vec<TracedNode>, StoreError> {
        let rows = sqlx::query(include_str!("sql/traced_nodes.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.0)
            .bind(keys.iter().map(|key| &*key.node).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| &*key.scope).collect::<Vec<_>>())
            .fetch_all(self.reads.named("traced_nodes"))
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| trace_views::node(row, run)).collect()
    }

    async fn traced_steps(
        &self,
        tenant: &Identity,
        run: RunId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<TracedStep>, StoreError> {
        let rows = sqlx::query(include_str!("sql/traced_steps.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.0)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(self.reads.named("traced_steps"))
            .await
            .map_err(store_error)?;
        rows.iter().map(trace_views::step).collect()
    }
}
