//! Workflows and their versions.

use chrono::{DateTime, Utc};
use serde::Serialize;
use skein_shared::store::workflows as stored_workflows;
use utoipa::ToSchema;

use super::{StoredJson, stored};
use crate::problem::Problem;

/// A version that was published.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PublishedVersion {
    /// The workflow's name.
    pub(crate) name: String,
    /// The version's number, from 1.
    pub(crate) version: u32,
}

/// A workflow in a listing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowSummary {
    /// Its name.
    name: String,
    /// The description of the latest version.
    #[schema(required)]
    description: Option<String>,
    /// The number of the latest version.
    version: u32,
    /// When the first version was published.
    created_at: DateTime<Utc>,
    /// When the latest version was published.
    updated_at: DateTime<Utc>,
}

/// A page of workflows, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowList {
    /// The workflows.
    pub(crate) items: Vec<WorkflowSummary>,
    /// Where the next page starts; null on the last one.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

/// A version, whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workflow {
    /// The workflow's name.
    name: String,
    /// The version's number, from 1.
    version: u32,
    /// The description.
    #[schema(required)]
    description: Option<String>,
    /// The document, as JSON.
    #[schema(value_type = serde_json::Value)]
    document: StoredJson,
    /// Nodes in it.
    node_count: u32,
    /// Edges in it.
    edge_count: u32,
    /// Who published it.
    created_by: String,
    /// When it was published.
    created_at: DateTime<Utc>,
}

/// A version in a listing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionSummary {
    /// The workflow's name.
    name: String,
    /// The version's number, from 1.
    version: u32,
    /// The description.
    #[schema(required)]
    description: Option<String>,
    /// Nodes in it.
    node_count: u32,
    /// Edges in it.
    edge_count: u32,
    /// Who published it.
    created_by: String,
    /// When it was published.
    created_at: DateTime<Utc>,
}

/// A page of versions, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionList {
    /// The versions.
    pub(crate) items: Vec<VersionSummary>,
    /// Where the next page starts; null on the last one.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

impl From<stored_workflows::WorkflowSummary> for WorkflowSummary {
    fn from(workflow: stored_workflows::WorkflowSummary) -> Self {
        let stored_workflows::WorkflowSummary {
            name,
            description,
            version,
            created_at,
            updated_at,
        } = workflow;
        Self { name, description, version, created_at, updated_at }
    }
}

impl TryFrom<stored_workflows::WorkflowVersion> for Workflow {
    type Error = Problem;

    fn try_from(version: stored_workflows::WorkflowVersion) -> Result<Self, Problem> {
        Ok(Self {
            name: version.name,
            version: version.version,
            description: version.description,
            document: stored(version.document)?,
            node_count: version.node_count,
            edge_count: version.edge_count,
            created_by: version.created_by,
            created_at: version.created_at,
        })
    }
}

impl From<stored_workflows::VersionSummary> for VersionSummary {
    fn from(version: stored_workflows::VersionSummary) -> Self {
        Self {
            name: version.name,
            version: version.version,
            description: version.description,
            node_count: version.node_count,
            edge_count: version.edge_count,
            created_by: version.created_by,
            created_at: version.created_at,
        }
    }
}
