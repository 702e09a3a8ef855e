//! API keys.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::tenant::Identity;

/// The SHA-256 of a key. Keys have so much entropy that a slow hash would add nothing.
pub type KeyDigest = [u8; 32];

/// The error where a key would have to move.
pub(super) fn bound_elsewhere() -> StoreError {
    let text = "the API key stands for another organization or workspace already; use a new key for this one, or the \
                names that it was made with";
    StoreError::Setup(text.to_owned())
}

/// API keys.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Makes sure that the key exists and stands for `identity`. One that exists already may get another user. It never
    /// moves to another organization or workspace: whoever has it would see what is somebody else's.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Setup`] when the key stands for another organization or workspace.
    async fn ensure_key(&self, digest: &KeyDigest, identity: &Identity) -> Result<(), StoreError>;

    /// What the key stands for, or `None` if there is no such key.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn find_key(&self, digest: &KeyDigest) -> Result<Option<Identity>, StoreError>;
}
