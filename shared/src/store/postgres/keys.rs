//! API keys.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::rows::get;
use super::{PostgresStore, store_error};
use crate::domain::key_id::KeyId;
use crate::domain::limits::{KEY_USE_INTERVAL, KEYS_OVER_LISTED_MAX, KEYS_PER_ORGANIZATION_MAX};
use crate::domain::tenant::Identity;
use crate::store::keys::{
    Ensured, FoundKey, KeyAdmin, KeyCreation, KeyCursor, KeyDigest, KeyExpiry, KeyFilter, KeyStore,
    NewKey, Revocation, StoredKey, bound_elsewhere, found, page, stored, whole,
};
use crate::store::{Page, PageRequest, StoreError};

#[async_trait]
impl KeyStore for PostgresStore {
    async fn ensure_key(
        &self,
        digest: &KeyDigest,
        identity: &Identity,
    ) -> Result<Ensured, StoreError> {
        let row = sqlx::query(
            "INSERT INTO api_keys (digest, organization_id, workspace_id, user_id) VALUES ($1, $2, $3, $4)
             ON CONFLICT (digest) DO UPDATE SET user_id = EXCLUDED.user_id
             WHERE api_keys.organization_id = EXCLUDED.organization_id
               AND api_keys.workspace_id = EXCLUDED.workspace_id
             RETURNING revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS is_good",
        )
        .bind(&digest[..])
        .bind(&*identity.organization)
        .bind(&*identity.workspace)
        .bind(&*identity.user)
        .fetch_optional(self.pool.named("ensure_key"))
        .await
        .map_err(store_error)?;
        let is_good: bool = get(&row.ok_or_else(bound_elsewhere)?, "is_good")?;
        Ok(if is_good { Ensured::Good } else { Ensured::Over })
    }

    async fn find_key(&self, digest: &KeyDigest) -> Result<Option<FoundKey>, StoreError> {
        let row = sqlx::query(
            "SELECT organization_id, workspace_id, user_id, scopes, name, expires_at, now() AS now
             FROM api_keys
             WHERE digest = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        )
        .bind(&digest[..])
        .fetch_optional(self.pool.named("find_key"))
        .await
        .map_err(store_error)?;
        row.map(|row| found(&row, get(&row, "now")?)).transpose()
    }

    async fn touch_keys(&self, digests: &[KeyDigest]) -> Result<(), StoreError> {
        let digests: Vec<_> = digests.iter().map(|digest| &digest[..]).collect();
        sqlx::query(include_str!("sql/touch_keys.sql"))
            .bind(digests)
            .bind(micros(KEY_USE_INTERVAL))
            .execute(self.pool.named("touch_keys"))
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn has_good_key(&self) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM api_keys
                            WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))",
        )
        .fetch_one(self.pool.named("has_good_key"))
        .await
        .map_err(store_error)
    }
}

#[async_trait]
impl KeyAdmin for PostgresStore {
    async fn create_key(&self, key: &NewKey) -> Result<KeyCreation, StoreError> {
        let (good_for, ends_at) = match key.expiry {
            Some(KeyExpiry::In(time)) => (Some(micros(time)), None),
            Some(KeyExpiry::At(time)) => (None, Some(time)),
            None => (None, None),
        };
        let row = sqlx::query(include_str!("sql/create_key.sql"))
            .bind(&key.digest[..])
            .bind(&*key.identity.organization)
            .bind(&*key.identity.workspace)
            .bind(&*key.identity.user)
            .bind(key.scopes.to_string())
            .bind(&key.name)
            .bind(&*key.created_by)
            .bind(good_for)
            .bind(ends_at)
            .bind(key.ends_with)
            .bind(i64::from(KEYS_PER_ORGANIZATION_MAX))
            .bind(i64::from(KEYS_OVER_LISTED_MAX))
            .fetch_one(self.pool.named("create_key"))
            .await
            .map_err(store_error)?;
        if get::<Option<&[u8]>>(&row, "digest")?.is_some() {
            return Ok(KeyCreation::Created(listed(&row)?));
        }
        match (get(&row, "is_past")?, get(&row, "is_full")?) {
            (true, _) => Ok(KeyCreation::PastExpiry),
            (false, true) => Ok(KeyCreation::TooMany),
            (false, false) => Err(bound_elsewhere()),
        }
    }

    async fn list_keys(
        &self,
        tenant: &Identity,
        filter: &KeyFilter,
        request: &PageRequest,
    ) -> Result<Page<StoredKey>, StoreError> {
        let cursor = KeyCursor::of(request);
        let rows = sqlx::query(include_str!("sql/list_keys.sql"))
            .bind(&*tenant.organization)
            .bind(&filter.workspace)
            .bind(&filter.user)
            .bind(cursor.map(|cursor| cursor.created_at))
            .bind(cursor.map(|cursor| cursor.id.first_digest().to_vec()))
            .bind(i64::from(request.limit) + 1)
            .fetch_all(self.reads.named("list_keys"))
            .await
            .map_err(store_error)?;
        Ok(page(rows.iter().map(listed).collect::<Result<_, _>>()?, request.limit))
    }

    async fn revoke_key(
        &self,
        tenant: &Identity,
        id: KeyId,
    ) -> Result<Option<Revocation>, StoreError> {
        let row = sqlx::query(include_str!("sql/revoke_key.sql"))
            .bind(&*tenant.organization)
            .bind(&id.first_digest()[..])
            .bind(&id.last_digest()[..])
            .fetch_optional(self.pool.named("revoke_key"))
            .await
            .map_err(store_error)?;
        let Some(row) = row else { return Ok(None) };
        let is_last_admin: bool = get(&row, "is_last_admin")?;
        let digest = whole(get(&row, "digest")?)?;
        Ok(Some(if is_last_admin { Revocation::LastAdmin } else { Revocation::Revoked(digest) }))
    }
}

fn listed(row: &PgRow) -> Result<StoredKey, StoreError> {
    stored(row, get(row, "digest")?)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
