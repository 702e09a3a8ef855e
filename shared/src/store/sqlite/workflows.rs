//! Workflows and their versions.

use async_trait::async_trait;

use super::publishing::{Archive, Publish, StoreDraft, Storing};
use super::{SqliteStore, store_error};
use crate::domain::ids::VersionId;
use crate::domain::tenant::Identity;
use crate::store::workflows::{
    NewVersion, Published, VersionSummary, WorkflowStore, WorkflowSummary, WorkflowVersion,
};
use crate::store::{Page, PageRequest, StoreError, views};

/// The latest version of a workflow.
const FIND_LATEST: &str = "SELECT v.*, 0 AS draft, w.archived_at
    FROM workflows w JOIN workflow_versions v ON v.id = w.latest_id
    WHERE w.organization_id = ?1 AND w.workspace_id = ?2 AND w.name = ?3";
/// A version of a workflow, or a draft.
const FIND_VERSION: &str = "SELECT *, (SELECT archived_at FROM workflows
                WHERE organization_id = ?1 AND workspace_id = ?2 AND name = ?3) AS archived_at
    FROM versions_and_drafts
    WHERE organization_id = ?1 AND workspace_id = ?2 AND name = ?3 AND version = ?4";

#[async_trait]
impl WorkflowStore for SqliteStore {
    async fn publish_workflow(
        &self,
        tenant: &Identity,
        version: &NewVersion,
    ) -> Result<Published, StoreError> {
        self.write(Publish(Storing { tenant: tenant.clone(), version: version.clone() })).await
    }

    async fn store_draft(
        &self,
        tenant: &Identity,
        draft: &NewVersion,
    ) -> Result<Published, StoreError> {
        self.write(StoreDraft(Storing { tenant: tenant.clone(), version: draft.clone() })).await
    }

    async fn archive_workflow(
        &self,
        tenant: &Identity,
        name: &str,
        archived: bool,
    ) -> Result<Option<WorkflowSummary>, StoreError> {
        self.write(Archive { tenant: tenant.clone(), name: name.to_owned(), archived }).await
    }

    async fn list_workflows(
        &self,
        tenant: &Identity,
        page: &PageRequest,
    ) -> Result<Page<WorkflowSummary>, StoreError> {
        let rows = sqlx::query(
            // Of a workflow without any version all drafts may have been pruned: what is left keeps its count.
            "SELECT name, description, latest_version, created_at, updated_at, archived_at FROM workflows w
             WHERE organization_id = ?1 AND workspace_id = ?2 AND name > ?3
               AND (latest_version > 0
                    OR EXISTS (SELECT 1 FROM workflow_drafts d
                               WHERE d.organization_id = w.organization_id AND d.workspace_id = w.workspace_id
                                 AND d.name = w.name))
             ORDER BY name LIMIT ?4",
        )
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(page.cursor.as_deref().unwrap_or_default())
        .bind(i64::from(page.limit) + 1)
        .fetch_all(self.listing("list_workflows"))
        .await
        .map_err(store_error)?;
        let items = rows.iter().map(views::workflow).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(items, page.limit, |last| last.name.clone()))
    }

    async fn find_workflow(
        &self,
        tenant: &Identity,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<WorkflowVersion>, StoreError> {
        let (statement, statement_name) = match version {
            None => (FIND_LATEST, "find_latest"),
            Some(_) => (FIND_VERSION, "find_version"),
        };
        let mut query =
            sqlx::query(statement).bind(&*tenant.organization).bind(&*tenant.workspace).bind(name);
        if let Some(version) = version {
            query = query.bind(version);
        }
        let row = query.fetch_optional(self.reading(statement_name)).await.map_err(store_error)?;
        row.as_ref().map(views::version).transpose()
    }

    async fn list_versions(
        &self,
        tenant: &Identity,
        name: &str,
        page: &PageRequest,
    ) -> Result<Page<VersionSummary>, StoreError> {
        let before: u32 =
            page.cursor.as_deref().and_then(|cursor| cursor.parse().ok()).unwrap_or(u32::MAX);
        let rows = sqlx::query(
            "SELECT name, version, description, node_count, edge_count, created_by, created_at, draft
             FROM versions_and_drafts
             WHERE organization_id = ?1 AND workspace_id = ?2 AND name = ?3 AND version < ?4
             ORDER BY version DESC LIMIT ?5",
        )
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(name)
        .bind(before)
        .bind(i64::from(page.limit) + 1)
        .fetch_all(self.listing("list_versions"))
        .await
        .map_err(store_error)?;
        let items = rows.iter().map(views::listed_version).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(items, page.limit, |last| last.version.to_string()))
    }

    async fn load_document(&self, version: VersionId) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT document FROM versions_and_drafts WHERE id = ?1")
            .bind(version.to_string())
            .fetch_optional(self.reading("find_document"))
            .await
            .map_err(store_error)
    }
}
