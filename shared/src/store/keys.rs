//! API keys.
//!
//! Two contracts: [`KeyStore`] is what lets a request in, [`KeyAdmin`] is what an organization does with its keys. A key
//! itself is stored nowhere, and its digest is shown nowhere: what people see is its [`KeyId`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::rows::{Columns, identity, owned, text, time};
use super::{Page, PageRequest, StoreError};
use crate::domain::key_id::KeyId;
use crate::domain::key_scopes::KeyScopes;
use crate::domain::tenant::Identity;

/// The SHA-256 of a key. Keys have so much entropy that a slow hash would add nothing.
pub type KeyDigest = [u8; 32];

/// The error where a key would have to move.
pub(super) fn bound_elsewhere() -> StoreError {
    let text = "the API key stands for another organization or workspace already; use a new key for this one, or the \
                names that it was made with";
    StoreError::Setup(text.to_owned())
}

/// What has become of a key that must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It lets requests in.
    Good,
    /// It has been revoked or has expired, and stays so.
    Over,
}

/// A key that lets a request in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    /// What it stands for.
    pub identity: Identity,
    /// What it may do.
    pub scopes: KeyScopes,
    /// What its maker has called it.
    pub name: Option<Arc<str>>,
    /// When it ends, by the store's clock.
    pub expires_at: Option<DateTime<Utc>>,
    /// How long it is still good. For whoever remembers the key and has another clock than the store.
    pub expires_in: Option<Duration>,
}

/// When a new key is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyExpiry {
    /// So long after it was made, by the store's clock.
    In(Duration),
    /// At this time.
    At(DateTime<Utc>),
}

/// A key that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Of the key.
    pub digest: KeyDigest,
    /// What it is to stand for. The organization MUST be its maker's.
    pub identity: Identity,
    /// What it is to be allowed. MUST NOT be more than its maker is.
    pub scopes: KeyScopes,
    /// What it is called.
    pub name: String,
    /// When it is to end; absent: never.
    pub expiry: Option<KeyExpiry>,
    /// When its maker's key ends: it ends then at the latest.
    pub ends_with: Option<DateTime<Utc>>,
    /// The user whose key makes it.
    pub created_by: Arc<str>,
}

/// A key as its organization sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Its id.
    pub id: KeyId,
    /// What it stands for.
    pub identity: Identity,
    /// What it may do.
    pub scopes: KeyScopes,
    /// What its maker has called it; nothing where a program made it at its start.
    pub name: Option<String>,
    /// The user whose key made it.
    pub created_by: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends or has ended by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was seen in use last, to a minute or two.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// What became of a key that was to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyCreation {
    /// It is there.
    Created(StoredKey),
    /// The organization has as many good keys as it may have.
    TooMany,
    /// It would have ended already.
    PastExpiry,
}

/// Which keys of an organization are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Of this workspace only.
    pub workspace: Option<String>,
    /// Of this user only.
    pub user: Option<String>,
}

/// What became of a key that was to be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// It is revoked now, or was before. Its digest, for whoever remembers the key.
    Revoked(KeyDigest),
    /// It is good and the only one of the organization that may make others; it still is.
    LastAdmin,
}

/// What lets requests in.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Makes sure that the key exists and stands for `identity`, with all scopes if it is new. One that exists already
    /// may get another user; everything else about it stays: it MUST NOT come back when it was revoked or has expired.
    /// It never moves to another organization or workspace: whoever has it would see what is somebody else's.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Setup`] when the key stands for another organization or workspace.
    async fn ensure_key(
        &self,
        digest: &KeyDigest,
        identity: &Identity,
    ) -> Result<Ensured, StoreError>;

    /// The key, or `None` if there is none, it was revoked or it has expired. SHOULD be one look-up: every request with
    /// a key that is not remembered waits for it.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn find_key(&self, digest: &KeyDigest) -> Result<Option<FoundKey>, StoreError>;

    /// Notes that these keys are in use, each once in [`KEY_USE_INTERVAL`](crate::domain::limits::KEY_USE_INTERVAL) at
    /// most, however many processes note it. What is not there is passed over; what somebody else has locked may be.
    /// A crash in the middle loses the note and nothing else.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn touch_keys(&self, digests: &[KeyDigest]) -> Result<(), StoreError>;

    /// Whether there is any key that lets a request in, whoever's it is: for an operator who has just set everything up.
    /// It is asked at the start of a process and says nothing about any organization.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn has_good_key(&self) -> Result<bool, StoreError>;
}

/// What an organization does with its keys. Of `tenant` only the organization counts: whoever may do this may do it for
/// all of its workspaces.
#[async_trait]
pub trait KeyAdmin: Send + Sync + 'static {
    /// Makes a key. Of the organization's keys that are over, those beyond
    /// [`KEYS_OVER_LISTED_MAX`](crate::domain::limits::KEYS_OVER_LISTED_MAX) are forgotten in the same step; a key that
    /// a program made at its start never is, because its revocation must outlast the next start.
    ///
    /// Repeating it with the same digest and organization finds the key that the first call made. Keys that are made at
    /// the same moment MAY exceed the number that an organization may have by one each.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Setup`] when the digest is that of another organization's key.
    async fn create_key(&self, key: &NewKey) -> Result<KeyCreation, StoreError>;

    /// The keys of the organization, newest first, revoked and expired ones among them.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list_keys(
        &self,
        tenant: &Identity,
        filter: &KeyFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredKey>, StoreError>;

    /// Revokes a key of the organization, for good; `None` if it has no such key. Repeating it changes nothing, and
    /// MUST NOT change the time of the first. The last good key with the scope `admin` is not revoked: nobody could make
    /// another one. Of two calls at once that revoke the last two of them, one MUST find that it is the last.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn revoke_key(
        &self,
        tenant: &Identity,
        id: KeyId,
    ) -> Result<Option<Revocation>, StoreError>;
}

/// Where a page of keys begins: behind the key that was made at this time and has this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyCursor {
    pub(super) created_at: DateTime<Utc>,
    pub(super) id: KeyId,
}

impl KeyCursor {
    /// The cursor of a page; none where the page is the first, or the cursor nothing that a store has made.
    pub(super) fn of(page: &PageRequest) -> Option<Self> {
        let (micros, id) = page.cursor.as_deref()?.split_once('.')?;
        let created_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        Some(Self { created_at, id: id.parse().ok()? })
    }

    fn behind(key: &StoredKey) -> String {
        format!("{}.{}", key.created_at.timestamp_micros(), key.id)
    }
}

/// Makes a page out of keys, newest first, one more than the page holds.
pub(super) fn page(keys: Vec<StoredKey>, limit: u32) -> Page<StoredKey> {
    Page::cut(keys, limit, KeyCursor::behind)
}

/// Reads what lets a request in, at the store's time `now`.
pub(super) fn found(row: &impl Columns, now: DateTime<Utc>) -> Result<FoundKey, StoreError> {
    let expires_at = row.time("expires_at")?;
    Ok(FoundKey {
        identity: identity(row)?,
        scopes: KeyScopes::of_words(text(row, "scopes")?),
        name: row.text("name")?.map(Arc::from),
        expires_at,
        expires_in: expires_at.map(|at| (at - now).to_std().unwrap_or_default()),
    })
}

/// Reads a key whose digest is this.
pub(super) fn stored(row: &impl Columns, digest: &[u8]) -> Result<StoredKey, StoreError> {
    Ok(StoredKey {
        id: KeyId::of(&whole(digest)?),
        identity: identity(row)?,
        scopes: KeyScopes::of_words(text(row, "scopes")?),
        name: owned(row, "name")?,
        created_by: owned(row, "created_by")?,
        created_at: time(row, "created_at")?,
        expires_at: row.time("expires_at")?,
        revoked_at: row.time("revoked_at")?,
        last_used_at: row.time("last_used_at")?,
    })
}

/// A digest as a column holds it.
pub(super) fn whole(digest: &[u8]) -> Result<KeyDigest, StoreError> {
    let bytes = digest.len();
    digest.try_into().map_err(|_| StoreError::Corrupt(format!("a key's digest of {bytes} bytes")))
}
