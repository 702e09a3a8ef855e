//! API keys.

use async_trait::async_trait;

use super::writer::{Tx, Write};
use super::{SqliteStore, store_error};
use crate::domain::tenant::Identity;
use crate::store::StoreError;
use crate::store::keys::{KeyDigest, KeyStore, bound_elsewhere};
use crate::store::rows::identity;

#[async_trait]
impl KeyStore for SqliteStore {
    async fn ensure_key(&self, digest: &KeyDigest, identity: &Identity) -> Result<(), StoreError> {
        let bound = self.write(EnsureKey { digest: *digest, identity: identity.clone() }).await?;
        if bound { Ok(()) } else { Err(bound_elsewhere()) }
    }

    async fn find_key(&self, digest: &KeyDigest) -> Result<Option<Identity>, StoreError> {
        let row = sqlx::query(
            "SELECT organization_id, workspace_id, user_id FROM api_keys WHERE digest = ?1",
        )
        .bind(&digest[..])
        .fetch_optional(self.readers())
        .await
        .map_err(store_error)?;
        row.as_ref().map(identity).transpose()
    }
}

struct EnsureKey {
    digest: KeyDigest,
    identity: Identity,
}

#[async_trait]
impl Write for EnsureKey {
    /// Whether the key stands for the identity now.
    type Reply = bool;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let now = tx.now;
        let rows = tx.execute(
            sqlx::query(
                "INSERT INTO api_keys (digest, organization_id, workspace_id, user_id, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (digest) DO UPDATE SET user_id = excluded.user_id
                 WHERE api_keys.organization_id = excluded.organization_id
                   AND api_keys.workspace_id = excluded.workspace_id",
            )
            .bind(&self.digest[..])
            .bind(&*self.identity.organization)
            .bind(&*self.identity.workspace)
            .bind(&*self.identity.user)
            .bind(now),
        )
        .await?;
        Ok(rows == 1)
    }
}
