//! The plans that this worker has seen. A version never changes, so nothing in here goes stale.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skein_shared::domain::ids::VersionId;
use skein_shared::store::{StoreError, WorkflowStore};
use skein_shared::workflow::compile::compile;
use tokio::time::Instant;

use super::prepared::Prepared;

/// Plans kept at most. A plan of a few nodes takes some kilobytes.
const PLANS_MAX: u64 = 1_000;

/// For how long a store that does not answer is asked again for a plan: what was claimed is not yet overdue after that.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two tries.
const PATIENCE_PAUSE: Duration = Duration::from_millis(250);
/// When an activation whose plan could not be read in all that time is tried again.
const UNREAD_PAUSE: Duration = Duration::from_secs(2);
/// When a run whose workflow this worker cannot read is tried again, perhaps by another worker. It doubles with
/// each claim.
const FOREIGN_PAUSE: Duration = Duration::from_secs(30);
/// Doublings at most: 16 minutes, so that a run which waits for an upgrade for days writes little.
const FOREIGN_DOUBLINGS_MAX: u32 = 5;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPlan {
    /// The store did not answer.
    #[error("the workflow could not be read")]
    Store(#[source] StoreError),
    /// The version is gone.
    #[error("workflow version {0} does not exist")]
    Missing(VersionId),
    /// This worker cannot make sense of it: it was published by a later release.
    #[error("workflow version {0} does not compile with this release")]
    Foreign(VersionId),
}

impl NoPlan {
    /// For how long an activation is deferred for want of its plan, when it has been claimed so many times.
    pub(crate) fn pause(&self, claims: u32) -> Duration {
        match self {
            // An outage says nothing of the workflow.
            Self::Store(_) => UNREAD_PAUSE,
            Self::Missing(_) | Self::Foreign(_) => {
                FOREIGN_PAUSE * 2_u32.pow(claims.saturating_sub(1).min(FOREIGN_DOUBLINGS_MAX))
            }
        }
    }
}

/// Loads and keeps plans.
#[derive(Clone)]
pub(crate) struct Plans {
    store: Arc<dyn WorkflowStore>,
    cache: moka::sync::Cache<VersionId, Prepared>,
}

impl Plans {
    pub(crate) fn new(store: Arc<dyn WorkflowStore>) -> Self {
        Self { store, cache: moka::sync::Cache::new(PLANS_MAX) }
    }

    /// The plan of a version. A store that is out of reach is given time to come back, unless it `is_pointless` to wait.
    pub(crate) async fn get(
        &self,
        version: VersionId,
        is_pointless: impl Fn() -> bool,
    ) -> Result<Prepared, NoPlan> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.try_get(version).await {
                Err(NoPlan::Store(error))
                    if error.is_retryable() && Instant::now() < until && !is_pointless() =>
                {
                    tokio::time::sleep(PATIENCE_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_get(&self, version: VersionId) -> Result<Prepared, NoPlan> {
        if let Some(plan) = self.cache.get(&version) {
            return Ok(plan);
        }
        let document = self.store.load_document(version).await.map_err(NoPlan::Store)?;
        let document = document.ok_or(NoPlan::Missing(version))?;
        let mut document: Value =
            serde_json::from_str(&document).map_err(|_| NoPlan::Foreign(version))?;
        // Inputs were checked when their runs were accepted, by the rules for schemas that held then.
        if let Some(fields) = document.as_object_mut() {
            fields.shift_remove("input");
        }
        let plan = compile(&document).map_err(|_| NoPlan::Foreign(version))?;
        let plan = Prepared::new(plan);
        self.cache.insert(version, plan.clone());
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use skein_shared::domain::tenant::Identity;
    use skein_shared::store::workflows::{
        NewVersion, Published, VersionSummary, WorkflowSummary, WorkflowVersion,
    };
    use skein_shared::store::{Page, PageRequest};

    use super::*;

    /// A store that is out of reach for the first so many questions.
    struct Away(AtomicU32);

    fn away<T>() -> Result<T, StoreError> {
        Err(StoreError::Unavailable("no reply".into()))
    }

    #[async_trait]
    impl WorkflowStore for Away {
        async fn publish_workflow(
            &self,
            _: &Identity,
            _: &NewVersion,
        ) -> Result<Published, StoreError> {
            away()
        }

        async fn store_draft(&self, _: &Identity, _: &NewVersion) -> Result<Published, StoreError> {
            away()
        }

        async fn archive_workflow(
            &self,
            _: &Identity,
            _: &str,
            _: bool,
        ) -> Result<Option<WorkflowSummary>, StoreError> {
            away()
        }

        async fn list_workflows(
            &self,
            _: &Identity,
            _: &PageRequest,
        ) -> Result<Page<WorkflowSummary>, StoreError> {
            away()
        }

        async fn find_workflow(
            &self,
            _: &Identity,
            _: &str,
            _: Option<u32>,
        ) -> Result<Option<WorkflowVersion>, StoreError> {
            away()
        }

        async fn list_versions(
            &self,
            _: &Identity,
            _: &str,
            _: &PageRequest,
        ) -> Result<Page<VersionSummary>, StoreError> {
            away()
        }

        async fn load_document(&self, _: VersionId) -> Result<Option<String>, StoreError> {
            match self
                .0
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            {
                Ok(_) => away(),
                Err(_) => Ok(Some(
                    r#"{"name":"one","nodes":[{"id":"a","type":"log","params":{"message":"hi"}}]}"#
                        .to_owned(),
                )),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_outage_is_no_unreadable_plan() {
        let version = VersionId::generate();
        let plans = Plans::new(Arc::new(Away(AtomicU32::new(20))));
        assert_eq!(&*plans.get(version, || false).await.ok().unwrap().plan.name, "one");

        let plans = Plans::new(Arc::new(Away(AtomicU32::new(u32::MAX))));
        let lasting = plans.get(version, || false).await.err().unwrap();
        let hurried = plans.get(version, || true).await.err().unwrap();
        for error in [lasting, hurried] {
            assert!(matches!(error, NoPlan::Store(_)), "{error:?}");
            assert!((1..100).all(|claims| error.pause(claims) < Duration::from_secs(5)));
        }
        let foreign = NoPlan::Foreign(version);
        assert_eq!([1, 2, 99].map(|claims| foreign.pause(claims).as_secs()), [30, 60, 960]);
    }
}
