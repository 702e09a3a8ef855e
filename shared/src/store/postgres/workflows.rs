//! Workflows and their versions.

use async_trait::async_trait;

use super::rows::get;
use super::{PostgresStore, store_error};
use crate::domain::ids::VersionId;
use crate::domain::tenant::Identity;
use crate::store::rows::count;
use crate::store::workflows::{
    NewVersion, Published, VersionSummary, WorkflowStore, WorkflowSummary, WorkflowVersion,
};
use crate::store::{Page, PageRequest, StoreError, views};

#[async_trait]
impl WorkflowStore for PostgresStore {
    async fn publish_workflow(
        &self,
        tenant: &Identity,
        version: &NewVersion,
    ) -> Result<Published, StoreError> {
        let row = sqlx::query(include_str!("sql/publish_workflow.sql"))
            .bind(version.id.0)
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(&version.name)
            .bind(&version.description)
            .bind(&version.document)
            .bind(&version.digest[..])
            .bind(i32::try_from(version.node_count).unwrap_or(i32::MAX))
            .bind(i32::try_from(version.edge_count).unwrap_or(i32::MAX))
            .bind(&*tenant.user)
            .fetch_one(self.pool.named("publish_workflow"))
            .await
            .map_err(store_error)?;
        Ok(Published {
            id: VersionId(get(&row, "id")?),
            version: count(&row, "version")?,
            created: get(&row, "created")?,
        })
    }

    async fn list_workflows(
        &self,
        tenant: &Identity,
        page: &PageRequest,
    ) -> Result<Page<WorkflowSummary>, StoreError> {
        let rows = sqlx::query(include_str!("sql/list_workflows.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(page.cursor.as_deref().unwrap_or_default())
            .bind(i64::from(page.limit) + 1)
            .fetch_all(self.reads.named("list_workflows"))
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
        let row = sqlx::query(
            "SELECT id, name, version, description, document::text AS document, node_count, edge_count, created_by,
                    created_at
             FROM workflow_versions
             WHERE organization_id = $1 AND workspace_id = $2 AND name = $3 AND ($4::int IS NULL OR version = $4)
             ORDER BY version DESC LIMIT 1",
        )
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(name)
        .bind(version.map(|version| i32::try_from(version).unwrap_or(i32::MAX)))
        .fetch_optional(self.pool.named("find_workflow"))
        .await
        .map_err(store_error)?;
        row.as_ref().map(views::version).transpose()
    }

    async fn list_versions(
        &self,
        tenant: &Identity,
        name: &str,
        page: &PageRequest,
    ) -> Result<Page<VersionSummary>, StoreError> {
        let before: i32 =
            page.cursor.as_deref().and_then(|cursor| cursor.parse().ok()).unwrap_or(i32::MAX);
        let rows = sqlx::query(include_str!("sql/list_versions.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(name)
            .bind(before)
            .bind(i64::from(page.limit) + 1)
            .fetch_all(self.reads.named("list_versions"))
            .await
            .map_err(store_error)?;
        let items = rows.iter().map(views::listed_version).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(items, page.limit, |last| last.version.to_string()))
    }

    async fn load_document(&self, version: VersionId) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT document::text FROM workflow_versions WHERE id = $1")
            .bind(version.0)
            .fetch_optional(self.pool.named("find_document"))
            .await
            .map_err(store_error)
    }
}
