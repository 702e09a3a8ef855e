//! Somebody's store with one key more, which only this process knows.
//!
//! A command that looks into a database does so through an API of its own, and that takes a key. Written into
//! the database it would be good for ever; here it ends with the process.

use std::sync::Arc;

use async_trait::async_trait;
use skein_shared::domain::ids::{ActivationKey, LeaseId, RunId, VersionId};
use skein_shared::domain::run::{CrashedAttempt, EndedRun};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::engine::{
    Claim, ClaimRequest, Commit, Committed, EngineStore, Heartbeat, NewLease, ReadRequest, Upstream,
};
use skein_shared::store::keys::{KeyDigest, KeyStore};
use skein_shared::store::recovery::{RecoveryStore, Sweep, SweepOptions};
use skein_shared::store::runs::{
    Acceptance, Cancellation, Idempotency, LogRow, NewRun, NodeRun, RunDetail, RunFilter, RunStore,
    RunSummary,
};
use skein_shared::store::workflows::{
    NewVersion, Published, WorkflowStore, WorkflowSummary, WorkflowVersion,
};
use skein_shared::store::{Admin, Page, PageRequest, Store, StoreError};

/// A store in which a key stands for an identity without being in it. All else is the store's own.
pub(crate) struct GuestStore {
    store: Arc<dyn Store>,
    digest: KeyDigest,
    identity: Identity,
}

impl GuestStore {
    /// The store, with a key of this digest that stands for `identity`.
    pub(crate) fn new(store: Arc<dyn Store>, digest: KeyDigest, identity: Identity) -> Self {
        Self { store, digest, identity }
    }
}

#[async_trait]
impl KeyStore for GuestStore {
    async fn ensure_key(&self, digest: &KeyDigest, identity: &Identity) -> Result<(), StoreError> {
        self.store.ensure_key(digest, identity).await
    }

    async fn find_key(&self, digest: &KeyDigest) -> Result<Option<Identity>, StoreError> {
        if *digest == self.digest {
            return Ok(Some(self.identity.clone()));
        }
        self.store.find_key(digest).await
    }
}

/// Passes every call of a part of the store on.
macro_rules! pass_on {
    ($part:ident { $($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* }) => {
        #[async_trait]
        impl $part for GuestStore {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.store.$name($($argument),*).await
            })*
        }
    };
}

pass_on!(WorkflowStore {
    publish_workflow(tenant: &Identity, version: &NewVersion) -> Published;
    list_workflows(tenant: &Identity, page: &PageRequest) -> Page<WorkflowSummary>;
    find_workflow(tenant: &Identity, name: &str, version: Option<u32>) -> Option<WorkflowVersion>;
    list_versions(tenant: &Identity, name: &str, page: &PageRequest) -> Page<WorkflowVersion>;
    load_document(version: VersionId) -> Option<String>;
});

pass_on!(RunStore {
    accept_runs(batch: &[NewRun]) -> Vec<Acceptance>;
    find_repeated(tenant: &Identity, idempotency: &Idempotency) -> Option<RunId>;
    list_runs(tenant: &Identity, filter: &RunFilter, page: &PageRequest) -> Page<RunSummary>;
    find_run(tenant: &Identity, id: RunId) -> Option<RunDetail>;
    find_node(tenant: &Identity, key: &ActivationKey) -> Option<NodeRun>;
    run_logs(tenant: &Identity, id: RunId, page: &PageRequest) -> Option<Page<LogRow>>;
    request_cancel(tenant: &Identity, id: RunId) -> Option<Cancellation>;
    ended_runs(ids: &[RunId]) -> Vec<RunId>;
});

pass_on!(EngineStore {
    open_lease(lease: &NewLease) -> ();
    heartbeat(lease: LeaseId, held: &[ActivationKey]) -> Heartbeat;
    close_lease(lease: LeaseId) -> ();
    claim(lease: LeaseId, take_suspect: bool, batch: &[ClaimRequest]) -> Vec<Claim>;
    read_upstream(batch: &[ReadRequest]) -> Vec<Vec<Upstream>>;
    commit(lease: LeaseId, batch: &[Commit]) -> Vec<Committed>;
});

pass_on!(RecoveryStore {
    sweep(options: SweepOptions) -> Sweep;
    reap(limit: u32) -> Vec<CrashedAttempt>;
    finish_runs(runs: &[RunId]) -> Vec<EndedRun>;
    make_due(runs: &[RunId]) -> u64;
});

#[async_trait]
impl Admin for GuestStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        self.store.migrate().await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        self.store.check_schema().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

#[cfg(test)]
mod tests {
    use skein_api::digest;
    use skein_shared::store::sqlite::SqliteStore;

    use super::*;
    use crate::test_directory::TestDirectory;

    #[tokio::test]
    async fn the_key_is_known_to_the_guest_and_not_to_the_store() {
        let place = TestDirectory::new();
        let file = place.path().join("theirs.db");
        let theirs: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&file.to_string_lossy()).await.unwrap());
        theirs.migrate().await.unwrap();
        let (guest, stranger) = (digest("guest"), digest("stranger"));
        let identity = Identity::new("o", "w", "u");
        let store = GuestStore::new(Arc::clone(&theirs), guest, identity.clone());
        assert_eq!(store.find_key(&guest).await.unwrap(), Some(identity));
        assert_eq!(store.find_key(&stranger).await.unwrap(), None);
        assert_eq!(theirs.find_key(&guest).await.unwrap(), None);
        store.close().await;
    }
}
