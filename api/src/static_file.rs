//! Files that are the same for everybody for as long as the process runs.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use sha2::{Digest, Sha256};

/// Bytes of the digest that a file is told apart by.
const TAG_BYTES: usize = 16;

/// A file in memory. All answers share it, however slowly they are read.
pub(crate) struct StaticFile {
    bytes: Bytes,
    headers: HeaderMap,
}

impl StaticFile {
    /// A file of a type. Whoever has it asks again each time, and is told that it is the same.
    pub(crate) fn new(content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = Sha256::digest(&bytes);
        let hex: String = digest[..TAG_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        let tag = HeaderValue::try_from(format!("\"{hex}\"")).expect("hex digits are ASCII");
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (ETAG, tag),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        Self { bytes, headers: HeaderMap::from_iter(headers) }
    }

    /// The file with one more header.
    pub(crate) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Adds it to the routes: GET and HEAD.
    pub(crate) fn serve<S: Clone + Send + Sync + 'static>(
        self,
        router: Router<S>,
        path: &str,
    ) -> Router<S> {
        let file = Arc::new(self);
        router.route(path, get(move |headers: HeaderMap| async move { file.answer(&headers) }))
    }

    fn answer(&self, request: &HeaderMap) -> Response {
        let is_known = self.is_known(request);
        let mut response = match is_known {
            true => Response::new(Body::empty()),
            false => Response::new(Body::from(self.bytes.clone())),
        };
        response.headers_mut().clone_from(&self.headers);
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(CONTENT_TYPE);
        }
        response
    }

    /// Whether the request names the file as one that it has (RFC 9110, section 13.1.2).
    fn is_known(&self, request: &HeaderMap) -> bool {
        let lists = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || self.headers[ETAG] == *tag.strip_prefix("W/").unwrap_or(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        let file = StaticFile::new("text/plain", "hello");
        let tag = file.headers[ETAG].to_str().unwrap().to_owned();
        for (known, status) in [
            (None, 200),
            (Some("\"other\"".to_owned()), 200),
            (Some(tag.trim_matches('"').to_owned()), 200),
            (Some(tag.clone()), 304),
            (Some(format!("W/{tag}")), 304),
            (Some(format!("\"other\", {tag}")), 304),
            (Some("*".to_owned()), 304),
        ] {
            let mut request = HeaderMap::new();
            if let Some(known) = &known {
                request.insert(IF_NONE_MATCH, HeaderValue::try_from(known).unwrap());
            }
            let answer = file.answer(&request);
            assert_eq!(answer.status().as_u16(), status, "{known:?}");
            assert_eq!(answer.headers()[ETAG], *tag);
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-cache");
        }
        let changed = StaticFile::new("text/plain", "hello!");
        assert_ne!(changed.headers[ETAG], *tag);
    }
}
