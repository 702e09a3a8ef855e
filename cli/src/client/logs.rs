//! Logs of runs.

use reqwest::Method;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, Page};

/// Which rows of a log to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// As severe as this, or more.
    pub level: Option<String>,
    /// About this node only.
    pub node: Option<String>,
    /// Of this time or later only, RFC 3339.
    pub since: Option<String>,
    /// The `next_cursor` of the page before, which must have been of the same rows.
    pub after: Option<String>,
    /// Rows at most.
    pub limit: u32,
}

impl Client {
    /// A page of a run's log, oldest first; each row as [`LogRow`](super::LogRow), or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn logs<T: DeserializeOwned>(
        &self,
        id: &str,
        query: &LogQuery,
    ) -> Result<Page<T>, ClientError> {
        let optional = [
            ("level", &query.level),
            ("node", &query.node),
            ("since", &query.since),
            ("after", &query.after),
        ];
        let given = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let given: Vec<_> = given.collect();
        let request = self.request(Method::GET, &["v1", "runs", id, "logs"]);
        self.answer(request.query(&given).query(&[("limit", query.limit)])).await
    }
}
