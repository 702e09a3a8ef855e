//! Errors as clients see them: `application/problem+json` (RFC 9457).
//!
//! A handler returns a [`Problem`]; the outermost layer writes it, because only that knows the trace id.
//! What went wrong inside is logged and never shown.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use skein_shared::batcher::BatcherError;
use skein_shared::domain::diagnostic::Diagnostic;
use skein_shared::domain::trace::TraceId;
use skein_shared::store::StoreError;
use skein_shared::telemetry::ServerError;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::limits::{
    DIAGNOSTICS_BYTES_MAX, DIAGNOSTICS_MAX, PROBLEM_TEXT_BYTES_MAX, RETRY_AFTER_SECONDS,
};

/// The media type of problems.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:ident, $slug:literal, $title:literal;)*) => {
        /// What can go wrong: a closed set, and part of the public contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum ProblemKind { $($(#[$doc])* $kind,)* }

        impl ProblemKind {
            /// Every kind.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$kind,)*];

            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            fn urn(self) -> &'static str {
                match self { $(Self::$kind => concat!("urn:skein:problem:", $slug),)* }
            }

            /// The word for it.
            pub(crate) fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    /// The body is no JSON or YAML.
    MalformedBody = BAD_REQUEST, "malformed-body", "The body cannot be read";
    /// A parameter of path or query.
    InvalidParameter = BAD_REQUEST, "invalid-parameter", "A parameter is not valid";
    /// A header.
    InvalidHeader = BAD_REQUEST, "invalid-header", "A header is not valid";
    /// No key, or none that is known.
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "A valid API key is required";
    /// The key lacks a scope.
    Forbidden = FORBIDDEN, "forbidden", "The API key may not do this";
    /// Another site's page has sent it.
    CrossSite = FORBIDDEN, "cross-site", "The request comes from another site";
    /// No such route.
    NoRoute = NOT_FOUND, "no-such-route", "There is nothing at this path";
    /// No such workflow, or version of it, in the caller's workspace.
    NoWorkflow = NOT_FOUND, "workflow-not-found", "There is no such workflow";
    /// No such run in the caller's workspace.
    NoRun = NOT_FOUND, "run-not-found", "There is no such run";
    /// No such activation in the run.
    NoNode = NOT_FOUND, "node-not-found", "The run has no such node";
    /// No such key in the caller's organization.
    NoKey = NOT_FOUND, "key-not-found", "There is no such key";
    /// The route has no such method.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "The path does not take this method";
    /// The body did not come in time.
    SlowBody = REQUEST_TIMEOUT, "request-timeout", "The request took too long to arrive";
    /// The workflow is archived.
    Archived = CONFLICT, "workflow-archived", "The workflow is archived";
    /// The workflow has drafts alone, and none was named.
    NoPublishedVersion = CONFLICT, "no-published-version", "The workflow has no published version";
    /// The run has ended.
    RunEnded = CONFLICT, "run-ended", "The run has ended already";
    /// The step waits for no decision.
    NotPending = CONFLICT, "not-pending", "The step waits for no decision";
    /// The organization would be left without a key that may make others.
    LastAdminKey = CONFLICT, "last-admin-key", "It is the last key that may make others";
    /// The organization has as many keys as it may have.
    TooManyKeys = CONFLICT, "too-many-keys", "The organization has too many keys";
    /// The request's line and headers are too large.
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "The headers are too large";
    /// The body, document or input is too large.
    TooLarge = PAYLOAD_TOO_LARGE, "too-large", "The body is too large";
    /// The body's content type.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body has an unsupported type";
    /// The host is none of the server's.
    WrongHost = MISDIRECTED_REQUEST, "wrong-host", "The server does not answer to this name";
    /// The workflow document is not valid.
    InvalidWorkflow = UNPROCESSABLE_ENTITY, "invalid-workflow", "The workflow is not valid";
    /// The request's body is not valid.
    InvalidRequest = UNPROCESSABLE_ENTITY, "invalid-request", "The request is not valid";
    /// The run's input does not match its schema.
    InvalidInput = UNPROCESSABLE_ENTITY, "invalid-input", "The input does not match the workflow's schema";
    /// The idempotency key belongs to another request.
    KeyReused = UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The idempotency key was used with another request";
    /// An internal error.
    Internal = INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side";
    /// Too many requests at a time.
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "The server is overloaded";
    /// The store is out of reach.
    Unavailable = SERVICE_UNAVAILABLE, "unavailable", "The store is unavailable";
    /// The request's time is up.
    TimedOut = SERVICE_UNAVAILABLE, "timed-out", "The request took too long";
    /// The process is about to end.
    ShuttingDown = SERVICE_UNAVAILABLE, "shutting-down", "The server is shutting down";
    /// The workflow gets new versions faster than a run of it can be accepted.
    WorkflowChanging = SERVICE_UNAVAILABLE, "workflow-changing", "The workflow is being changed";
}

impl ProblemKind {
    /// Whether the same request may be answered well soon: the answer says when to try again.
    pub(crate) fn is_passing(self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }
}

/// A problem on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    kind: ProblemKind,
    detail: String,
    errors: Vec<ProblemDiagnostic>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// A word for what has caused it, for the span of the request: a client is not told.
    cause: Option<String>,
}

fn cut(mut text: String) -> String {
    if text.len() > PROBLEM_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(PROBLEM_TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

impl Problem {
    /// A problem. `detail` says what happened this time, for people.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let detail = cut(detail.into());
        let parts = Parts { kind, detail, errors: Vec::new(), headers: Vec::new(), cause: None };
        let problem = Self(Box::new(parts));
        match kind {
            kind if kind.is_passing() => {
                problem.with_header(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))
            }
            ProblemKind::Unauthenticated => problem
                .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"skein\"")),
            _ => problem,
        }
    }

    /// A problem that lists every diagnostic. The first [`DIAGNOSTICS_MAX`] are shown, or those of
    /// [`DIAGNOSTICS_BYTES_MAX`], and the detail says how many there are.
    pub(crate) fn with_diagnostics(kind: ProblemKind, diagnostics: Vec<ProblemDiagnostic>) -> Self {
        let count = diagnostics.len();
        let diagnostics = ProblemDiagnostic::listed(diagnostics.into_iter());
        let detail = match (count, diagnostics.len(), diagnostics.first()) {
            (1, _, Some(diagnostic)) => diagnostic.to_string(),
            (count, listed, _) if count > listed => {
                format!("there are {count} faults; the first {listed} are listed")
            }
            (count, ..) => format!("there are {count} faults"),
        };
        let mut problem = Self::new(kind, detail);
        problem.0.errors = diagnostics;
        problem
    }

    /// One faulty parameter of path or query.
    pub(crate) fn parameter(name: &str, message: impl Into<String>, hint: &str) -> Self {
        Self::with_diagnostics(
            ProblemKind::InvalidParameter,
            vec![ProblemDiagnostic::parameter(name, message.into(), hint)],
        )
    }

    /// One faulty header.
    pub(crate) fn header(name: &str, message: impl Into<String>, hint: &str) -> Self {
        let diagnostic = ProblemDiagnostic::header(name, message, hint);
        Self::with_diagnostics(ProblemKind::InvalidHeader, vec![diagnostic])
    }

    /// An internal error: `cause` is logged and not shown.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "a request failed");
        Self::new(ProblemKind::Internal, "the trace id leads to the cause in the server's log")
    }

    /// The process is about to end.
    pub(crate) fn shutting_down() -> Self {
        Self::new(ProblemKind::ShuttingDown, "try again; another server will answer")
    }

    /// With a word for what has caused it. It MUST hold no secret, and have few values.
    fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// What the span of a request says that was answered with it.
    pub(crate) fn reason(&self) -> ServerError {
        ServerError { kind: self.0.kind.slug(), cause: self.0.cause.clone() }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    #[cfg(test)]
    pub(crate) fn kind(&self) -> ProblemKind {
        self.0.kind
    }

    /// Writes the problem into a response that was made from it; other responses stay as they are.
    pub(crate) fn render(mut response: Response, trace: TraceId) -> Response {
        let Some(Self(parts)) = response.extensions_mut().remove::<Self>() else { return response };
        let document = ProblemDocument {
            r#type: parts.kind.urn(),
            title: parts.kind.title(),
            status: parts.kind.status().as_u16(),
            detail: parts.detail,
            errors: parts.errors,
            trace_id: trace.to_string(),
        };
        // Strings and numbers only: nothing in it can fail to be written.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        *response.body_mut() = Body::from(body);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.kind.status().into_response();
        for (name, value) in &self.0.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let reason = error.reason();
        let problem = match error {
            StoreError::Unavailable(source)
            | StoreError::TooSlow(source)
            | StoreError::Locked(source) => {
                tracing::warn!(error = %source, "the store is unavailable");
                Self::new(
                    ProblemKind::Unavailable,
                    "nothing is known to be wrong with the request; try again",
                )
            }
            StoreError::Data(source) => {
                tracing::warn!(error = %source, "the store refused a value");
                Self::new(
                    ProblemKind::InvalidRequest,
                    "the request holds a value that cannot be stored",
                )
            }
            StoreError::Corrupt(text) | StoreError::Setup(text) => Self::internal(text),
            StoreError::Schema(mismatch) => Self::internal(mismatch.to_string()),
        };
        problem.caused_by(reason)
    }
}

impl From<BatcherError> for Problem {
    /// The batcher has logged the cause.
    fn from(error: BatcherError) -> Self {
        match error {
            BatcherError::Unavailable(outage) => Self::new(
                ProblemKind::Unavailable,
                "whether the run was accepted is not known; an Idempotency-Key makes trying again safe",
            )
            .caused_by(outage.reason()),
            BatcherError::Refused(_) => Self::new(
                ProblemKind::InvalidRequest,
                "the request holds a value that cannot be stored",
            ),
            BatcherError::Internal(cause) => Self::internal(cause),
            BatcherError::Closed => Self::shutting_down(),
        }
    }
}

/// What can go wrong, as a schema.
pub(crate) enum ProblemType {}

impl PartialSchema for ProblemType {
    fn schema() -> RefOr<Schema> {
        let about = "A kind of problem; stable. The examples are those that there are; there may be others in time.";
        // No enumeration: clients that were generated from one would fail to read a kind that is new.
        let urns = ProblemKind::ALL.iter().map(|kind| kind.urn());
        let words = ObjectBuilder::new().schema_type(Type::String).examples(urns);
        words.description(Some(about)).build().into()
    }
}

impl ToSchema for ProblemType {}

/// An error, as RFC 9457 has it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument {
    /// What kind of problem it is; stable.
    #[schema(value_type = ProblemType)]
    r#type: &'static str,
    /// The kind of problem for people; the same every time.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened this time.
    detail: String,
    /// Every diagnostic, where there are several or they have a location.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<ProblemDiagnostic>,
    /// The trace of the request: 32 hex digits.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
}

/// One diagnostic of a request: in the body (`pointer`), in path or query (`parameter`) or in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Fault)]
pub(crate) struct ProblemDiagnostic {
    /// A JSON Pointer (RFC 6901) into the body; empty for the whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// The parameter of the path or query.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// The header.
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    /// What is wrong.
    message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    hint: String,
    /// The line of the body, from 1, where it was read as a text of the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    line: Option<usize>,
    /// The column, from 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    column: Option<usize>,
}

impl ProblemDiagnostic {
    fn at(message: String, hint: &str) -> Self {
        let hint = hint.to_owned();
        let (pointer, parameter, header, line, column) = Default::default();
        Self { pointer, parameter, header, message, hint, line, column }
    }

    /// As many as are fit to be read: the first [`DIAGNOSTICS_MAX`], or those of [`DIAGNOSTICS_BYTES_MAX`].
    pub(crate) fn listed(diagnostics: impl Iterator<Item = Self>) -> Vec<Self> {
        let mut bytes = 0;
        let diagnostics = diagnostics.take(DIAGNOSTICS_MAX).map(Self::cut);
        let diagnostics = diagnostics.take_while(|diagnostic| {
            let is_first = bytes == 0;
            bytes += diagnostic.bytes();
            is_first || bytes <= DIAGNOSTICS_BYTES_MAX
        });
        diagnostics.collect()
    }

    /// With texts of a size that is fit to be read.
    fn cut(self) -> Self {
        let Self { pointer, parameter, message, hint, .. } = self;
        let (message, hint) = (cut(message), cut(hint));
        Self { pointer: pointer.map(cut), parameter: parameter.map(cut), message, hint, ..self }
    }

    fn bytes(&self) -> usize {
        let locations = [&self.pointer, &self.parameter, &self.header].into_iter().flatten();
        locations.chain([&self.message, &self.hint]).map(String::len).sum()
    }

    /// A diagnostic of a header.
    pub(crate) fn header(name: &str, message: impl Into<String>, hint: &str) -> Self {
        Self { header: Some(name.to_owned()), ..Self::at(message.into(), hint) }
    }

    /// A diagnostic of a parameter of path or query.
    pub(crate) fn parameter(name: &str, message: String, hint: &str) -> Self {
        Self { parameter: Some(name.to_owned()), ..Self::at(message, hint) }
    }
}

impl From<Diagnostic> for ProblemDiagnostic {
    fn from(diagnostic: Diagnostic) -> Self {
        Self {
            pointer: Some(diagnostic.pointer),
            line: diagnostic.position.map(|position| position.line),
            column: diagnostic.position.map(|position| position.column),
            ..Self::at(diagnostic.message, &diagnostic.hint)
        }
    }
}

impl std::fmt::Display for ProblemDiagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let locations = [&self.pointer, &self.parameter, &self.header];
        if let Some(location) = locations.into_iter().flatten().find(|it| !it.is_empty()) {
            write!(f, "{location}: ")?;
        }
        f.write_str(&self.message)?;
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, " at line {line} column {column}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
