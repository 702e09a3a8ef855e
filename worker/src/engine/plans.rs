//! The plans that this worker has seen. A version never changes, so nothing in here goes stale.

use std::sync::Arc;

use serde_json::Value;
use skein_shared::domain::compile::compile;
use skein_shared::domain::ids::VersionId;
use skein_shared::store::{StoreError, WorkflowStore};

use super::prepared::{Prepared, SharedPlan};

/// Plans kept at most. A plan of a few nodes takes some kilobytes.
const PLANS_MAX: u64 = 1_000;

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

/// Loads and keeps plans.
#[derive(Clone)]
pub(crate) struct Plans {
    store: Arc<dyn WorkflowStore>,
    cache: moka::sync::Cache<VersionId, SharedPlan>,
}

impl Plans {
    pub(crate) fn new(store: Arc<dyn WorkflowStore>) -> Self {
        Self { store, cache: moka::sync::Cache::new(PLANS_MAX) }
    }

    /// The plan of a version.
    pub(crate) async fn get(&self, version: VersionId) -> Result<SharedPlan, NoPlan> {
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
        let plan = Arc::new(Prepared::new(plan));
        self.cache.insert(version, Arc::clone(&plan));
        Ok(plan)
    }
}
