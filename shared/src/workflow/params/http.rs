//! `http`: calls a URL.
//!
//! A status from 400 on fails the node unless [`AcceptStatus::accepts`] says otherwise. The response becomes
//! `{status, headers, body}`.
//!
//! # How a response is read
//!
//! A body that says that it is JSON is read as strictly as inputs and documents are: a key that is there twice, an integer
//! of more than 64 bits and a number beyond 1.7e308 fail the node with `invalid_response`, like anything else that is no
//! JSON, so ids of such length must be sent as text. Nothing but white space is null. Text is read in the charset that
//! the head names, XML in the one that it declares, else in UTF-8; what is no text becomes `{base64}`.
//!
//! # What is secret
//!
//! What is sent under a name that conceals (`redact::is_secret_name` for headers, query and form, a shorter list for the
//! members of a JSON body; also user and password of the URL) is masked in the recorded parameters, in failures, in the
//! process's log and in spans, wherever the server repeats it, as it is or escaped, percent-encoded, in hex or base64, if
//! it has 6 bytes or more. From the output of a success only what is surely a credential is taken: an id under `?key=`
//! is what the workflow is about. An answer's own credentials are masked in `headers`, and left alone in `body`, so that
//! a token which a login has answered can be passed on.
//!
//! # When it is repeated
//!
//! `Retry-After` of 408, 425, 429, 500, 502, 503 and 504 is the least wait before the next attempt. The policy's
//! `max_backoff` bounds its own waits and not this one: the server has said when it will answer. Its `max_retry_after`,
//! [`BACKOFF_MAX`](crate::domain::limits::BACKOFF_MAX) unless given, says for how long that may be; if it is longer, the
//! node fails at once and says so.

pub mod address;
pub mod headers;

mod accept;
mod method;

use serde::Deserialize;
use serde_json::{Value, json};

use super::read::read_around;
use super::values::{Entries, Texts, null_as_default};
use super::{Definition, InvalidParams, Output, Parameter, Reader, Rendered, Shape, constant};
use crate::domain::diagnostic::{Diagnostics, point_into, quoted};
use crate::domain::kind::Effect;
use crate::domain::limits::NODE_TIMEOUT_DEFAULT;
use crate::workflow::fields::Fields;

pub use accept::AcceptStatus;
pub use method::Method;

/// Rendered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpParams {
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// What to call; [`address::parse`] reads it.
    pub url: String,
    /// Request headers by name.
    #[serde(default)]
    pub headers: Entries<String>,
    /// What is added to the URL's query.
    #[serde(default, deserialize_with = "null_as_default")]
    pub query: Entries<Texts>,
    /// The request's body: text as it is, anything else as JSON.
    pub body: Option<Value>,
    /// The request's body as form fields, in place of `body`.
    pub form: Option<Entries<Texts>>,
    /// Statuses from 400 on that are results.
    #[serde(default)]
    pub accept_status: AcceptStatus,
    /// Whether a request that is not idempotent carries an `Idempotency-Key` of the node's. Yes, unless given.
    pub idempotency_key: Option<bool>,
}

impl Rendered for HttpParams {
    fn read(rendered: Value) -> Result<Self, InvalidParams> {
        read_around(rendered, "body", |params: &mut Self, body| params.body = Some(body))
    }
}

impl HttpParams {
    /// What sending the request twice would do.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.method.effect(self.idempotency_key)
    }
}

pub(super) const DEFINITION: Definition = Definition {
    parameters: &[
        Parameter {
            name: "method",
            shape: Shape::Word(Method::WORDS),
            required: false,
            doc: "The method, GET unless given.",
        },
        Parameter { name: "url", shape: Shape::Text, required: true, doc: "An http or https URL." },
        Parameter {
            name: "headers",
            shape: Shape::Texts,
            required: false,
            doc: "Request headers by name.",
        },
        Parameter {
            name: "query",
            shape: Shape::Object,
            required: false,
            doc: "Parameters added to the URL's query; a list repeats its parameter.",
        },
        Parameter {
            name: "body",
            shape: Shape::Any,
            required: false,
            doc: "The request's body: text is sent as it is, anything else as JSON.",
        },
        Parameter {
            name: "form",
            shape: Shape::Object,
            required: false,
            doc: "The request's body as form fields, in place of `body`.",
        },
        Parameter {
            name: "accept_status",
            shape: Shape::Special(accept::schema),
            required: false,
            doc: "Statuses from 400 on that are results and not failures: numbers like 404, classes like `5xx`.",
        },
        Parameter {
            name: "idempotency_key",
            shape: Shape::Boolean,
            required: false,
            doc: "Whether to send an `Idempotency-Key`, the same on every attempt. True for POST and PATCH unless given; false there makes the request one that is not repeated after a crash, and leaves room for an `Idempotency-Key` of your own in `headers`.",
        },
    ],
    chooses_branch: false,
    always_fails: false,
    effect,
    timeout: NODE_TIMEOUT_DEFAULT,
    output: Output::Members(&["status", "headers", "body"]),
    compile,
};

/// `params` as written.
pub(super) fn effect(params: &Value) -> Effect {
    let key = params.get("idempotency_key").and_then(Value::as_bool);
    method_of(params.get("method")).effect(key)
}

/// The method as written; one that makes no sense counts as none.
pub(super) fn method_of(written: Option<&Value>) -> Method {
    written.and_then(Value::as_str).and_then(|word| word.parse().ok()).unwrap_or_default()
}

fn compile(reader: &mut Reader<'_, '_>) {
    let method = method_of(reader.fields.get("method"));
    if !reader.fields.has("method") {
        reader.put_constant("method", method.as_str());
    }
    reader.take(&["method", "url", "headers", "query", "body", "form", "idempotency_key"]);
    for name in ["headers", "query"] {
        if !reader.fields.has(name) {
            reader.put_constant(name, json!({}));
        }
    }
    if !reader.fields.has("idempotency_key") {
        reader.put_constant("idempotency_key", !method.is_idempotent());
    }
    check_url(&reader.fields, reader.diagnostics);
    let key = reader.fields.get("idempotency_key").and_then(Value::as_bool);
    let is_keyed = method.effect(key) == Effect::Keyed;
    check_headers(&reader.fields, is_keyed, reader.diagnostics);
    if reader.fields.has("body") && reader.fields.has("form") {
        reader.diagnostic("form", "`form` beside `body`", "a request has one of the two");
    }
    check_bodies(&reader.fields, &["body", "form"], method, reader.diagnostics);
    accept_status(reader);
}

/// As far as it is written out.
pub(super) fn check_url(fields: &Fields<'_>, diagnostics: &mut Diagnostics) {
    let Some(url) = fields.get("url").and_then(Value::as_str) else { return };
    let (head, is_constant) = match url.find("{{").or_else(|| url.find("{%")) {
        Some(at) => (&url[..at], false),
        None => (url, true),
    };
    let is_http = ["http://", "https://"].iter().any(|scheme| {
        let common = scheme.len().min(head.len());
        (head.len() > scheme.len() || !is_constant)
            && head.as_bytes()[..common].eq_ignore_ascii_case(&scheme.as_bytes()[..common])
    });
    if !is_http {
        // As other products mark an expression.
        let hint = match head.trim() {
            "$" | "=" => "write `{{ … }}` without a sign before it",
            _ => "it starts with https:// or http://",
        };
        diagnostics.add(fields.at("url"), "`url` is no http URL", hint);
    } else if let Some(Err(message)) = constant(url).map(address::parse) {
        let hint = "one line like https://example.com/path?name=value";
        diagnostics.add(fields.at("url"), message, hint);
    }
}

/// `is_keyed`: whether the worker sends an `Idempotency-Key` of its own.
pub(super) fn check_headers(fields: &Fields<'_>, is_keyed: bool, diagnostics: &mut Diagnostics) {
    let Some(entries) = fields.get("headers").and_then(Value::as_object) else { return };
    for (name, value) in entries {
        let pointer = point_into(&fields.at("headers"), name);
        let lower = name.to_ascii_lowercase();
        if !headers::is_name(name) {
            let message = format!("{} is no name of a header", quoted(name));
            diagnostics.add(pointer, message, "letters, digits and hyphens");
        } else if is_keyed && lower == headers::IDEMPOTENCY_KEY {
            let message =
                format!("a second {} beside the one that is sent for the node", quoted(name));
            let hint = "leave it out, or send your own under `idempotency_key: false`; the request is then not repeated after a crash unless `on_uncertain: retry` says so";
            diagnostics.add(pointer, message, hint);
        } else if headers::RESERVED.contains(&&*lower) {
            let message = format!("the header {} is set by the client", quoted(name));
            diagnostics.add(pointer, message, "leave it out");
        } else if value.as_str().and_then(constant).is_some_and(|text| !headers::is_value(text)) {
            let message = "a line break or another control character in a header";
            let hint = "one line; a text behind `|-` or `>-` has no line break at its end";
            diagnostics.add(pointer, message, hint);
        }
    }
}

/// `names` are the parameters that a body comes from.
pub(super) fn check_bodies(
    fields: &Fields<'_>,
    names: &[&str],
    method: Method,
    diagnostics: &mut Diagnostics,
) {
    // What is no method at all has its own diagnostic.
    let word = fields.get("method").and_then(Value::as_str).and_then(constant);
    let is_method = word.is_none_or(|word| word.parse::<Method>().is_ok());
    for name in names {
        if fields.has(name) && is_method && !method.has_body() {
            let message = format!("a {method} request has no body");
            diagnostics.add(fields.at(name), message, "use `query`, or another method");
        }
    }
}

fn accept_status(reader: &mut Reader<'_, '_>) {
    let entries = reader.fields.list("accept_status", reader.diagnostics).unwrap_or_default();
    for (at, entry) in entries.iter().enumerate() {
        if accept::Accepted::of(entry).is_none() {
            reader.diagnostics.add(
                format!("{}/{at}", reader.fields.at("accept_status")),
                "no status",
                accept::EXPECTED,
            );
        }
    }
    reader.put_constant("accept_status", entries.to_vec());
}

#[cfg(test)]
mod tests;
