//! Parameters of the path: what a request is about, and the answer where that is not there.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use skein_shared::domain::ids::{ActivationKey, RunId};
use skein_shared::domain::key_id::KeyId;
use skein_shared::domain::limits::NAME_CHARS_MAX;
use utoipa::IntoParams;

use crate::problem::{Problem, ProblemKind};
use crate::server_span::Tracing;

/// As much of a name as an answer repeats.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

/// Whether a workflow can be called this at all. What cannot be is not looked for.
pub(crate) fn may_be_workflow(name: &str) -> bool {
    may_be_name(name)
}

/// The same of a node.
pub(crate) fn may_be_node(id: &str) -> bool {
    may_be_name(id)
}

fn may_be_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && !name.chars().any(char::is_control)
}

/// The `{name}` of a path.
#[derive(Debug, IntoParams)]
#[into_params(names("name"), parameter_in = Path)]
pub(crate) struct WorkflowName(
    /// The workflow's name.
    #[param(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        example = "digest"
    )]
    pub(crate) String,
);

impl<S: Send + Sync> FromRequestParts<S> for WorkflowName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(Path(name)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(Problem::parameter("name", "is not UTF-8", "the name of a workflow"));
        };
        if !may_be_workflow(&name) {
            return Err(no_workflow(&name));
        }
        if let Some(tracing) = parts.extensions.get::<Tracing>() {
            tracing.concerns_workflow(&name);
        }
        Ok(Self(name))
    }
}

/// The answer where a workflow is not there, or is another tenant's.
pub(crate) fn no_workflow(name: &str) -> Problem {
    Problem::new(ProblemKind::NoWorkflow, format!("there is no workflow `{}`", shown(name)))
}

/// The answer where a workflow has no such version, is not there, or is another tenant's.
pub(crate) fn no_version(name: &str, version: u32) -> Problem {
    let detail = format!("there is no version {version} of `{}`", shown(name));
    Problem::new(ProblemKind::NoWorkflow, detail)
}

/// The `{id}` of a key's path.
#[derive(Debug, IntoParams)]
#[into_params(names("id"), parameter_in = Path)]
pub(crate) struct KeyPath(
    /// The key's id: `key_` and 16 hex digits.
    #[param(value_type = String, pattern = "^key_[0-9a-f]{16}$", example = "key_5d41402abc4b2a76")]
    pub(crate) KeyId,
);

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(Path(id)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(Problem::parameter("id", "is not UTF-8", "the id of a key"));
        };
        // What cannot be a key is not looked for.
        id.parse().map(Self).map_err(|_| no_key(&id))
    }
}

/// The answer where a key is not there, or is another organization's.
pub(crate) fn no_key(id: &str) -> Problem {
    Problem::new(ProblemKind::NoKey, format!("there is no key `{}`", shown(id)))
}

/// The `{id}` of a run's path.
#[derive(Debug, IntoParams)]
#[into_params(names("id"), parameter_in = Path)]
pub(crate) struct RunPath(
    /// The run's id.
    #[param(value_type = String, format = "uuid")]
    pub(crate) RunId,
);

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let run = path.ok().and_then(|Path(text)| text.parse().ok());
        let run =
            run.ok_or_else(|| Problem::parameter("id", "is not the id of a run", "a UUID"))?;
        note_run(parts, run);
        Ok(Self(run))
    }
}

/// Has the request's span say which run it is about.
fn note_run(parts: &Parts, run: RunId) {
    if let Some(tracing) = parts.extensions.get::<Tracing>() {
        tracing.concerns_run(run);
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
#[derive(Debug, IntoParams)]
#[into_params(names("id", "node"), parameter_in = Path)]
pub(crate) struct NodePath(
    /// The run's id.
    #[param(value_type = String, format = "uuid")]
    pub(crate) RunId,
    /// The node's id in the workflow.
    #[param(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z][A-Za-z0-9_]*$",
        example = "fetch"
    )]
    pub(crate) String,
);

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
        note_run(parts, run);
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
