//! What is sent, and what comes back.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};
use tokio::time::Instant;

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to; user and password in it become an `Authorization` header.
    pub url: Url,
    /// The headers. `Host`, `Content-Length`, `Accept-Encoding`, `traceparent` and `tracestate` are added.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Bytes>,
    /// For everything together: lookups, redirects, the body of the answer.
    pub timeout: Duration,
}

/// Says of each piece of a body, and of its beginning with an empty one, whether all that is wanted of it is read. It is
/// given the headers of the answer as well.
pub type IsEnough<'a> = dyn FnMut(&HeaderMap, &[u8]) -> bool + Send + 'a;

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers; `Content-Encoding` and `Content-Length` are gone when the body was decompressed.
    pub headers: HeaderMap,
    /// The whole body, or what was wanted of it, decompressed.
    pub body: Bytes,
    /// Where the answer came from after all redirects, without credentials.
    pub url: Url,
    /// When its head arrived.
    pub received_at: Instant,
}
