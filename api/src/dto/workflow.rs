//! Workflows and their versions.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Serialize;
use skein_shared::store::workflows as stored_workflows;
use skein_shared::workflow::compile::schema::DOCUMENT;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{StoredJson, stored};
use crate::problem::{Problem, ProblemDiagnostic};
use crate::words::PublishOutcome;

/// A document as it is published. The schema that the compiler goes by has this name.
pub(crate) enum WorkflowDocument {}

impl PartialSchema for WorkflowDocument {
    fn schema() -> RefOr<Schema> {
        Object::new().into()
    }
}

impl ToSchema for WorkflowDocument {
    fn name() -> Cow<'static, str> {
        DOCUMENT.into()
    }
}

/// A version that was published, or stored as a draft.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PublishedVersion {
    /// The workflow's name.
    pub(crate) name: String,
    /// The version's number, from 1. Versions and drafts share one count.
    pub(crate) version: u32,
    /// Whether it is a draft.
    pub(crate) draft: bool,
    /// `created`: it was added. `promoted`: it was a draft, and is the latest version now. `unchanged`: it was the latest
    /// version already, or a draft already where a draft was asked for.
    #[schema(value_type = PublishOutcome)]
    pub(crate) outcome: &'static str,
    /// Whether the workflow is archived: it takes no new runs, and nothing of that has changed.
    pub(crate) archived: bool,
    /// What of the document may not do what is meant. Nothing was refused for it.
    pub(crate) warnings: Vec<ProblemDiagnostic>,
}

impl PublishedVersion {
    /// What the store has made of a document with these warnings.
    pub(crate) fn of(
        name: String,
        published: &stored_workflows::Published,
        warnings: Vec<ProblemDiagnostic>,
    ) -> Self {
        let outcome = match published {
            it if it.created => "created",
            it if it.promoted => "promoted",
            _ => "unchanged",
        };
        Self {
            name,
            version: published.version,
            draft: published.draft,
            outcome,
            archived: published.archived,
            warnings,
        }
    }
}

/// A workflow in a listing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowSummary {
    /// Its name.
    name: String,
    /// The description of the latest version.
    #[schema(required)]
    description: Option<String>,
    /// The number of the latest version; null where there are drafts alone.
    #[schema(required)]
    version: Option<u32>,
    /// When the first version was published, or the first draft stored.
    created_at: DateTime<Utc>,
    /// When the latest version was published; where there are drafts alone, when the first was stored.
    updated_at: DateTime<Utc>,
    /// Since when it is archived and takes no new runs; null if it is not.
    #[schema(required)]
    archived_at: Option<DateTime<Utc>>,
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
    /// Who published it, or stored the draft.
    created_by: String,
    /// When.
    created_at: DateTime<Utc>,
    /// Whether it is a draft: it is not the latest version, and is started by its number alone.
    draft: bool,
    /// Since when the workflow is archived and takes no new runs; null if it is not.
    #[schema(required)]
    archived_at: Option<DateTime<Utc>>,
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
    /// Who published it, or stored the draft.
    created_by: String,
    /// When.
    created_at: DateTime<Utc>,
    /// Whether it is a draft: it is not the latest version, and is started by its number alone.
    draft: bool,
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
            archived_at,
        } = workflow;
        Self { name, description, version, created_at, updated_at, archived_at }
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
            draft: version.draft,
            archived_at: version.archived_at,
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
            draft: version.draft,
        }
    }
}
