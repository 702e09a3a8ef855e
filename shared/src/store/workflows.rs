//! Workflows and their immutable versions.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Page, PageRequest, StoreError};
use crate::domain::ids::VersionId;
use crate::domain::tenant::Identity;

/// A version that is to be published. The caller has compiled it.
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

/// What publishing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The version's id: that of the latest version if the document was no news.
    pub id: VersionId,
    /// Its number, from 1.
    pub version: u32,
    /// Whether a version was added.
    pub created: bool,
}

/// A workflow in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowSummary {
    /// Its name.
    pub name: String,
    /// The description of the latest version.
    pub description: Option<String>,
    /// The number of the latest version.
    pub version: u32,
    /// When the first version was published.
    pub created_at: DateTime<Utc>,
    /// When the latest version was published.
    pub updated_at: DateTime<Utc>,
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
    /// Who published it.
    pub created_by: String,
    /// When it was published.
    pub created_at: DateTime<Utc>,
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
    /// Who published it.
    pub created_by: String,
    /// When it was published.
    pub created_at: DateTime<Utc>,
}

/// Workflows and their versions.
#[async_trait]
pub trait WorkflowStore: Send + Sync + 'static {
    /// Publishes a version. Publishing what is already the latest version adds nothing. Two callers
    /// that publish the same name at once get two versions, in some order.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn publish_workflow(
        &self,
        tenant: &Identity,
        version: &NewVersion,
    ) -> Result<Published, StoreError>;

    /// The workflows, by name.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list_workflows(
        &self,
        tenant: &Identity,
        page: &PageRequest,
    ) -> Result<Page<WorkflowSummary>, StoreError>;

    /// One version of a workflow, the latest unless a number is given.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn find_workflow(
        &self,
        tenant: &Identity,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<WorkflowVersion>, StoreError>;

    /// The versions of a workflow, newest first. No document is read for it.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list_versions(
        &self,
        tenant: &Identity,
        name: &str,
        page: &PageRequest,
    ) -> Result<Page<VersionSummary>, StoreError>;

    /// The document of a version that a claimed run is pinned to. Not filtered by tenant: the claim
    /// has vouched for the run, and runs of all tenants are executed by one fleet.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn load_document(&self, version: VersionId) -> Result<Option<String>, StoreError>;
}
