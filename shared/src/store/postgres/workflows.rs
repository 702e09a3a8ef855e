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

/// How often a version is written anew because somebody else has changed the workflow meanwhile, who has got his own
/// version written by that. As many as publish the same workflow at once.
const CHANGED_MEANWHILE_MAX: u32 = 100;

#[async_trait]
impl WorkflowStore for PostgresStore {
    async fn publish_workflow(
        &self,
        tenant: &Identity,
        version: &NewVersion,
    ) -> Result<Published, StoreError> {
        self.store_version(
            include_str!("sql/publish_workflow.sql"),
            "publish_workflow",
            tenant,
            version,
        )
        .await
    }

    async fn store_draft(
        &self,
        tenant: &Identity,
        draft: &NewVersion,
    ) -> Result<Published, StoreError> {
        self.store_version(include_str!("sql/store_draft.sql"), "store_draft", tenant, draft).await
    }

    async fn archive_workflow(
        &self,
        tenant: &Identity,
        name: &str,
        archived: bool,
    ) -> Result<Option<WorkflowSummary>, StoreError> {
        let row = sqlx::query(include_str!("sql/archive_workflow.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(name)
            .bind(archived)
            .fetch_optional(self.pool.named("archive_workflow"))
            .await
            .map_err(store_error)?;
        row.as_ref().map(views::workflow).transpose()
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
        let (statement, statement_name) = match version {
            None => (include_str!("sql/find_latest.sql"), "find_latest"),
            Some(_) => (include_str!("sql/find_version.sql"), "find_version"),
        };
        let mut query =
            sqlx::query(statement).bind(&*tenant.organization).bind(&*tenant.workspace).bind(name);
        if let Some(version) = version {
            query = query.bind(i32::try_from(version).unwrap_or(i32::MAX));
        }
        let row =
            query.fetch_optional(self.pool.named(statement_name)).await.map_err(store_error)?;
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
        sqlx::query_scalar("SELECT document::text FROM versions_and_drafts WHERE id = $1")
            .bind(version.0)
            .fetch_optional(self.pool.named("find_document"))
            .await
            .map_err(store_error)
    }
}

impl PostgresStore {
    /// Writes a version by a statement that answers no row where somebody else has changed the workflow meanwhile.
    async fn store_version(
        &self,
        statement: &'static str,
        name: &'static str,
        tenant: &Identity,
        version: &NewVersion,
    ) -> Result<Published, StoreError> {
        for _ in 0..CHANGED_MEANWHILE_MAX {
            let row = sqlx::query(statement)
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
                .fetch_optional(self.pool.named(name))
                .await
                .map_err(store_error)?;
            if let Some(row) = row {
                return Ok(Published {
                    id: VersionId(get(&row, "id")?),
                    version: count(&row, "version")?,
                    created: get(&row, "created")?,
                    promoted: get(&row, "promoted")?,
                    draft: get(&row, "draft")?,
                    archived: get(&row, "archived")?,
                });
            }
        }
        Err(StoreError::Locked("the workflow is changed by others all the time".into()))
    }
}
