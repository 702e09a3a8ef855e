//! The steps of a run's nodes, and decisions about them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use skein_shared::domain::ids::{ActivationKey, ROOT_SCOPE};
use skein_shared::store::spending::{Decided, Decision};

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Text;
use crate::cursor::Listing;
use crate::decision_request::{self, DecisionBody};
use crate::dto::spending::{Step, StepList};
use crate::parameters::{CURSOR, LIMIT, Parameters, Query as _, query};
use crate::path_parameters::{NodePath, RunPath, no_node, no_run};
use crate::problem::{Problem, ProblemKind};
use crate::routes::nodes::SCOPE;
use crate::server_span::RequestTrace;

/// Steps of a page: each may have half a megabyte.
const PAGE_STEPS_MAX: u32 = 20;

query! {
    /// Which steps are listed.
    pub(crate) struct StepsQuery {
        /// The `next_cursor` of the page before.
        #[param(value_type = String, required = false, min_length = 1, max_length = 2048)]
        cursor: String = CURSOR,
        /// Rows at most; a page has no more than 20, as they may be large.
        #[param(value_type = u32, required = false, minimum = 1, maximum = 500, default = 20)]
        limit: u32 = LIMIT,
    }
}

query! {
    /// Which repetition of a node is decided about.
    pub(crate) struct DecisionQuery {
        /// The node run's `scope`: which repetition of the node. Outside of maps it is empty, which is the default.
        #[param(value_type = String, required = false, max_length = 64, pattern = "^[0-9/]*$")]
        scope: String = SCOPE,
    }
}

/// The steps of a run, in the order of their beginning: each try of each call to a model or to a tool.
#[utoipa::path(
    get, path = "/runs/{id}/steps", operation_id = "listSteps", tag = "runs",
    params(RunPath, StepsQuery),
    responses((status = 200, body = StepList),
              (status = 404, description = "run-not-found"))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    RunPath(id): RunPath,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let listing = Listing::Steps(id);
    let StepsQuery { cursor, limit } = StepsQuery::take(&mut parameters);
    let limit = limit.unwrap_or(PAGE_STEPS_MAX).min(PAGE_STEPS_MAX);
    let page = parameters.page(listing, Some(limit), cursor.as_deref());
    parameters.finish()?;
    let _permit = answers.permit().await?;
    let found = app.store.list_steps(&tenant, id, &page).await?.ok_or_else(|| no_run(id))?;
    let items = found.items.into_iter().map(Step::try_from);
    let list = StepList {
        items: items.collect::<Result<_, _>>()?,
        next_cursor: found.next_cursor.map(|cursor| listing.seal(&cursor)),
    };
    answers.json(StatusCode::OK, &list)
}

/// Decides about a step that waits for it: whether a tool may be called. The node then goes on. Of several decisions one
/// is recorded; a decision that names another step than the one that waits is a 409.
#[utoipa::path(
    post, path = "/runs/{id}/nodes/{node}/decision", operation_id = "decideStep", tag = "runs",
    params(NodePath, DecisionQuery),
    request_body(content = DecisionBody, content_type = "application/json"),
    responses((status = 204, description = "It is recorded, and the node goes on"),
              (status = 404, description = "node-not-found"),
              (status = 409, description = "not-pending"))
)]
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    (caller, trace): (Caller, RequestTrace),
    NodePath(run, node): NodePath,
    parameters: Parameters,
    body: Text,
) -> Result<Response, Problem> {
    let DecisionQuery { scope } = parameters.read()?;
    let scope = scope.unwrap_or_else(|| ROOT_SCOPE.to_owned());
    let DecisionBody { step, approved, reason } = decision_request::read(&body)?;
    let decision = Decision { run, node, scope, step, approved, reason };
    let key = ActivationKey {
        run,
        node: decision.node.as_str().into(),
        scope: decision.scope.as_str().into(),
    };
    let (store, tenant) = (Arc::clone(&app.store), caller.0.clone());
    let write = async move { store.decide(&tenant, &decision).await };
    match app.uncancelled(&trace, &caller, write).await?? {
        Decided::Recorded => {
            app.sweep_soon();
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Decided::NotPending { pending } => {
            let detail = match pending {
                // It did when somebody else had just decided.
                Some(pending) if pending == step => {
                    format!("step {step} was decided about in this very moment")
                }
                Some(pending) => format!("step {step} waits for no decision; step {pending} does"),
                None => {
                    format!("step {step} waits for no decision, and no other step of the node does")
                }
            };
            Err(Problem::new(ProblemKind::NotPending, detail))
        }
        Decided::NotFound => Err(no_node(&key)),
    }
}
