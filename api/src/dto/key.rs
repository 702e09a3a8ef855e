//! API keys, without what they are made of.

use chrono::{DateTime, Utc};
use serde::Serialize;
use skein_shared::domain::key_id::KeyId;
use skein_shared::domain::key_scopes::{KeyScope, KeyScopes};
use skein_shared::store::keys::{FoundKey, KeyDigest, StoredKey};
use utoipa::ToSchema;

use crate::random_key::RandomKey;
use crate::words;

fn named(scopes: KeyScopes) -> Vec<&'static str> {
    scopes.iter().map(KeyScope::as_str).collect()
}

/// A key in a listing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApiKey {
    /// Its id: `key_` and 16 hex digits. Not the key itself, which nobody has stored.
    #[schema(pattern = "^key_[0-9a-f]{16}$")]
    id: String,
    /// What its maker has called it; null where a program made it at its start.
    #[schema(required)]
    name: Option<String>,
    /// What it may do. `admin` includes all others.
    #[schema(value_type = Vec<words::KeyScope>)]
    scopes: Vec<&'static str>,
    /// The organization that it stands for.
    organization: String,
    /// The workspace that it stands for.
    workspace: String,
    /// The user that it stands for.
    user: String,
    /// The user whose key made it; null where a program made it at its start.
    #[schema(required)]
    created_by: Option<String>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it ends, or has ended, by itself.
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
    /// Since when it is revoked.
    #[schema(required)]
    revoked_at: Option<DateTime<Utc>>,
    /// When it was seen in use last, to a minute or two.
    #[schema(required)]
    last_used_at: Option<DateTime<Utc>>,
}

/// A page of keys, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyList {
    /// The keys.
    pub(crate) items: Vec<ApiKey>,
    /// Where the next page starts; null on the last one.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

/// A key that was just made. Not to be printed: it is the only place where the key itself stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedKey {
    #[serde(flatten)]
    details: ApiKey,
    /// The key, for `Authorization: Bearer`. It is shown here and never again.
    key: String,
}

/// The key that a request was sent with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CallerKey {
    /// Its id: `key_` and 16 hex digits.
    #[schema(pattern = "^key_[0-9a-f]{16}$")]
    id: String,
    /// What its maker has called it; null where a program made it at its start.
    #[schema(required)]
    name: Option<String>,
    /// What it may do. `admin` includes all others.
    #[schema(value_type = Vec<words::KeyScope>)]
    scopes: Vec<&'static str>,
    /// The organization that it stands for.
    organization: String,
    /// The workspace that it stands for.
    workspace: String,
    /// The user that it stands for.
    user: String,
    /// When it ends by itself.
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
}

impl From<StoredKey> for ApiKey {
    fn from(key: StoredKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            scopes: named(key.scopes),
            organization: key.identity.organization.to_string(),
            workspace: key.identity.workspace.to_string(),
            user: key.identity.user.to_string(),
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

impl CreatedKey {
    pub(crate) fn new(details: StoredKey, key: &RandomKey) -> Self {
        Self { details: details.into(), key: key.expose().to_owned() }
    }
}

impl CallerKey {
    pub(crate) fn new(digest: &KeyDigest, key: &FoundKey) -> Self {
        Self {
            id: KeyId::of(digest).to_string(),
            name: key.name.as_deref().map(str::to_owned),
            scopes: named(key.scopes),
            organization: key.identity.organization.to_string(),
            workspace: key.identity.workspace.to_string(),
            user: key.identity.user.to_string(),
            expires_at: key.expires_at,
        }
    }
}
