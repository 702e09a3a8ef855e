//! Workflows and their versions.

use chrono::{DateTime, Utc};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use skein_shared::document::Format;

use super::{Client, ClientError, Diagnostic, Page};

/// A version that was stored, or was there already.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PublishedVersion {
    /// The workflow's name.
    pub name: String,
    /// The version's number, from 1.
    pub version: u32,
    /// Whether it is a draft: it is not what a run without a version gets. Absent where the server knows of none.
    pub draft: Option<bool>,
    /// What of the document may not do what is meant.
    #[serde(default)]
    pub warnings: Vec<Diagnostic>,
    /// What storing it did: `created`, `promoted` or `unchanged`. Absent where the server does not say.
    pub outcome: Option<String>,
    /// Whether the workflow takes no new runs. Absent where the server does not say.
    pub archived: Option<bool>,
    /// Whether it was added now.
    #[serde(skip)]
    pub is_new: bool,
}

/// A workflow in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WorkflowSummary {
    /// Its name.
    pub name: String,
    /// The description of the latest version.
    pub description: Option<String>,
    /// The number of the latest version that is published; absent where there are drafts alone.
    pub version: Option<u32>,
    /// Since when it takes no new runs.
    pub archived_at: Option<DateTime<Utc>>,
    /// When its first version was stored.
    pub created_at: DateTime<Utc>,
    /// When its latest version was stored.
    pub updated_at: DateTime<Utc>,
}

/// A version in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct VersionSummary {
    /// Its number, from 1.
    pub version: u32,
    /// Whether it is a draft.
    #[serde(default)]
    pub draft: bool,
    /// The description.
    pub description: Option<String>,
    /// Nodes in it.
    pub node_count: u32,
    /// Edges in it.
    pub edge_count: u32,
    /// Who stored it.
    pub created_by: String,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

impl Client {
    /// Publishes a workflow as written.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn publish(
        &self,
        document: String,
        format: Format,
    ) -> Result<PublishedVersion, ClientError> {
        self.store(document, format, &[]).await
    }

    /// Stores a workflow as written as a draft, unless it is the document of the latest version. A server that knows of no
    /// drafts refuses, see [`Problem::refuses_parameter`](super::Problem::refuses_parameter).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn draft(
        &self,
        document: String,
        format: Format,
    ) -> Result<PublishedVersion, ClientError> {
        self.store(document, format, &[("draft", "true")]).await
    }

    async fn store(
        &self,
        document: String,
        format: Format,
        query: &[(&str, &str)],
    ) -> Result<PublishedVersion, ClientError> {
        let media_type = match format {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
        };
        let request = self.request(Method::POST, &["v1", "workflows"]).query(query);
        let request = request.header(CONTENT_TYPE, media_type).body(document);
        let response = self.response(request).await?;
        let is_new = response.status() == StatusCode::CREATED;
        let stored: PublishedVersion = self.read(&self.body(response).await?)?;
        Ok(PublishedVersion { is_new, ..stored })
    }

    /// A page of workflows behind `cursor`, by name; each as [`WorkflowSummary`], or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn workflows<T: DeserializeOwned>(
        &self,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<T>, ClientError> {
        let request = self.request(Method::GET, &["v1", "workflows"]);
        let cursor: Vec<_> = cursor.map(|cursor| ("cursor", cursor)).into_iter().collect();
        self.answer(request.query(&cursor).query(&[("limit", limit)])).await
    }

    /// A page of the versions of a workflow, newest first; each as [`VersionSummary`], or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn versions<T: DeserializeOwned>(
        &self,
        workflow: &str,
        limit: u32,
    ) -> Result<Page<T>, ClientError> {
        let request = self.request(Method::GET, &["v1", "workflows", workflow, "versions"]);
        self.answer(request.query(&[("limit", limit)])).await
    }

    /// A version of a workflow with its document, as JSON; the latest one that is published without a number.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn workflow(
        &self,
        workflow: &str,
        version: Option<u32>,
    ) -> Result<Value, ClientError> {
        let request = self.request(Method::GET, &["v1", "workflows", workflow]);
        let version: Vec<_> = version.map(|it| ("version", it)).into_iter().collect();
        self.answer(request.query(&version)).await
    }

    /// Has a workflow take no new runs, or take them again; as JSON, what it is then. Repeated, it changes nothing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn archive(&self, workflow: &str, archived: bool) -> Result<Value, ClientError> {
        let action = if archived { "archive" } else { "unarchive" };
        self.answer(self.request(Method::POST, &["v1", "workflows", workflow, action])).await
    }
}
