//! Workflows of which nothing is published: they have drafts, which are read and started by their numbers.

use skein_shared::domain::tenant::Identity;
use skein_shared::store::{PageRequest, Store, StoreError};

/// The number of the newest draft of a workflow of which no version is published; `None` if there is no such workflow.
/// For a request that has found no latest version: one that was published since is taken for a draft.
pub(crate) async fn newest_draft(
    store: &dyn Store,
    tenant: &Identity,
    workflow: &str,
) -> Result<Option<u32>, StoreError> {
    let newest = PageRequest { limit: 1, cursor: None };
    let listed = store.list_versions(tenant, workflow, &newest).await?;
    Ok(listed.items.first().map(|version| version.version))
}
