//! The key that exists without anybody having made it.

use skein_shared::config::BootstrapKey;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::keys::Ensured;
use skein_shared::store::{KeyStore, StoreError};

use crate::auth::digest;

/// Makes sure that the key exists and stands for the identity, with all scopes if it is new. Safe to repeat and to do from
/// many processes at once. One that was revoked stays so: a restart must not bring back what somebody has taken away.
///
/// # Errors
/// See [`StoreError`]; [`StoreError::Setup`] when it stands for another organization or workspace already.
pub async fn ensure_bootstrap_key(
    store: &(impl KeyStore + ?Sized),
    key: &BootstrapKey,
    identity: &Identity,
) -> Result<Ensured, StoreError> {
    store.ensure_key(&digest(key.expose()), identity).await
}
