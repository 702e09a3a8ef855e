//! The spans of runs, made once more.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{Client, ClientError};

/// A page of spans, in the JSON encoding of OTLP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SpanPage {
    /// The spans, below the services that made them.
    #[serde(rename = "resourceSpans")]
    pub resource_spans: Vec<Value>,
    /// Where the next page starts; absent on the last one.
    pub next_cursor: Option<String>,
}

impl Client {
    /// A page of the spans of a run behind `cursor`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn spans(&self, run: &str, cursor: Option<&str>) -> Result<SpanPage, ClientError> {
        let request = self.request(Method::GET, &["v1", "runs", run, "spans"]);
        let cursor: Vec<_> = cursor.map(|cursor| ("cursor", cursor)).into_iter().collect();
        self.answer(request.query(&cursor)).await
    }
}
