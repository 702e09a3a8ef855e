//! API keys.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::rows::get;
use super::time::instant;
use super::writer::{Tx, Write};
use super::{SqliteStore, store_error};
use crate::domain::key_id::KeyId;
use crate::domain::limits::{KEY_USE_INTERVAL, KEYS_OVER_LISTED_MAX, KEYS_PER_ORGANIZATION_MAX};
use crate::domain::tenant::Identity;
use crate::store::keys::{
    Ensured, FoundKey, KeyAdmin, KeyCreation, KeyCursor, KeyDigest, KeyExpiry, KeyFilter, KeyStore,
    NewKey, Revocation, StoredKey, bound_elsewhere, found, page, stored, whole,
};
use crate::store::{Page, PageRequest, StoreError};

#[async_trait]
impl KeyStore for SqliteStore {
    async fn ensure_key(
        &self,
        digest: &KeyDigest,
        identity: &Identity,
    ) -> Result<Ensured, StoreError> {
        let ensured = self.write(EnsureKey { digest: *digest, identity: identity.clone() }).await?;
        ensured.ok_or_else(bound_elsewhere)
    }

    async fn find_key(&self, digest: &KeyDigest) -> Result<Option<FoundKey>, StoreError> {
        let row = sqlx::query(
            "WITH clock AS (SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now)
             SELECT organization_id, workspace_id, user_id, scopes, name, expires_at, now
             FROM api_keys, clock
             WHERE digest = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now)",
        )
        .bind(&digest[..])
        .fetch_optional(self.reading("find_key"))
        .await
        .map_err(store_error)?;
        row.map(|row| found(&row, instant(get(&row, "now")?)?)).transpose()
    }

    async fn touch_keys(&self, digests: &[KeyDigest]) -> Result<(), StoreError> {
        self.write(TouchKeys(digests.to_vec())).await
    }

    async fn has_good_key(&self) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "WITH clock AS (SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now)
             SELECT EXISTS (SELECT 1 FROM api_keys, clock
                            WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now))",
        )
        .fetch_one(self.reading("has_good_key"))
        .await
        .map_err(store_error)
    }
}

#[async_trait]
impl KeyAdmin for SqliteStore {
    async fn create_key(&self, key: &NewKey) -> Result<KeyCreation, StoreError> {
        self.write(key.clone()).await?.ok_or_else(bound_elsewhere)
    }

    async fn list_keys(
        &self,
        tenant: &Identity,
        filter: &KeyFilter,
        request: &PageRequest,
    ) -> Result<Page<StoredKey>, StoreError> {
        let cursor = KeyCursor::of(request);
        let rows = sqlx::query(
            "SELECT * FROM api_keys
             WHERE organization_id = ?1 AND (?2 IS NULL OR workspace_id = ?2) AND (?3 IS NULL OR user_id = ?3)
               AND (created_at, digest) < (coalesce(?4, 9223372036854775807), coalesce(?5, x''))
             ORDER BY created_at DESC, digest DESC LIMIT ?6",
        )
        .bind(&*tenant.organization)
        .bind(&filter.workspace)
        .bind(&filter.user)
        .bind(cursor.map(|cursor| cursor.created_at.timestamp_micros()))
        .bind(cursor.map(|cursor| cursor.id.first_digest().to_vec()))
        .bind(i64::from(request.limit) + 1)
        .fetch_all(self.listing("list_keys"))
        .await
        .map_err(store_error)?;
        Ok(page(rows.iter().map(listed).collect::<Result<_, _>>()?, request.limit))
    }

    async fn revoke_key(
        &self,
        tenant: &Identity,
        id: KeyId,
    ) -> Result<Option<Revocation>, StoreError> {
        self.write(RevokeKey { tenant: tenant.clone(), id }).await
    }
}

fn listed(row: &SqliteRow) -> Result<StoredKey, StoreError> {
    stored(row, get(row, "digest")?)
}

struct EnsureKey {
    digest: KeyDigest,
    identity: Identity,
}

#[async_trait]
impl Write for EnsureKey {
    /// Nothing if the key stands for something else.
    type Reply = Option<Ensured>;
    const NAME: &'static str = "ensure_key";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Option<Ensured>, StoreError> {
        let now = tx.now;
        let row = tx
            .fetch_optional(
                sqlx::query(
                    "INSERT INTO api_keys (digest, organization_id, workspace_id, user_id, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (digest) DO UPDATE SET user_id = excluded.user_id
                     WHERE api_keys.organization_id = excluded.organization_id
                       AND api_keys.workspace_id = excluded.workspace_id
                     RETURNING revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?5) AS is_good",
                )
                .bind(&self.digest[..])
                .bind(&*self.identity.organization)
                .bind(&*self.identity.workspace)
                .bind(&*self.identity.user)
                .bind(now),
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(if get(&row, "is_good")? { Ensured::Good } else { Ensured::Over }))
    }
}

struct TouchKeys(Vec<KeyDigest>);

#[async_trait]
impl Write for TouchKeys {
    type Reply = ();
    const NAME: &'static str = "touch_keys";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let now = tx.now;
        // The same pause back as `after` would go on.
        let noted_before = now - (tx.after(KEY_USE_INTERVAL) - now);
        for digest in &self.0 {
            tx.execute(
                sqlx::query(
                    "UPDATE api_keys SET last_used_at = ?2
                     WHERE digest = ?1 AND (last_used_at IS NULL OR last_used_at <= ?3)",
                )
                .bind(&digest[..])
                .bind(now)
                .bind(noted_before),
            )
            .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Write for NewKey {
    /// Nothing if the digest is that of another organization's key.
    type Reply = Option<KeyCreation>;
    const NAME: &'static str = "create_key";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Option<KeyCreation>, StoreError> {
        let asked = self.expiry.map(|expiry| match expiry {
            KeyExpiry::In(time) => tx.after(time),
            KeyExpiry::At(time) => time.timestamp_micros(),
        });
        let latest = self.ends_with.map(|time| time.timestamp_micros());
        let expires_at = asked.into_iter().chain(latest).min();
        if expires_at.is_some_and(|at| at <= tx.now) {
            return Ok(Some(KeyCreation::PastExpiry));
        }
        self.forget_oldest(tx).await?;
        if self.others(tx).await? >= i64::from(KEYS_PER_ORGANIZATION_MAX) {
            return Ok(Some(KeyCreation::TooMany));
        }
        let now = tx.now;
        let row = tx
            .fetch_optional(
                sqlx::query(
                    "INSERT INTO api_keys (digest, organization_id, workspace_id, user_id, scopes, name, created_by,
                                           expires_at, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (digest) DO UPDATE SET digest = excluded.digest
                     WHERE api_keys.organization_id = excluded.organization_id
                     RETURNING *",
                )
                .bind(&self.digest[..])
                .bind(&*self.identity.organization)
                .bind(&*self.identity.workspace)
                .bind(&*self.identity.user)
                .bind(self.scopes.to_string())
                .bind(&self.name)
                .bind(&*self.created_by)
                .bind(expires_at)
                .bind(now),
            )
            .await?;
        row.map(|row| Ok(KeyCreation::Created(listed(&row)?))).transpose()
    }
}

impl NewKey {
    async fn forget_oldest(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let now = tx.now;
        tx.execute(
            sqlx::query(
                "DELETE FROM api_keys WHERE digest IN (
                     SELECT digest FROM api_keys
                     WHERE organization_id = ?1 AND created_by IS NOT NULL
                       AND (revoked_at IS NOT NULL OR expires_at <= ?2)
                     ORDER BY min(coalesce(revoked_at, expires_at), coalesce(expires_at, revoked_at)) DESC, digest
                     LIMIT -1 OFFSET ?3)",
            )
            .bind(&*self.identity.organization)
            .bind(now)
            .bind(KEYS_OVER_LISTED_MAX),
        )
        .await?;
        Ok(())
    }

    /// Good keys of the organization besides this one.
    async fn others(&self, tx: &mut Tx<'_>) -> Result<i64, StoreError> {
        let now = tx.now;
        let row = tx
            .fetch_optional(
                sqlx::query(
                    "SELECT count(*) AS count FROM api_keys
                     WHERE organization_id = ?1 AND digest <> ?2 AND revoked_at IS NULL
                       AND (expires_at IS NULL OR expires_at > ?3)",
                )
                .bind(&*self.identity.organization)
                .bind(&self.digest[..])
                .bind(now),
            )
            .await?;
        row.map_or(Ok(0), |row| get(&row, "count"))
    }
}

struct RevokeKey {
    tenant: Identity,
    id: KeyId,
}

#[async_trait]
impl Write for RevokeKey {
    type Reply = Option<Revocation>;
    const NAME: &'static str = "revoke_key";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Option<Revocation>, StoreError> {
        let now = tx.now;
        let row = tx
            .fetch_optional(
                sqlx::query(
                    "WITH admins AS (
                         SELECT digest FROM api_keys
                         WHERE organization_id = ?1 AND revoked_at IS NULL
                           AND (expires_at IS NULL OR expires_at > ?4) AND ' ' || scopes || ' ' LIKE '% admin %')
                     SELECT digest,
                            digest IN (SELECT digest FROM admins)
                                AND NOT EXISTS (SELECT 1 FROM admins a WHERE a.digest <> k.digest) AS is_last_admin
                     FROM api_keys k WHERE organization_id = ?1 AND digest BETWEEN ?2 AND ?3",
                )
                .bind(&*self.tenant.organization)
                .bind(&self.id.first_digest()[..])
                .bind(&self.id.last_digest()[..])
                .bind(now),
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        if get(&row, "is_last_admin")? {
            return Ok(Some(Revocation::LastAdmin));
        }
        let digest = whole(get(&row, "digest")?)?;
        tx.execute(
            sqlx::query(
                "UPDATE api_keys SET revoked_at = ?2 WHERE digest = ?1 AND revoked_at IS NULL",
            )
            .bind(&digest[..])
            .bind(now),
        )
        .await?;
        Ok(Some(Revocation::Revoked(digest)))
    }
}
