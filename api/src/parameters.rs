//! Parameters of the query and the path, read strictly: a parameter that is not known, is there twice or cannot
//! be read is a diagnostic, and all of them are reported at once.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use skein_shared::domain::ids::{ActivationKey, RunId};
use skein_shared::domain::limits::{NAME_CHARS_MAX, PAGE_DEFAULT, PAGE_MAX};
use skein_shared::store::PageRequest;

use crate::cursor::Listing;
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};

/// The parameters of a query that have not been asked for yet.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    diagnostics: Vec<ProblemDiagnostic>,
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(ProblemKind::InvalidParameter, "the query cannot be read"))?;
        // Bytes that are no text have become U+FFFD by now, which would look for what nobody has asked for.
        if let Some(name) = parts.uri.query().and_then(not_utf8) {
            let hint = "UTF-8, percent-encoded";
            return Err(Problem::parameter(&shown(&name), "is not UTF-8", hint));
        }
        Ok(Self { pairs, known: Vec::new(), diagnostics: Vec::new() })
    }
}

impl Parameters {
    /// The value of a parameter, if it is there and `read` can read it; `hint` says what would be right.
    pub(crate) fn take<T>(
        &mut self,
        name: &'static str,
        hint: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let mut values = self.pairs.extract_if(.., |(key, _)| key == name);
        let (_, value) = values.next()?;
        let twice = values.count() > 0;
        if twice {
            self.diagnostics.push(ProblemDiagnostic::parameter(
                name,
                "is there twice".to_owned(),
                hint,
            ));
            return None;
        }
        let read = read(&value);
        if read.is_none() {
            self.diagnostics.push(ProblemDiagnostic::parameter(
                name,
                "cannot be read".to_owned(),
                hint,
            ));
        }
        read
    }

    /// `limit` and the cursor, which is called `after` where a log is followed.
    pub(crate) fn page(&mut self, listing: Listing<'_>, limit_max: u32) -> PageRequest {
        let hint = format!("a number from 1 to {limit_max}");
        let limit = self.take("limit", &hint, |text| {
            text.parse().ok().filter(|limit| (1..=limit_max).contains(limit))
        });
        let name = if matches!(listing, Listing::Logs(_)) { "after" } else { "cursor" };
        let hint = "the `next_cursor` of a page of this listing with the same filters, unchanged";
        let cursor = self.take(name, hint, |text| listing.open(text));
        PageRequest { limit: limit.unwrap_or(PAGE_DEFAULT.min(limit_max)), cursor }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.take(name, "`true` or `false`", |text| text.parse().ok())
    }

    /// A point in time.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<DateTime<Utc>> {
        // A plus sign in a query is a space.
        let hint =
            "an RFC 3339 time, for instance 2026-01-31T12:00:00Z (a `+` must be sent as %2B)";
        self.take(name, hint, |text| {
            DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
        })
    }

    /// Says what was wrong, if anything was; what nobody asked for is.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Self { pairs, known, mut diagnostics } = self;
        let hint = if known.is_empty() {
            "the route takes no parameters".to_owned()
        } else {
            format!("known parameters: {}", known.join(", "))
        };
        for (name, _) in pairs {
            diagnostics.push(ProblemDiagnostic::parameter(
                &shown(&name),
                "is not known".to_owned(),
                &hint,
            ));
        }
        if diagnostics.is_empty() {
            return Ok(());
        }
        Err(Problem::with_diagnostics(ProblemKind::InvalidParameter, diagnostics))
    }
}

/// The name of the first parameter whose name or value is no text.
fn not_utf8(query: &str) -> Option<String> {
    let is_utf8 = |part: &str| percent_decode_str(part).decode_utf8().is_ok();
    let pair = query.split('&').find(|pair| !is_utf8(pair))?;
    let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
    Some(percent_decode_str(name).decode_utf8_lossy().into_owned())
}

/// A listing's page at most, unless its rows are large.
pub(crate) const PAGE_ROWS_MAX: u32 = PAGE_MAX;

fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

/// Whether a workflow can be called this at all. What cannot be is not looked for.
pub(crate) fn may_be_workflow(name: &str) -> bool {
    !name.is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && !name.chars().any(char::is_control)
}

/// The `{name}` of a path.
#[derive(Debug)]
pub(crate) struct WorkflowName(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for WorkflowName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(Path(name)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(Problem::parameter("name", "is not UTF-8", "the name of a workflow"));
        };
        if may_be_workflow(&name) { Ok(Self(name)) } else { Err(no_workflow(&name)) }
    }
}

/// The answer where a workflow is not there, or is another tenant's.
pub(crate) fn no_workflow(name: &str) -> Problem {
    Problem::new(ProblemKind::NoWorkflow, format!("there is no workflow `{}`", shown(name)))
}

/// The `{id}` of a path.
#[derive(Debug)]
pub(crate) struct RunPath(pub(crate) RunId);

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.ok()
            .and_then(|Path(text)| text.parse().ok())
            .map(Self)
            .ok_or_else(|| Problem::parameter("id", "is not the id of a run", "a UUID"))
    }
}

/// Whether it is this part of the path that is no text.
fn is_not_utf8(rejection: &PathRejection, part: &str) -> bool {
    match rejection {
        PathRejection::FailedToDeserializePathParams(failure) => {
            matches!(failure.kind(), ErrorKind::InvalidUtf8InPathParam { key } if key == part)
        }
        _ => false,
    }
}

/// The `{id}` and the `{node}` of a path.
#[derive(Debug)]
pub(crate) struct NodePath(pub(crate) RunId, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for NodePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let no_id = || Problem::parameter("id", "is not the id of a run", "a UUID");
        let (run, node) = match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((run, node))) => (run.parse().map_err(|_| no_id())?, node),
            Err(rejection) if is_not_utf8(&rejection, "node") => {
                return Err(Problem::parameter("node", "is not UTF-8", "the id of a node"));
            }
            Err(_) => return Err(no_id()),
        };
        // What cannot be a node is not looked for.
        if node.len() > NAME_CHARS_MAX || node.contains(char::is_control) {
            return Err(no_node(&ActivationKey::root(run, shown(&node))));
        }
        Ok(Self(run, node))
    }
}

/// The answer where a run is not there, or is another tenant's.
pub(crate) fn no_run(id: RunId) -> Problem {
    Problem::new(ProblemKind::NoRun, format!("there is no run {id}"))
}

/// The answer where a run, a node of it or a repetition of that is not there, or is another tenant's.
pub(crate) fn no_node(key: &ActivationKey) -> Problem {
    Problem::new(ProblemKind::NoNode, format!("there is no node run {key}"))
}
