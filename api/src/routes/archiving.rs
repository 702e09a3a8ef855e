//! Archiving workflows: no new runs are started of them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::dto::workflow::WorkflowSummary;
use crate::parameters::Parameters;
use crate::path_parameters::{WorkflowName, no_workflow};
use crate::problem::Problem;
use crate::server_span::RequestTrace;

/// Archives a workflow: no server starts a run of any version of it that is asked for after the answer; a start that is
/// under way may still be accepted. Runs that have been accepted go on, the workflow stays listed and readable, and
/// publishing a version of it keeps it archived. Again, it changes nothing.
#[utoipa::path(
    post, path = "/workflows/{name}/archive", operation_id = "archiveWorkflow", tag = "workflows",
    params(WorkflowName),
    responses((status = 200, body = WorkflowSummary, description = "It is archived"),
              (status = 404, description = "workflow-not-found"))
)]
pub(crate) async fn archive(
    app: State<Arc<App>>,
    answers: Answers,
    asked: (Caller, RequestTrace),
    name: WorkflowName,
    parameters: Parameters,
) -> Result<Response, Problem> {
    set(app, answers, asked, name, parameters, true).await
}

/// Takes the archiving of a workflow back: runs of it are started again. Where it is not archived, it changes nothing.
#[utoipa::path(
    post, path = "/workflows/{name}/unarchive", operation_id = "unarchiveWorkflow", tag = "workflows",
    params(WorkflowName),
    responses((status = 200, body = WorkflowSummary, description = "It is not archived"),
              (status = 404, description = "workflow-not-found"))
)]
pub(crate) async fn unarchive(
    app: State<Arc<App>>,
    answers: Answers,
    asked: (Caller, RequestTrace),
    name: WorkflowName,
    parameters: Parameters,
) -> Result<Response, Problem> {
    set(app, answers, asked, name, parameters, false).await
}

async fn set(
    State(app): State<Arc<App>>,
    answers: Answers,
    (caller, trace): (Caller, RequestTrace),
    WorkflowName(name): WorkflowName,
    parameters: Parameters,
    archived: bool,
) -> Result<Response, Problem> {
    parameters.finish()?;
    // What cannot be answered is not begun.
    answers.check_room()?;
    let (store, tenant, asked_for) = (Arc::clone(&app.store), caller.0.clone(), name.clone());
    let write = async move { store.archive_workflow(&tenant, &asked_for, archived).await };
    match app.uncancelled(&trace, &caller, write).await?? {
        Some(workflow) => answers.json(StatusCode::OK, &WorkflowSummary::from(workflow)),
        None => Err(no_workflow(&name)),
    }
}
