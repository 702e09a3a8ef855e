//! Which nodes lead to which, in any version of a workflow: remembered, because a version never changes.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;
use serde_json::Value;
use skein_shared::domain::ids::{NodeKey, VersionId};
use skein_shared::store::Store;
use skein_shared::workflow::compile::compile;

use crate::limits::{LINEAGES_MAX, PLAN_IDLE_MAX};
use crate::problem::Problem;

/// The nodes whose tokens make each node runnable, in the order of the workflow.
pub(crate) type Parents = HashMap<NodeKey, Vec<NodeKey>>;

/// The versions that were looked into lately.
pub(crate) struct Lineages(Cache<VersionId, Arc<Parents>>);

impl Lineages {
    pub(crate) fn new() -> Self {
        let cache = Cache::builder().max_capacity(LINEAGES_MAX).time_to_idle(PLAN_IDLE_MAX);
        Self(cache.build())
    }

    /// Those of a version, which MUST be that of a run of the caller's. Of one that is gone, or that this release cannot
    /// read because a later one has published it, nothing is known.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn of(
        &self,
        store: &dyn Store,
        version: VersionId,
    ) -> Result<Arc<Parents>, Problem> {
        if let Some(known) = self.0.get(&version) {
            return Ok(known);
        }
        let Some(document) = store.load_document(version).await? else {
            return Ok(Arc::default());
        };
        // Compiling a large workflow takes milliseconds, and the runtime has few threads.
        let parents = tokio::task::spawn_blocking(move || parents(&document))
            .await
            .map_err(Problem::internal)?;
        let Some(parents) = parents.map(Arc::new) else {
            tracing::warn!(%version, "a workflow version does not compile with this release");
            return Ok(Arc::default());
        };
        self.0.insert(version, Arc::clone(&parents));
        Ok(parents)
    }
}

fn parents(document: &str) -> Option<Parents> {
    let mut document: Value = serde_json::from_str(document).ok()?;
    // The schema of the input has no part in this, and the rules for it may have become stricter.
    if let Some(fields) = document.as_object_mut() {
        fields.shift_remove("input");
    }
    let plan = compile(&document).ok()?;
    let key = |index: &usize| Arc::clone(&plan.nodes[*index].key);
    let nodes = plan.nodes.iter();
    Some(
        nodes.map(|node| (Arc::clone(&node.key), node.parents.iter().map(key).collect())).collect(),
    )
}
