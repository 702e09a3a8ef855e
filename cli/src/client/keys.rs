//! API keys.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, Page};

/// A key that is to be made. What is absent is left to the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WantedKey {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The workspace that it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The user that it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How long it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
}

/// Which keys to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyQuery {
    /// Of this workspace only.
    pub workspace: Option<String>,
    /// Of this user only.
    pub user: Option<String>,
    /// Rows at most.
    pub limit: u32,
}

impl Client {
    /// Makes a key; the answer as [`CreatedKey`](super::CreatedKey), or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_key<T: DeserializeOwned>(
        &self,
        wanted: &WantedKey,
    ) -> Result<T, ClientError> {
        self.answer(self.request(Method::POST, &["v1", "keys"]).json(wanted)).await
    }

    /// A page of keys, newest first; each as [`KeySummary`](super::KeySummary), or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn keys<T: DeserializeOwned>(
        &self,
        query: &KeyQuery,
    ) -> Result<Page<T>, ClientError> {
        let optional = [("workspace", &query.workspace), ("user", &query.user)];
        let given = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let given: Vec<_> = given.collect();
        let request = self.request(Method::GET, &["v1", "keys"]);
        self.answer(request.query(&given).query(&[("limit", query.limit)])).await
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revoke_key(&self, id: &str) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "keys", id])).await.map(drop)
    }
}
