//! Speaking to a server over HTTP.

mod analysis;
mod answers;
mod api_key;
mod error;
mod events;
mod follow;
mod keys;
mod logs;
mod runs;
mod spans;
mod spending;
mod waiting;
mod workers;
mod workflows;

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

pub use analysis::{
    Analysis, AnalysisQuery, Coverage, CriticalNode, ExampleRun, Findings, HotSpot, ModelCost,
    RunCounts, TimeSpent, VersionComparison, VersionSide, WorkflowWaiting,
};
pub use answers::{
    AcceptedRun, Attempt, CreatedKey, EarlierTrace, KeySummary, LiveText, LogRow, NodeRun, Page,
    Run, RunError, RunSummary, Usage,
};
pub use api_key::ApiKey;
pub use error::{ClientError, Diagnostic, Problem};
pub use follow::{Followed, Follower};
pub use keys::{KeyQuery, WantedKey};
pub use logs::LogQuery;
pub use runs::{RunQuery, WantedRun};
pub use spans::SpanPage;
pub use spending::{BudgetOwner, CostQuery, Step};
pub use waiting::{PendingDecision, ShortOf, WaitingFor};
pub use workers::Worker;
pub use workflows::{PublishedVersion, VersionSummary, WorkflowSummary};

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

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        // Only URLs without a host have no segments, and `new` refuses those.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.http.request(method, url)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        self.read(&self.send(request).await?)
    }

    /// A body as what it is to be.
    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body)
            .map_err(|source| ClientError::Malformed { url: self.url().to_owned(), source })
    }

    /// The body of an answer that says yes.
    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, ClientError> {
        self.body(self.response(request).await?).await
    }

    /// The body of a response.
    async fn body(&self, response: Response) -> Result<Vec<u8>, ClientError> {
        let body = response.bytes().await;
        Ok(body.map_err(|source| ClientError::unreachable(self.url(), source))?.into())
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
        let problem = problem.with_retry_after(retry_after.map(Duration::from_secs));
        Err(ClientError::Refused(Box::new(problem)))
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
