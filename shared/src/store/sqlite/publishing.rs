//! Publishing workflows, keeping drafts of them, archiving them.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::writer::{Tx, Write};
use crate::domain::ids::VersionId;
use crate::domain::tenant::Identity;
use crate::store::StoreError;
use crate::store::rows::{Columns, count};
use crate::store::workflows::{NewVersion, Published, WorkflowSummary};
use crate::store::{timing, views};

/// A version that is to be stored.
pub(super) struct Storing {
    pub(super) tenant: Identity,
    pub(super) version: NewVersion,
}

/// Publishes it.
pub(super) struct Publish(pub(super) Storing);

/// Stores it as a draft.
pub(super) struct StoreDraft(pub(super) Storing);

/// What a workflow is before something is stored.
struct Seen {
    /// 0 where nothing is published.
    latest_version: u32,
    /// That a draft has got, or a version.
    last_number: u32,
    /// Whether it takes no new runs.
    archived: bool,
}

#[async_trait]
impl Write for Publish {
    type Reply = Published;
    const NAME: &'static str = "publish_workflow";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Published, StoreError> {
        let storing = &self.0;
        let seen = storing.seen(tx).await?;
        if let Some(same) = storing.same_latest(tx).await? {
            return Ok(Published { archived: seen.archived, ..same });
        }
        let promoted = storing.draft(tx).await?.filter(|draft| draft.version > seen.latest_version);
        let (id, number) = match promoted {
            Some(draft) => (draft.id, draft.version),
            None => (storing.version.id, seen.last_number + 1),
        };
        tx.execute(
            sqlx::query(
                "INSERT INTO workflows (organization_id, workspace_id, name, description, latest_version, latest_id,
                                        last_number, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
                 ON CONFLICT (organization_id, workspace_id, name) DO UPDATE
                 SET latest_version = excluded.latest_version, latest_id = excluded.latest_id,
                     last_number = excluded.last_number, description = excluded.description,
                     updated_at = excluded.updated_at",
            )
            .bind(&*storing.tenant.organization)
            .bind(&*storing.tenant.workspace)
            .bind(&storing.version.name)
            .bind(&storing.version.description)
            .bind(number)
            .bind(id.to_string())
            .bind(number.max(seen.last_number))
            .bind(tx.now),
        )
        .await?;
        tx.execute(sqlx::query("DELETE FROM workflow_drafts WHERE id = ?1").bind(id.to_string()))
            .await?;
        storing.insert(tx, INSERT_VERSION, id, number).await?;
        Ok(Published {
            id,
            version: number,
            created: promoted.is_none(),
            promoted: promoted.is_some(),
            draft: false,
            archived: seen.archived,
        })
    }
}

#[async_trait]
impl Write for StoreDraft {
    type Reply = Published;
    const NAME: &'static str = "store_draft";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Published, StoreError> {
        let storing = &self.0;
        let seen = storing.seen(tx).await?;
        if let Some(same) = storing.same_latest(tx).await? {
            return Ok(Published { archived: seen.archived, ..same });
        }
        if let Some(kept) = storing.draft(tx).await? {
            tx.execute(
                sqlx::query("UPDATE workflow_drafts SET stored_at = ?2 WHERE id = ?1")
                    .bind(kept.id.to_string())
                    .bind(tx.now),
            )
            .await?;
            return Ok(Published { archived: seen.archived, ..kept });
        }
        let number = seen.last_number + 1;
        tx.execute(
            sqlx::query(
                "INSERT INTO workflows (organization_id, workspace_id, name, latest_version, latest_id, last_number,
                                        created_at, updated_at)
                 VALUES (?1, ?2, ?3, 0, '00000000-0000-0000-0000-000000000000', ?4, ?5, ?5)
                 ON CONFLICT (organization_id, workspace_id, name) DO UPDATE SET last_number = excluded.last_number",
            )
            .bind(&*storing.tenant.organization)
            .bind(&*storing.tenant.workspace)
            .bind(&storing.version.name)
            .bind(number)
            .bind(tx.now),
        )
        .await?;
        storing.insert(tx, INSERT_DRAFT, storing.version.id, number).await?;
        Ok(Published {
            id: storing.version.id,
            version: number,
            created: true,
            promoted: false,
            draft: true,
            archived: seen.archived,
        })
    }
}

const INSERT_VERSION: &str = "INSERT INTO workflow_versions
        (id, organization_id, workspace_id, name, version, description, document, digest, node_count, edge_count,
         created_by, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
const INSERT_DRAFT: &str = "INSERT INTO workflow_drafts
        (id, organization_id, workspace_id, name, version, description, document, digest, node_count, edge_count,
         created_by, created_at, stored_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12)";

impl Storing {
    /// What there is of the workflow.
    async fn seen(&self, tx: &mut Tx<'_>) -> Result<Seen, StoreError> {
        let row = tx
            .fetch_optional(
                sqlx::query(
                    "SELECT latest_version, max(latest_version, last_number) AS last_number,
                            archived_at IS NOT NULL AS archived
                     FROM workflows
                     WHERE organization_id = ?1 AND workspace_id = ?2 AND name = ?3",
                )
                .bind(&*self.tenant.organization)
                .bind(&*self.tenant.workspace)
                .bind(&self.version.name),
            )
            .await?;
        let Some(row) = row else {
            return Ok(Seen { latest_version: 0, last_number: 0, archived: false });
        };
        Ok(Seen {
            latest_version: count(&row, "latest_version")?,
            last_number: count(&row, "last_number")?,
            archived: count(&row, "archived")? != 0,
        })
    }

    /// The latest version, if it has the same document.
    async fn same_latest(&self, tx: &mut Tx<'_>) -> Result<Option<Published>, StoreError> {
        let row = tx
            .fetch_optional(
                sqlx::query(
                    "SELECT v.id, v.version
                     FROM workflows w JOIN workflow_versions v ON v.id = w.latest_id
                     WHERE w.organization_id = ?1 AND w.workspace_id = ?2 AND w.name = ?3 AND v.digest = ?4",
                )
                .bind(&*self.tenant.organization)
                .bind(&*self.tenant.workspace)
                .bind(&self.version.name)
                .bind(&self.version.digest[..]),
            )
            .await?;
        row.map(|row| there_already(&row, false)).transpose()
    }

    /// The draft with the same document.
    async fn draft(&self, tx: &mut Tx<'_>) -> Result<Option<Published>, StoreError> {
        let row = tx
            .fetch_optional(
                sqlx::query(
                    "SELECT id, version FROM workflow_drafts
                     WHERE organization_id = ?1 AND workspace_id = ?2 AND name = ?3 AND digest = ?4",
                )
                .bind(&*self.tenant.organization)
                .bind(&*self.tenant.workspace)
                .bind(&self.version.name)
                .bind(&self.version.digest[..]),
            )
            .await?;
        row.map(|row| there_already(&row, true)).transpose()
    }

    async fn insert(
        &self,
        tx: &mut Tx<'_>,
        statement: &'static str,
        id: VersionId,
        number: u32,
    ) -> Result<(), StoreError> {
        tx.execute(
            sqlx::query(statement)
                .bind(id.to_string())
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

/// A version or a draft that was stored before; whether its workflow is archived is left to whoever has seen that.
fn there_already(row: &SqliteRow, draft: bool) -> Result<Published, StoreError> {
    Ok(Published {
        id: VersionId(row.uuid("id")?),
        version: count(row, "version")?,
        created: false,
        promoted: false,
        draft,
        archived: false,
    })
}

/// Archives a workflow, or takes that back.
pub(super) struct Archive {
    pub(super) tenant: Identity,
    pub(super) name: String,
    pub(super) archived: bool,
}

#[async_trait]
impl Write for Archive {
    type Reply = Option<WorkflowSummary>;
    const NAME: &'static str = "archive_workflow";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let row = tx
            .fetch_optional(
                sqlx::query(
                    // One of which all drafts were pruned is not there.
                    "UPDATE workflows
                     SET archived_at = CASE WHEN ?4 THEN coalesce(archived_at, ?5) END
                     WHERE organization_id = ?1 AND workspace_id = ?2 AND name = ?3
                       AND (latest_version > 0
                            OR EXISTS (SELECT 1 FROM workflow_drafts
                                       WHERE organization_id = ?1 AND workspace_id = ?2 AND name = ?3))
                     RETURNING name, description, latest_version, created_at, updated_at, archived_at",
                )
                .bind(&*self.tenant.organization)
                .bind(&*self.tenant.workspace)
                .bind(&self.name)
                .bind(self.archived)
                .bind(tx.now),
            )
            .await?;
        row.as_ref().map(views::workflow).transpose()
    }
}

/// Deletes drafts that were stored long ago and have no run.
pub(super) struct PruneDrafts {
    pub(super) unused_for: Duration,
    pub(super) limit: u32,
}

#[async_trait]
impl Write for PruneDrafts {
    type Reply = u32;
    const NAME: &'static str = "prune_drafts";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u32, StoreError> {
        let pruned = tx
            .execute(
                sqlx::query(
                    "DELETE FROM workflow_drafts WHERE id IN (
                         SELECT id FROM workflow_drafts WHERE started_at IS NULL AND stored_at <= ?1
                         ORDER BY stored_at LIMIT ?2)",
                )
                .bind(tx.now.saturating_sub(timing::millis(self.unused_for).saturating_mul(1000)))
                .bind(self.limit),
            )
            .await?;
        Ok(u32::try_from(pruned).unwrap_or(u32::MAX))
    }
}
