//! A key that only this process knows.
//!
//! A command that looks into a database does so through an API of its own, and that takes a key. Written into
//! the database it would be good for ever; here it ends with the process.

use async_trait::async_trait;
use skein_shared::domain::key_scopes::KeyScopes;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::StoreError;
use skein_shared::store::keys::{Ensured, FoundKey, KeyDigest, KeyStore};

/// One key and what it stands for. There are no others, and none can be made.
pub(crate) struct GuestKey {
    digest: KeyDigest,
    identity: Identity,
}

impl GuestKey {
    /// The key of this digest, standing for `identity`.
    pub(crate) fn new(digest: KeyDigest, identity: Identity) -> Self {
        Self { digest, identity }
    }
}

#[async_trait]
impl KeyStore for GuestKey {
    async fn ensure_key(&self, _: &KeyDigest, _: &Identity) -> Result<Ensured, StoreError> {
        Err(StoreError::Setup("a guest makes no keys".to_owned()))
    }

    async fn find_key(&self, digest: &KeyDigest) -> Result<Option<FoundKey>, StoreError> {
        Ok((*digest == self.digest).then(|| FoundKey {
            identity: self.identity.clone(),
            scopes: KeyScopes::all(),
            name: None,
            expires_at: None,
            expires_in: None,
        }))
    }

    /// It is in use until the process ends, and nobody lists it.
    async fn touch_keys(&self, _: &[KeyDigest]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn has_good_key(&self) -> Result<bool, StoreError> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use skein_api::digest;

    use super::*;

    #[tokio::test]
    async fn one_key_is_known_and_no_other_is_made() {
        let identity = Identity::new("o", "w", "u");
        let keys = GuestKey::new(digest("guest"), identity.clone());
        let found = keys.find_key(&digest("guest")).await.unwrap();
        assert_eq!(found.map(|key| key.identity), Some(identity.clone()));
        let stranger = digest("stranger");
        assert!(keys.ensure_key(&stranger, &identity).await.is_err());
        assert_eq!(keys.find_key(&stranger).await.unwrap(), None);
    }
}
