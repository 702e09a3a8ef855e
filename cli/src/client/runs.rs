//! Runs.

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Client, ClientError, Page, Run};

/// The header of an answer to a key that was used before.
const REPLAYED: &str = "idempotency-replayed";

/// A run that is to be started. What is absent is left to the server.
#[derive(Debug, Clone, Copy)]
pub struct WantedRun<'a> {
    /// The workflow's name.
    pub workflow: &'a str,
    /// Which version; the latest one that is published if absent.
    pub version: Option<u32>,
    /// What it works on.
    pub input: &'a Value,
    /// What it may spend, as the API has it; the workflow says if absent.
    pub budget: Option<&'a Value>,
    /// Makes repeating the request harmless.
    pub idempotency_key: Option<&'a str>,
}

/// Which runs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Of this workflow only.
    pub workflow: Option<String>,
    /// With this status only; several with commas between them.
    pub status: Option<String>,
    /// That have, or had, this trace only.
    pub trace_id: Option<String>,
    /// Accepted at or after this time only, RFC 3339.
    pub created_after: Option<String>,
    /// Accepted before this time only, RFC 3339.
    pub created_before: Option<String>,
    /// That have ended, at or after this time only, RFC 3339.
    pub ended_after: Option<String>,
    /// That have ended, before this time only, RFC 3339.
    pub ended_before: Option<String>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Rows at most.
    pub limit: u32,
}

impl Client {
    /// Starts a run. `T` is as much of the accepted run as the caller wants to know.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn start<T: DeserializeOwned>(
        &self,
        wanted: &WantedRun<'_>,
    ) -> Result<T, ClientError> {
        Ok(self.start_or_find(wanted).await?.0)
    }

    /// The same, and whether the idempotency key was used before: then it is the run of that time, as it is now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn start_or_find<T: DeserializeOwned>(
        &self,
        wanted: &WantedRun<'_>,
    ) -> Result<(T, bool), ClientError> {
        let request = self.request(Method::POST, &["v1", "workflows", wanted.workflow, "runs"]);
        let mut body = json!({ "input": wanted.input });
        if let Some(budget) = wanted.budget {
            body["budget"] = budget.clone();
        }
        let version: Vec<_> = wanted.version.map(|it| ("version", it)).into_iter().collect();
        let request = request.query(&version).json(&body);
        let request = match wanted.idempotency_key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let response = self.response(request).await?;
        let is_repeated = response.headers().contains_key(REPLAYED);
        Ok((self.read(&self.body(response).await?)?, is_repeated))
    }

    /// A run with its nodes; as [`Run`], or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn run<T: DeserializeOwned>(&self, id: &str) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, &["v1", "runs", id])).await
    }

    /// A run with its nodes, without their inputs and outputs: for who asks often.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn progress(&self, id: &str) -> Result<Run, ClientError> {
        let request = self.request(Method::GET, &["v1", "runs", id]);
        self.answer(request.query(&[("values", "false")])).await
    }

    /// A page of runs, newest first; each as [`RunSummary`](super::RunSummary), or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn runs<T: DeserializeOwned>(
        &self,
        query: &RunQuery,
    ) -> Result<Page<T>, ClientError> {
        let optional = [
            ("workflow", &query.workflow),
            ("status", &query.status),
            ("trace_id", &query.trace_id),
            ("created_after", &query.created_after),
            ("created_before", &query.created_before),
            ("ended_after", &query.ended_after),
            ("ended_before", &query.ended_before),
            ("cursor", &query.cursor),
        ];
        let given = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let given: Vec<_> = given.collect();
        let request = self.request(Method::GET, &["v1", "runs"]);
        self.answer(request.query(&given).query(&[("limit", query.limit)])).await
    }

    /// The newest runs up to the limit, from as many pages as it takes: one may be short, or empty, where the server
    /// would have to read much for it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn newest_runs<T: DeserializeOwned>(
        &self,
        query: &RunQuery,
    ) -> Result<Page<T>, ClientError> {
        let mut query = query.clone();
        let mut items = Vec::new();
        loop {
            let page = self.runs::<T>(&query).await?;
            // As many as were asked for at most.
            query.limit -= query.limit.min(u32::try_from(page.items.len()).unwrap_or(u32::MAX));
            items.extend(page.items);
            query.cursor = page.next_cursor;
            if query.cursor.is_none() || query.limit == 0 {
                return Ok(Page { items, next_cursor: query.cursor });
            }
        }
    }

    /// Asks for a run to be cancelled.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cancel(&self, id: &str) -> Result<Run, ClientError> {
        self.answer(self.request(Method::POST, &["v1", "runs", id, "cancel"])).await
    }
}
