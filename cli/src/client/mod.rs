//! Speaking to a server over HTTP.

mod analysis;
mod answers;
mod api_key;
mod error;
mod events;
mod follow;
mod keys;
mod spans;
mod spending;
mod waiting;

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skein_shared::document::Format;

pub use analysis::{
    Analysis, AnalysisQuery, Coverage, CriticalNode, ExampleRun, Findings, HotSpot, ModelCost,
    RunCounts, TimeSpent, VersionComparison, VersionSide, WorkflowWaiting,
};
pub use answers::{
    AcceptedRun, Attempt, CreatedKey, EarlierTrace, KeySummary, LiveText, LogRow, NodeRun, Page,
    PublishedVersion, Run, RunError, RunSummary, Usage,
};
pub use api_key::ApiKey;
pub use error::{ClientError, Diagnostic, Problem};
pub use follow::{Followed, Follower};
pub use keys::{KeyQuery, WantedKey};
pub use spans::SpanPage;
pub use spending::{BudgetOwner, CostQuery, Step};
pub use waiting::{PendingDecision, ShortOf, WaitingFor};

use crate::http::{base_url, keyed_client};
use crate::usage::UsageError;
use events::EventStream;

/// How long an answer may take. The server's own bound is 30 s, and no request of ours waits for a run.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(40);

/// How long a stream of events may last: longer than the hour after which a server ends it.
const STREAM_TIME_MAX: Duration = Duration::from_secs(2 * 3600);

/// A client of one server with one key. Cheap to clone; connections are shared and kept open.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// Which runs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Of this workflow only.
    pub workflow: Option<String>,
    /// With this status only.
    pub status: Option<String>,
    /// Accepted at or after this time only, RFC 3339.
    pub created_after: Option<String>,
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
    /// A client of the server at `url`.
    ///
    /// # Errors
    /// When the URL or the key cannot be used.
    pub fn new(url: &str, key: &ApiKey) -> anyhow::Result<Self> {
        let base = base_url(url)?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
            .map_err(|_| UsageError::new("the key holds characters that cannot be sent"))?;
        bearer.set_sensitive(true);
        Ok(Self { http: keyed_client(&base, (AUTHORIZATION, bearer), ANSWER_TIME_MAX)?, base })
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Publishes a workflow as written.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn publish(
        &self,
        document: String,
        format: Format,
    ) -> Result<PublishedVersion, ClientError> {
        let media_type = match format {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
        };
        let request = self.request(Method::POST, &["v1", "workflows"]);
        self.answer(request.header(CONTENT_TYPE, media_type).body(document)).await
    }

    /// Starts a run. `T` is as much of the accepted run as the caller wants to know.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn start<T: DeserializeOwned>(
        &self,
        workflow: &str,
        input: &Value,
    ) -> Result<T, ClientError> {
        self.start_within(workflow, input, None).await
    }

    /// Starts a run that may spend no more than `budget`, which is as the API has it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn start_within<T: DeserializeOwned>(
        &self,
        workflow: &str,
        input: &Value,
        budget: Option<&Value>,
    ) -> Result<T, ClientError> {
        let request = self.request(Method::POST, &["v1", "workflows", workflow, "runs"]);
        let mut body = json!({ "input": input });
        if let Some(budget) = budget {
            body["budget"] = budget.clone();
        }
        self.answer(request.json(&body)).await
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

    /// A page of runs, newest first; each as [`RunSummary`], or as JSON.
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
            ("created_after", &query.created_after),
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

    /// A page of a run's log, oldest first, behind the cursor `after`; each row as [`LogRow`], or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn logs<T: DeserializeOwned>(
        &self,
        id: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<T>, ClientError> {
        let request = self.request(Method::GET, &["v1", "runs", id, "logs"]);
        let after: Vec<_> = after.map(|after| ("after", after)).into_iter().collect();
        self.answer(request.query(&after).query(&[("limit", limit)])).await
    }

    /// The events of a run as they happen, behind the event with the id `last`. `None` where the server has no such
    /// stream.
    ///
    /// # Errors
    /// See [`ClientError`].
    async fn events(
        &self,
        id: &str,
        last: Option<&str>,
    ) -> Result<Option<EventStream>, ClientError> {
        let request = self.request(Method::GET, &["v1", "runs", id, "events"]);
        let request = request.header(ACCEPT, "text/event-stream").timeout(STREAM_TIME_MAX);
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let response = match self.response(request).await {
            Ok(response) => response,
            Err(ClientError::Refused(problem)) if problem.is_of_no_route() => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let is_stream = media_type.is_some_and(|it| it.starts_with("text/event-stream"));
        Ok(is_stream.then(|| EventStream::new(response, self.url())))
    }

    /// Asks for a run to be cancelled.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cancel(&self, id: &str) -> Result<Run, ClientError> {
        self.answer(self.request(Method::POST, &["v1", "runs", id, "cancel"])).await
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        // Only URLs without a host have no segments, and `new` refuses those.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.http.request(method, url)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let body = self.send(request).await?;
        serde_json::from_slice(&body)
            .map_err(|source| ClientError::Malformed { url: self.url().to_owned(), source })
    }

    /// The body of an answer that says yes.
    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, ClientError> {
        let body = self.response(request).await?.bytes().await;
        let body = body.map_err(|source| ClientError::unreachable(self.url(), source))?;
        Ok(body.into())
    }

    /// The response, unless it says no.
    async fn response(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let unreachable = |source: reqwest::Error| ClientError::unreachable(self.url(), source);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.bytes().await.map_err(unreachable)?;
        let problem = Problem::read(status.as_u16(), &body);
        Err(ClientError::Refused(problem.with_retry_after(retry_after.map(Duration::from_secs))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> anyhow::Result<Client> {
        skein_shared::telemetry::install_crypto_provider();
        Client::new(url, &"skein_s3cret-key".to_owned().into())
    }

    #[test]
    fn paths_are_put_behind_the_address_and_escaped() {
        for url in ["http://127.0.0.1:8080", "http://127.0.0.1:8080/"] {
            let request = client(url).unwrap().request(Method::GET, &["v1", "workflows", "a/b c"]);
            let url = request.build().unwrap().url().to_string();
            assert_eq!(url, "http://127.0.0.1:8080/v1/workflows/a%2Fb%20c");
        }
        let behind = client("https://example.com/skein/").unwrap();
        assert_eq!(behind.url(), "https://example.com/skein");
        let url = behind.request(Method::GET, &["v1"]).build().unwrap().url().to_string();
        assert_eq!(url, "https://example.com/skein/v1");
    }

    #[test]
    fn addresses_that_are_none_are_refused_and_the_key_is_not_shown() {
        for url in ["", "localhost:8080", "ftp://x", "http://"] {
            let error = client(url).unwrap_err();
            assert!(error.downcast_ref::<UsageError>().is_some(), "{url}: {error}");
        }
        for url in ["http://u:s3cret@x", "http://s3cret@x", "u:s3cret@x", "http://u:s3cret@"] {
            let error = client(url).unwrap_err();
            assert!(error.downcast_ref::<UsageError>().is_some(), "{url}: {error}");
            assert!(!format!("{error:#}").contains("s3cret"), "{error}");
        }
        assert!(!format!("{:?}", client("http://x").unwrap()).contains("s3cret"));
    }
}
