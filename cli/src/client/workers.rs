//! The fleet.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, Page};

/// A worker of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Worker {
    /// Its id: one life of one process.
    pub id: String,
    /// The machine that it runs on.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// `live`, `stopped` or `dead`.
    pub status: String,
    /// Activations that it runs at a time, where it has said so.
    pub slots: Option<u32>,
    /// How many it ran at its last heartbeat, where it has said so.
    pub busy: Option<u32>,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it was heard of last; of one that is dead, at the latest.
    pub seen_at: DateTime<Utc>,
}

impl Client {
    /// A page of workers, newest first, those gone within a day too; each as [`Worker`], or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn workers<T: DeserializeOwned>(&self, limit: u32) -> Result<Page<T>, ClientError> {
        let request = self.request(Method::GET, &["v1", "workers"]);
        self.answer(request.query(&[("limit", limit)])).await
    }
}
