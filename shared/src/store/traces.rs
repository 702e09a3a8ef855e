//! What is kept of runs' spans, so that they can be made once more: of those that were not sampled, died with their
//! process, or found no collector.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::ids::{ActivationKey, RunId};
use crate::domain::run::ClosedSegment;
use crate::domain::tenant::Identity;
use crate::domain::traced::{AttemptPosition, TracedAttempt, TracedNode, TracedRun, TracedStep};

/// What is kept of runs' spans. Every method sees the tenant's rows only, and finds nothing where there is no such run.
/// What is open yet is left out: it has no span before it has ended.
#[async_trait]
pub trait TraceStore: Send + Sync + 'static {
    /// A run, and how it was accepted.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn traced_run(
        &self,
        tenant: &Identity,
        run: RunId,
    ) -> Result<Option<TracedRun>, StoreError>;

    /// Its segments that are over, behind the one of this number, in their order; `limit` at most.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn traced_segments(
        &self,
        tenant: &Identity,
        run: RunId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<ClosedSegment>, StoreError>;

    /// Its attempts that have ended, behind this position, in their order; `limit` at most. Each is there once, whether it
    /// has ended its node or not; of what a row was claimed for and nobody has run, there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn traced_attempts(
        &self,
        tenant: &Identity,
        run: RunId,
        after: AttemptPosition,
        limit: u32,
    ) -> Result<Vec<TracedAttempt>, StoreError>;

    /// Those of these activations of the run that there are, in any order.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn traced_nodes(
        &self,
        tenant: &Identity,
        run: RunId,
        keys: &[ActivationKey],
    ) -> Result<Vec<TracedNode>, StoreError>;

    /// Its steps that are over and were made, behind the one at this position, in the order of their beginning; `limit` at
    /// most.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn traced_steps(
        &self,
        tenant: &Identity,
        run: RunId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<TracedStep>, StoreError>;
}
