//! One node of a run.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use skein_shared::domain::ids::{ActivationKey, ROOT_SCOPE};
use skein_shared::domain::limits::NAME_CHARS_MAX;

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::dto::run::NodeRun;
use crate::parameters::{Parameters, Reading, query};
use crate::path_parameters::{NodePath, no_node};
use crate::problem::Problem;

pub(super) const SCOPE: Reading<String> = Reading {
    hint: || "a path of indices, such as 3 or 3/0".to_owned(),
    read: |text| is_scope(text).then(|| text.to_owned()),
};

query! {
    /// Which repetition of a node is shown.
    pub(crate) struct NodeQuery {
        /// The node run's `scope`: which repetition of the node. Outside of maps it is empty, which is the default.
        #[param(value_type = String, required = false, max_length = 64, pattern = "^[0-9/]*$")]
        scope: String = SCOPE,
    }
}

/// One node of a run, with its input and output however large they are.
#[utoipa::path(
    get, path = "/runs/{id}/nodes/{node}", operation_id = "getNodeRun", tag = "runs",
    params(NodePath, NodeQuery),
    responses((status = 200, body = NodeRun),
              (status = 404, description = "node-not-found"))
)]
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    NodePath(run, node): NodePath,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let NodeQuery { scope } = parameters.read()?;
    let scope = scope.unwrap_or_else(|| ROOT_SCOPE.to_owned());
    let key = ActivationKey { run, node: node.into(), scope: scope.into() };
    let _permit = answers.permit().await?;
    let found = app.store.find_node(&tenant, &key).await?.ok_or_else(|| no_node(&key))?;
    answers.json(StatusCode::OK, &NodeRun::try_from(found)?)
}

fn is_scope(text: &str) -> bool {
    text.len() <= NAME_CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'/')
}
