//! API keys.

use async_trait::async_trait;

use super::{PostgresStore, store_error};
use crate::domain::tenant::Identity;
use crate::store::StoreError;
use crate::store::keys::{KeyDigest, KeyStore, bound_elsewhere};
use crate::store::rows::identity;

#[async_trait]
impl KeyStore for PostgresStore {
    async fn ensure_key(&self, digest: &KeyDigest, identity: &Identity) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO api_keys (digest, organization_id, workspace_id, user_id) VALUES ($1, $2, $3, $4)
             ON CONFLICT (digest) DO UPDATE SET user_id = EXCLUDED.user_id
             WHERE api_keys.organization_id = EXCLUDED.organization_id
               AND api_keys.workspace_id = EXCLUDED.workspace_id",
        )
        .bind(&digest[..])
        .bind(&*identity.organization)
        .bind(&*identity.workspace)
        .bind(&*identity.user)
        .execute(&self.pool)
        .await
        .map_err(store_error)?;
        if done.rows_affected() == 0 { Err(bound_elsewhere()) } else { Ok(()) }
    }

    async fn find_key(&self, digest: &KeyDigest) -> Result<Option<Identity>, StoreError> {
        let row = sqlx::query(
            "SELECT organization_id, workspace_id, user_id FROM api_keys WHERE digest = $1",
        )
        .bind(&digest[..])
        .fetch_optional(&self.pool)
        .await
        .map_err(store_error)?;
        row.as_ref().map(identity).transpose()
    }
}
