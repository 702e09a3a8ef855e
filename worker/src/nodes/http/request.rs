//! From rendered parameters to a request.

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value};
use skein_shared::workflow::params::http::{address, headers::RESERVED};

use crate::egress::Request;
use crate::nodes::fields::{Fields, invalid, mistyped, scalar};
use crate::nodes::{NodeContext, NodeError};

/// Bytes of a URL with its query. Common servers refuse more.
const URL_BYTES_MAX: usize = 8 * 1024;
/// Headers of a request. Common servers refuse more than a hundred in all.
const HEADERS_MAX: usize = 64;
/// Bytes of all names and values of a request's headers. Common servers refuse more.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Who we are, unless the workflow says otherwise.
const USER_AGENT: &str = concat!("skein/", env!("CARGO_PKG_VERSION"));

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const METHODS: &[Method] = &[
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// What the parameters ask for.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: Request,
    /// Which statuses from 400 on are no failure, as the document lists them.
    pub(super) accept_status: Value,
}

/// Reads the parameters `{method, url, headers, query, body, form, accept_status, idempotency_key}`.
pub(super) fn read(params: Value, context: &NodeContext) -> Result<Call, NodeError> {
    let mut params = Fields::of(params)?;
    let method = method_of(params.text("method")?)?;
    let url = params.text("url")?.ok_or_else(|| invalid("`url` is missing"))?;
    let url = url_of(&url, params.entries("query")?)?;
    let mut headers = headers_of(params.entries("headers")?)?;
    let body = match params.take("form") {
        Some(form) => Some(form_of(form, &mut headers)?),
        None => params.take("body").map(|body| body_of(body, &mut headers)),
    };
    let accept_status = params.take("accept_status").unwrap_or_default();

    let wants_key = params.truth("idempotency_key")?.unwrap_or(true);
    let repeats_effects = method == Method::POST || method == Method::PATCH;
    if wants_key && repeats_effects && !headers.contains_key(&IDEMPOTENCY_KEY) {
        headers.insert(
            IDEMPOTENCY_KEY,
            header_value("idempotency-key", &context.key.idempotency_key())?,
        );
    }
    if !headers.contains_key(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    }
    let request = Request { method, url, headers, body, timeout: context.timeout };
    Ok(Call { request, accept_status })
}

fn method_of(word: Option<String>) -> Result<Method, NodeError> {
    let Some(word) = word else { return Ok(Method::GET) };
    let known = METHODS.iter().find(|method| method.as_str().eq_ignore_ascii_case(&word));
    known
        .cloned()
        .ok_or_else(|| invalid("`method` must be GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS"))
}

fn url_of(text: &str, query: Map<String, Value>) -> Result<Url, NodeError> {
    let mut url = address::parse(text).map_err(invalid)?;
    for (name, text) in pairs_of("query", query)? {
        url.query_pairs_mut().append_pair(&name, &text);
    }
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(invalid(format!("`url` with its query is longer than {URL_BYTES_MAX} bytes")));
    }
    Ok(url)
}

fn headers_of(entries: Map<String, Value>) -> Result<HeaderMap, NodeError> {
    if entries.len() > HEADERS_MAX {
        return Err(invalid(format!("`headers` has more than {HEADERS_MAX} entries")));
    }
    let mut headers = HeaderMap::new();
    let mut bytes = 0;
    for (name, value) in entries {
        if value.is_null() {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid("`headers` has a name that is no header name"))?;
        if RESERVED.contains(&name.as_str()) {
            return Err(invalid(format!("the header `{name}` is set by the worker itself")));
        }
        let field = format!("headers.{name}");
        let text = scalar(value)
            .map_err(|other| mistyped(&field, "a string, number or boolean", &other))?;
        bytes += name.as_str().len() + text.len();
        // Names that differ in case only are one header; the last one counts.
        headers.insert(name, header_value(&field, &text)?);
    }
    if bytes > HEADER_BYTES_MAX {
        return Err(invalid(format!("`headers` takes more than {HEADER_BYTES_MAX} bytes")));
    }
    Ok(headers)
}

fn header_value(field: &str, text: &str) -> Result<HeaderValue, NodeError> {
    HeaderValue::from_str(text)
        .map_err(|_| invalid(format!("`{field}` must be one line without control characters")))
}

/// Names and values of a query or form: a list repeats its name, a null is left out.
fn pairs_of(what: &str, entries: Map<String, Value>) -> Result<Vec<(String, String)>, NodeError> {
    let mut pairs = Vec::new();
    for (name, value) in entries {
        let values = match value {
            Value::Null => continue,
            Value::Array(values) => values,
            other => vec![other],
        };
        for value in values {
            let text = scalar(value).map_err(|other| {
                mistyped(&format!("{what}.{name}"), "a string, number or boolean", &other)
            })?;
            pairs.push((name.clone(), text));
        }
    }
    Ok(pairs)
}

fn form_of(form: Value, headers: &mut HeaderMap) -> Result<bytes::Bytes, NodeError> {
    let Value::Object(fields) = form else { return Err(mistyped("form", "an object", &form)) };
    let mut encoded = url::form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(pairs_of("form", fields)?);
    let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.entry(header::CONTENT_TYPE).or_insert(content_type);
    Ok(encoded.finish().into())
}

fn body_of(body: Value, headers: &mut HeaderMap) -> bytes::Bytes {
    let (bytes, content_type) = match body {
        Value::String(text) => (text.into_bytes(), "text/plain; charset=utf-8"),
        other => (other.to_string().into_bytes(), "application/json"),
    };
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
    bytes.into()
}
