//! What can go wrong between a client and a server.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::input::WorkflowFile;

/// Characters that are shown of an answer that is no problem document: enough to recognise a proxy's page.
const FOREIGN_CHARS_MAX: usize = 200;

/// What is before the word of each type of problem.
const TYPES: &str = "urn:skein:problem:";
/// The word of a server that has no such route.
const NO_SUCH_ROUTE: &str = "no-such-route";
/// The word of a server that is asked with a parameter that it does not take.
const INVALID_PARAMETER: &str = "invalid-parameter";
/// The word for an answer that is none of Skein's.
const FOREIGN: &str = "foreign-answer";

/// Why a server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer, or only a part of one.
    #[error("the server at {url} cannot be reached")]
    Unreachable {
        /// The server.
        url: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The server said no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// An answer that is none of Skein's.
    #[error("the server at {url} does not answer like Skein")]
    Malformed {
        /// The server.
        url: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl ClientError {
    pub(super) fn unreachable(url: &str, source: reqwest::Error) -> Self {
        Self::Unreachable { url: url.to_owned(), source: source.without_url() }
    }

    /// Whether asking again may help, without the question being at fault.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 429 | 502 | 503 | 504),
            Self::Malformed { .. } => false,
        }
    }

    /// The same, of a document that was sent: its lines can be shown.
    #[must_use]
    pub fn of_document(self, file: WorkflowFile) -> Self {
        match self {
            Self::Refused(mut problem) => {
                problem.document = Some(Box::new(file));
                Self::Refused(problem)
            }
            other => other,
        }
    }

    /// How long the server asks to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            Self::Unreachable { .. } | Self::Malformed { .. } => None,
        }
    }
}

/// A refusal: `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct Problem {
    /// The kind of problem, as a stable name.
    #[serde(default)]
    pub r#type: String,
    /// The kind of problem.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    #[serde(default)]
    pub detail: String,
    /// Every diagnostic, where there are several or they have a location.
    #[serde(default)]
    pub errors: Vec<Diagnostic>,
    /// The trace of the request.
    pub trace_id: Option<String>,
    /// The document that was sent, if the diagnostics are of one.
    #[serde(skip)]
    pub document: Option<Box<WorkflowFile>>,
    /// How long the server asks to be left alone.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// The command that helps, in a sentence, where the client knows one.
    #[serde(skip)]
    pub remedy: Option<String>,
}

/// One diagnostic of a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Diagnostic {
    /// Where in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Which parameter of path or query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Which header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// The line of the text that was sent, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column, from 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Diagnostic {
    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &str {
        let locations = [&self.pointer, &self.parameter, &self.header];
        match locations.into_iter().flatten().next().map(String::as_str) {
            None | Some("") => "(whole document)",
            Some(location) => location,
        }
    }
}

impl From<skein_shared::domain::diagnostic::Diagnostic> for Diagnostic {
    fn from(diagnostic: skein_shared::domain::diagnostic::Diagnostic) -> Self {
        Self {
            pointer: Some(diagnostic.pointer),
            parameter: None,
            header: None,
            message: diagnostic.message,
            hint: diagnostic.hint,
            line: diagnostic.position.map(|position| position.line),
            column: diagnostic.position.map(|position| position.column),
        }
    }
}

impl Problem {
    /// Reads an answer that says no. What is no problem document comes from something else on the way.
    pub(super) fn read(status: u16, body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(body);
            let detail = text.trim().chars().take(FOREIGN_CHARS_MAX).collect();
            Self::own(status, "The answer is not one of Skein's", detail)
        })
    }

    /// What a client finds out for itself.
    pub(super) fn own(status: u16, title: &str, detail: String) -> Self {
        Self {
            r#type: String::new(),
            title: title.to_owned(),
            status,
            detail,
            errors: Vec::new(),
            trace_id: None,
            document: None,
            retry_after: None,
            remedy: None,
        }
    }

    /// The kind of problem as a word: that of its type.
    #[must_use]
    pub fn code(&self) -> &str {
        self.r#type.strip_prefix(TYPES).unwrap_or(FOREIGN)
    }

    /// Whether the server has no such route: it is an older one.
    #[must_use]
    pub fn is_of_no_route(&self) -> bool {
        self.code() == NO_SUCH_ROUTE
    }

    /// Whether the server does not take this parameter of the query: it is an older one, where its value is right.
    #[must_use]
    pub fn refuses_parameter(&self, name: &str) -> bool {
        let mut errors = self.errors.iter();
        self.code() == INVALID_PARAMETER && errors.any(|it| it.parameter.as_deref() == Some(name))
    }

    pub(super) fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_read_and_anything_else_becomes_one() {
        let body = br#"{"type": "urn:x", "title": "The workflow is not valid", "status": 422,
            "detail": "there are 2 faults", "trace_id": "07",
            "errors": [{"pointer": "/nodes/0", "message": "m", "hint": "h"},
                       {"parameter": "wait", "message": "m"}, {"pointer": "", "message": "m"}]}"#;
        let problem = Problem::read(422, body);
        assert_eq!(problem.to_string(), "The workflow is not valid: there are 2 faults");
        let locations: Vec<_> = problem.errors.iter().map(Diagnostic::location).collect();
        assert_eq!(locations, ["/nodes/0", "wait", "(whole document)"]);
        let foreign = Problem::read(502, b"<html>Bad Gateway</html>\n");
        assert_eq!((foreign.status, foreign.detail.as_str()), (502, "<html>Bad Gateway</html>"));
        assert_eq!((foreign.code(), problem.code()), (FOREIGN, FOREIGN));
    }

    #[test]
    fn a_server_that_is_older_is_known_by_what_it_refuses() {
        let body = br#"{"type": "urn:skein:problem:invalid-parameter", "title": "A parameter is not valid",
            "status": 400, "errors": [{"parameter": "draft", "message": "is not known"}]}"#;
        let problem = Problem::read(400, body);
        assert!(problem.refuses_parameter("draft") && !problem.refuses_parameter("version"));
        assert_eq!((problem.code(), problem.is_of_no_route()), ("invalid-parameter", false));
        let body = br#"{"type": "urn:skein:problem:no-such-route", "title": "x", "status": 404}"#;
        assert!(Problem::read(404, body).is_of_no_route());
    }

    #[test]
    fn only_what_may_pass_is_worth_asking_again() {
        let refused =
            |status| ClientError::Refused(Box::new(Problem::read(status, b""))).is_transient();
        assert!(refused(503) && refused(502));
        assert!(!refused(422) && !refused(401) && !refused(500));
    }
}
