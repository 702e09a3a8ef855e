//! From rendered parameters to a request.

use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;
use skein_shared::domain::kind::Effect;
use skein_shared::workflow::params::http::{self, HttpParams, address, headers};
use skein_shared::workflow::params::{Entries, Texts};

use crate::egress::Request;
use crate::nodes::NodeError;

/// Bytes of a URL with its query. Common servers refuse more.
const URL_BYTES_MAX: usize = 8 * 1024;
/// Headers of a request. Common servers refuse more than a hundred in all.
const HEADERS_MAX: usize = 64;
/// Bytes of all names and values of a request's headers. Common servers refuse more.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Who we are, unless the workflow says otherwise.
const USER_AGENT: &str = concat!("skein/", env!("CARGO_PKG_VERSION"));

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(headers::IDEMPOTENCY_KEY);

/// Makes the request that the parameters ask for.
pub(super) fn build(
    params: HttpParams,
    timeout: Duration,
    idempotency_key: &str,
) -> Result<Request, NodeError> {
    let is_keyed = params.effect() == Effect::Keyed;
    let method = method_of(params.method);
    let url = url_of(&params.url, &params.query)?;
    let mut headers = headers_of(params.headers)?;
    let body = match &params.form {
        Some(form) => Some(form_of(form, &mut headers)),
        None => params.body.map(|body| body_of(body, &mut headers)),
    };
    if is_keyed && !headers.contains_key(&IDEMPOTENCY_KEY) {
        headers.insert(IDEMPOTENCY_KEY, header_value(headers::IDEMPOTENCY_KEY, idempotency_key)?);
    }
    if !headers.contains_key(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    }
    Ok(Request { method, url, headers, body, timeout })
}

fn method_of(method: http::Method) -> Method {
    match method {
        http::Method::Get => Method::GET,
        http::Method::Post => Method::POST,
        http::Method::Put => Method::PUT,
        http::Method::Patch => Method::PATCH,
        http::Method::Delete => Method::DELETE,
        http::Method::Head => Method::HEAD,
        http::Method::Options => Method::OPTIONS,
    }
}

fn url_of(text: &str, query: &Entries<Texts>) -> Result<Url, NodeError> {
    let mut url = address::parse(text).map_err(NodeError::invalid_params)?;
    for (name, text) in query.pairs() {
        url.query_pairs_mut().append_pair(name, text);
    }
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(NodeError::invalid_params(format!(
            "`url` with its query is longer than {URL_BYTES_MAX} bytes"
        )));
    }
    Ok(url)
}

fn headers_of(Entries(entries): Entries<String>) -> Result<HeaderMap, NodeError> {
    if entries.len() > HEADERS_MAX {
        return Err(NodeError::invalid_params(format!(
            "`headers` has more than {HEADERS_MAX} entries"
        )));
    }
    let mut headers = HeaderMap::new();
    let mut bytes = 0;
    for (name, text) in entries {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            NodeError::invalid_params("`headers` has a name that is no header name")
        })?;
        if headers::RESERVED.contains(&name.as_str()) {
            return Err(NodeError::invalid_params(format!(
                "the header `{name}` is set by the worker itself"
            )));
        }
        let value = header_value(&format!("headers.{name}"), &text)?;
        bytes += name.as_str().len() + text.len();
        // Names that differ in case only are one header; the last one counts.
        headers.insert(name, value);
    }
    if bytes > HEADER_BYTES_MAX {
        return Err(NodeError::invalid_params(format!(
            "`headers` takes more than {HEADER_BYTES_MAX} bytes"
        )));
    }
    Ok(headers)
}

fn header_value(field: &str, text: &str) -> Result<HeaderValue, NodeError> {
    HeaderValue::from_str(text).map_err(|_| {
        NodeError::invalid_params(format!("`{field}` must be one line without control characters"))
    })
}

fn form_of(form: &Entries<Texts>, headers: &mut HeaderMap) -> bytes::Bytes {
    let mut encoded = url::form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(form.pairs());
    let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.entry(header::CONTENT_TYPE).or_insert(content_type);
    encoded.finish().into()
}

fn body_of(body: Value, headers: &mut HeaderMap) -> bytes::Bytes {
    let (bytes, content_type) = match body {
        Value::String(text) => (text.into_bytes(), "text/plain; charset=utf-8"),
        other => (other.to_string().into_bytes(), "application/json"),
    };
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
    bytes.into()
}
