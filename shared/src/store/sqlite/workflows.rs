//! Workflows and their versions.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::rows::get;
use super::writer::{Tx, Write};
use super::{SqliteStore, store_error};
use crate::domain::ids::VersionId;
use crate::domain::tenant::Identity;
use crate::store::rows::{Columns, count};
use crate::store::workflows::{
    NewVersion, Published, VersionSummary, WorkflowStore, WorkflowSummary, WorkflowVersion,
};
use crate::store::{Page, PageRequest, StoreError, views};

#[async_trait]
impl WorkflowStore for SqliteStore {
    async fn publish_workflow(
        &self,
        tenant: &Identity,
        version: &NewVersion,
    ) -> Result<Published, StoreError> {
        self.write(Publish { tenant: tenant.clone(), version: version.clone() }).await
    }

    async fn list_workflows(
        &self,
        tenant: &Identity,
        page: &PageRequest,
    ) -> Result<Page<WorkflowSummary>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, description, latest_version, created_at, updated_at FROM workflows
             WHERE organization_id = ?1 AND workspace_id = ?2 AND name > ?3
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
        let row = sqlx::query(
            "SELECT * FROM workflow_versions
             WHERE organization_id = ?1 AND workspace_id = ?2 AND name = ?3 AND (?4 IS NULL OR version = ?4)
             ORDER BY version DESC LIMIT 1",
        )
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(name)
        .bind(version)
        .fetch_optional(self.reading("find_workflow"))
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
        let before: u32 =
            page.cursor.as_deref().and_then(|cursor| cursor.parse().ok()).unwrap_or(u32::MAX);
        let rows = sqlx::query(
            "SELECT name, version, description, node_count, edge_count, created_by, created_at FROM workflow_versions
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
        sqlx::query_scalar("SELECT document FROM workflow_versions WHERE id = ?1")
            .bind(version.to_string())
            .fetch_optional(self.reading("find_document"))
            .await
            .map_err(store_error)
    }
}

struct Publish {
    tenant: Identity,
    version: NewVersion,
}

#[async_trait]
impl Write for Publish {
    type Reply = Published;
    const NAME: &'static str = "publish_workflow";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Published, StoreError> {
        let latest = self.latest(tx).await?;
        let number = match &latest {
            Some(row) if get::<&[u8]>(row, "digest")? == &self.version.digest[..] => {
                return Ok(Published {
                    id: VersionId(row.uuid("id")?),
                    version: count(row, "version")?,
                    created: false,
                });
            }
            Some(row) => count(row, "version")? + 1,
            None => 1,
        };
        self.bump(tx, number).await?;
        self.add(tx, number).await?;
        Ok(Published { id: self.version.id, version: number, created: true })
    }
}

impl Publish {
    async fn latest(&self, tx: &mut Tx<'_>) -> Result<Option<SqliteRow>, StoreError> {
        tx.fetch_optional(
            sqlx::query(
                "SELECT v.id, v.version, v.digest
                 FROM workflows w JOIN workflow_versions v ON v.id = w.latest_id
                 WHERE w.organization_id = ?1 AND w.workspace_id = ?2 AND w.name = ?3",
            )
            .bind(&*self.tenant.organization)
            .bind(&*self.tenant.workspace)
            .bind(&self.version.name),
        )
        .await
    }

    async fn bump(&self, tx: &mut Tx<'_>, number: u32) -> Result<(), StoreError> {
        tx.execute(
            sqlx::query(
                "INSERT INTO workflows (organization_id, workspace_id, name, description, latest_version, latest_id,
                                        created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
                 ON CONFLICT (organization_id, workspace_id, name) DO UPDATE
                 SET latest_version = excluded.latest_version, latest_id = excluded.latest_id,
                     description = excluded.description, updated_at = excluded.updated_at",
            )
            .bind(&*self.tenant.organization)
            .bind(&*self.tenant.workspace)
            .bind(&self.version.name)
            .bind(&self.version.description)
            .bind(number)
            .bind(self.version.id.to_string())
            .bind(tx.now),
        )
        .await?;
        Ok(())
    }

    async fn add(&self, tx: &mut Tx<'_>, number: u32) -> Result<(), StoreError> {
        tx.execute(
            sqlx::query(
                "INSERT INTO workflow_versions (id, organization_id, workspace_id, name, version, description, document,
                                                digest, node_count, edge_count, created_by, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )
            .bind(self.version.id.to_string())
            .bind(&*self.tenant.organization)
            .bind(&*self.tenant.workspace)
            .bind(&self.version.name)
            .bind(number)
            .bind(&self.version.description)
            .bind(&self.version.document)
            .bind(&self.version.digest[..])
            .bind(self.version.node_count)
            .bind(self.version.edge_count)
            .bind(&*self.tenant.user)
            .bind(tx.now),
        )
        .await?;
        Ok(())
    }
}
