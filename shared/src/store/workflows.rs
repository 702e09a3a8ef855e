//! Workflows and their immutable versions.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Page, PageRequest, StoreError};
use crate::domain::ids::VersionId;
use crate::domain::tenant::Identity;

/// A version that is to be published, or stored as a draft. The caller has compiled it.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Its id.
    pub id: VersionId,
    /// The workflow's name.
    pub name: String,
    /// The description, for listings.
    pub description: Option<String>,
    /// The document as canonical JSON text.
    pub document: String,
    /// SHA-256 of `document`.
    pub digest: [u8; 32],
    /// Nodes in it.
    pub node_count: u32,
    /// Edges in it.
    pub edge_count: u32,
}

/// What publishing a document, or storing it as a draft, did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The version's id: that of one that was there if the document was no news.
    pub id: VersionId,
    /// Its number, from 1.
    pub version: u32,
    /// Whether a version or a draft was added.
    pub created: bool,
    /// Whether a draft that was there has become the latest version.
    pub promoted: bool,
    /// Whether it is a draft.
    pub draft: bool,
    /// Whether the workflow is archived, which neither changes.
    pub archived: bool,
}

/// A workflow in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowSummary {
    /// Its name.
    pub name: String,
    /// The description of the latest version.
    pub description: Option<String>,
    /// The number of the latest version; `None` where there are drafts alone.
    pub version: Option<u32>,
    /// When the first version was published, or the first draft stored.
    pub created_at: DateTime<Utc>,
    /// When the latest version was published. No draft changes it.
    pub updated_at: DateTime<Utc>,
    /// Since when it takes no new runs.
    pub archived_at: Option<DateTime<Utc>>,
}

/// A version in a listing: without its document, which may be large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionSummary {
    /// The workflow's name.
    pub name: String,
    /// Its number, from 1.
    pub version: u32,
    /// The description.
    pub description: Option<String>,
    /// Nodes in it.
    pub node_count: u32,
    /// Edges in it.
    pub edge_count: u32,
    /// Who published it, or stored the draft.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Whether it is a draft.
    pub draft: bool,
}

/// A version, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowVersion {
    /// Its id.
    pub id: VersionId,
    /// The workflow's name.
    pub name: String,
    /// Its number, from 1.
    pub version: u32,
    /// The description.
    pub description: Option<String>,
    /// The document as JSON text.
    pub document: String,
    /// Nodes in it.
    pub node_count: u32,
    /// Edges in it.
    pub edge_count: u32,
    /// Who published it, or stored the draft.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Whether it is a draft.
    pub draft: bool,
    /// Since when its workflow takes no new runs.
    pub archived_at: Option<DateTime<Utc>>,
}

/// Workflows and their versions. A version never changes. Versions and drafts share one count of numbers, none of which
/// is given out twice.
#[async_trait]
pub trait WorkflowStore: Send + Sync + 'static {
    /// Publishes a version, which is the latest from then on. Publishing what is already the latest version adds
    /// nothing. A draft of the same document whose number is above that of the latest version becomes the latest version
    /// itself, with its id and its number. Callers that publish the same name at once go one after the other. It does not
    /// change whether the workflow is archived.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn publish_workflow(
        &self,
        tenant: &Identity,
        version: &NewVersion,
    ) -> Result<Published, StoreError>;

    /// Stores a document as a draft: a version that is not the latest, and is read and started by its number alone.
    /// What is already the latest version or a draft adds nothing, and such a draft is kept as if it had been stored
    /// just now. Nothing else of the workflow changes; where there is none, there is one without a version then.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn store_draft(
        &self,
        tenant: &Identity,
        draft: &NewVersion,
    ) -> Result<Published, StoreError>;

    /// Archives a workflow, or takes that back: what is asked for after the answer has no run of any version of it
    /// accepted, or has again. A start that was under way may still be; runs that were accepted go on. Idempotent; `None` if there is no such workflow.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn archive_workflow(
        &self,
        tenant: &Identity,
        name: &str,
        archived: bool,
    ) -> Result<Option<WorkflowSummary>, StoreError>;

    /// The workflows, by name, archived ones and those with drafts alone, too.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list_workflows(
        &self,
        tenant: &Identity,
        page: &PageRequest,
    ) -> Result<Page<WorkflowSummary>, StoreError>;

    /// One version of a workflow: the latest, or the version or draft with the number that is given.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn find_workflow(
        &self,
        tenant: &Identity,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<WorkflowVersion>, StoreError>;

    /// The versions of a workflow and its drafts, newest first. No document is read for it.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list_versions(
        &self,
        tenant: &Identity,
        name: &str,
        page: &PageRequest,
    ) -> Result<Page<VersionSummary>, StoreError>;

    /// The document of a version or draft that a claimed run is pinned to. Not filtered by tenant: the claim
    /// has vouched for the run, and runs of all tenants are executed by one fleet.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn load_document(&self, version: VersionId) -> Result<Option<String>, StoreError>;
}
