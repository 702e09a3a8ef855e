//! API keys.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::tenant::Identity;

/// The SHA-256 of a key. Keys have so much entropy that a slow hash would add nothing.
pub type KeyDigest = [u8; 32];

/// API keys.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Makes sure that the key exists and stands for `identity`. A key that exists already is
    /// re-bound: whoever sets the bootstrap key decides what it stands for.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn ensure_key(&self, digest: &KeyDigest, identity: &Identity) -> Result<(), StoreError>;

    /// What the key stands for, or `None` if there is no such key.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn find_key(&self, digest: &KeyDigest) -> Result<Option<Identity>, StoreError>;
}
