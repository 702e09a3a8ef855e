//! Workflows: publish, read.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::Value;
use sha2::{Digest, Sha256};
use skein_shared::domain::ids::VersionId;
use skein_shared::domain::limits::DOCUMENT_BYTES_MAX;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::workflows::NewVersion;
use skein_shared::workflow::compile::{Checked, Refused, check};

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::body::{Text, unreadable};
use crate::cursor::Listing;
use crate::dto::workflow::{
    PublishedVersion, VersionList, Workflow, WorkflowDocument, WorkflowList,
};
use crate::parameters::{CURSOR, FLAG, LIMIT, Parameters, Query as _, VERSION, query};
use crate::path_parameters::{WorkflowName, no_version, no_workflow};
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};
use crate::server_span::RequestTrace;
use crate::unpublished::newest_draft;

query! {
    /// Which part of a listing is asked for.
    pub(crate) struct PageQuery {
        /// The `next_cursor` of the page before.
        #[param(value_type = String, required = false, min_length = 1, max_length = 2048)]
        cursor: String = CURSOR,
        /// Rows at most.
        #[param(value_type = u32, required = false, minimum = 1, maximum = 500, default = 50)]
        limit: u32 = LIMIT,
    }
}

query! {
    /// How a document is stored.
    pub(crate) struct PublishQuery {
        /// Whether it is stored as a draft: a version that is not the latest, and is read and started by its number.
        #[param(value_type = bool, required = false, default = false)]
        draft: bool = FLAG,
    }
}

query! {
    /// Which version of a workflow is shown.
    pub(crate) struct VersionQuery {
        /// The number of a version or of a draft; the latest version if absent.
        #[param(value_type = u32, required = false, minimum = 1, maximum = 4_294_967_295u32)]
        version: u32 = VERSION,
    }
}

/// Publishes a workflow. Versions never change: a changed document becomes the next version, an unchanged one
/// is answered with the version that it is; `outcome` says which it was. All diagnostics of a document are reported at once.
///
/// With `draft`, the document gets a number of its own as well, and what the others start stays what it is. Publishing the
/// same document later makes that draft the latest version, if no later one was published since. A draft that is not
/// started for a week goes; its number is not used again.
#[utoipa::path(
    post, path = "/workflows", operation_id = "publishWorkflow", tag = "workflows", params(PublishQuery),
    request_body(
        content((WorkflowDocument = "application/json"), (WorkflowDocument = "application/yaml")),
        description = "A workflow document"
    ),
    responses(
        (status = 201, body = PublishedVersion, description = "A new version, or a new draft",
         headers(("Location" = String, description = "The version"))),
        (status = 200, body = PublishedVersion,
         description = "The latest version is the same already, or a draft is, which is published now unless `draft` was asked for",
         headers(("Location" = String, description = "The version"))),
        (status = 422, description = "invalid-workflow")
    )
)]
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    answers: Answers,
    (caller, trace): (Caller, RequestTrace),
    parameters: Parameters,
    body: Text,
) -> Result<Response, Problem> {
    let PublishQuery { draft } = parameters.read()?;
    let is_draft = draft.unwrap_or(false);
    // What cannot be answered is not begun.
    answers.check_room()?;
    // Compiling a large workflow takes milliseconds, and the runtime has few threads.
    let (version, warnings) = tokio::task::spawn_blocking(move || version_of(&body))
        .await
        .map_err(Problem::internal)??;
    let name = version.name.clone();
    let (store, tenant) = (Arc::clone(&app.store), caller.0.clone());
    let write = async move {
        if is_draft {
            store.store_draft(&tenant, &version).await
        } else {
            store.publish_workflow(&tenant, &version).await
        }
    };
    let published = app.uncancelled(&trace, &caller, write).await??;
    if !published.draft {
        app.plans.forget_latest(&caller.0, &name);
    }
    let status = if published.created { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/v1/workflows/{name}?version={}", published.version);
    let version = PublishedVersion::of(name, &published, warnings);
    let mut response = answers.json(status, &version)?;
    let location = HeaderValue::try_from(location).map_err(Problem::internal)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Reads, checks and describes a document, and says what may not do what is meant.
fn version_of(body: &Text) -> Result<(NewVersion, Vec<ProblemDiagnostic>), Problem> {
    if body.text.len() > DOCUMENT_BYTES_MAX {
        let detail = format!("a workflow document may have {DOCUMENT_BYTES_MAX} bytes");
        return Err(Problem::new(ProblemKind::TooLarge, detail));
    }
    let Some(format) = body.format else {
        let detail = "send a document with the Content-Type application/json or application/yaml";
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    };
    let Checked { document, plan, warnings } =
        check(&body.text, Some(format)).map_err(|refused| match refused {
            Refused::Malformed(diagnostic) => unreadable(*diagnostic, ProblemKind::InvalidWorkflow),
            Refused::Invalid(diagnostics) => {
                let diagnostics = diagnostics.into_iter().map(ProblemDiagnostic::from).collect();
                Problem::with_diagnostics(ProblemKind::InvalidWorkflow, diagnostics)
            }
        })?;
    let text = document.to_string();
    let warnings = ProblemDiagnostic::listed(warnings.into_iter().map(Into::into));
    let version = NewVersion {
        id: VersionId::generate(),
        name: plan.name.to_string(),
        description: document.get("description").and_then(Value::as_str).map(str::to_owned),
        digest: Sha256::digest(&text).into(),
        document: text,
        node_count: u32::try_from(plan.nodes.len()).unwrap_or(u32::MAX),
        edge_count: plan.edge_count,
    };
    Ok((version, warnings))
}

/// The workflows of the workspace, by name: archived ones and those of which there are drafts alone, too.
#[utoipa::path(
    get, path = "/workflows", operation_id = "listWorkflows", tag = "workflows", params(PageQuery),
    responses((status = 200, body = WorkflowList))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let PageQuery { cursor, limit } = PageQuery::take(&mut parameters);
    let page = parameters.page(Listing::Workflows, limit, cursor.as_deref());
    parameters.finish()?;
    let found = app.store.list_workflows(&tenant, &page).await?;
    let list = WorkflowList {
        items: found.items.into_iter().map(Into::into).collect(),
        next_cursor: found.next_cursor.map(|cursor| Listing::Workflows.seal(&cursor)),
    };
    answers.json(StatusCode::OK, &list)
}

/// One version of a workflow, or a draft, with its document.
#[utoipa::path(
    get, path = "/workflows/{name}", operation_id = "getWorkflow", tag = "workflows",
    params(WorkflowName, VersionQuery),
    responses((status = 200, body = Workflow),
              (status = 404, description = "workflow-not-found"))
)]
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    WorkflowName(name): WorkflowName,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let VersionQuery { version } = parameters.read()?;
    let _permit = answers.permit().await?;
    let found = app.store.find_workflow(&tenant, &name, version).await?;
    match found {
        Some(found) => answers.json(StatusCode::OK, &Workflow::try_from(found)?),
        None => Err(not_found(&app, &tenant, &name, version).await),
    }
}

/// Why there is nothing to show.
async fn not_found(app: &App, tenant: &Identity, name: &str, version: Option<u32>) -> Problem {
    if let Some(version) = version {
        return no_version(name, version);
    }
    match newest_draft(&*app.store, tenant, name).await {
        Ok(Some(draft)) => {
            let detail = format!(
                "of `{name}` nothing is published, there are drafts alone; the newest is read with ?version={draft}"
            );
            Problem::new(ProblemKind::NoWorkflow, detail)
        }
        Ok(None) => no_workflow(name),
        Err(error) => error.into(),
    }
}

/// The versions of a workflow and its drafts, newest first, without their documents.
#[utoipa::path(
    get, path = "/workflows/{name}/versions", operation_id = "listVersions", tag = "workflows",
    params(WorkflowName, PageQuery),
    responses((status = 200, body = VersionList),
              (status = 404, description = "workflow-not-found"))
)]
pub(crate) async fn versions(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    WorkflowName(name): WorkflowName,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let listing = Listing::Versions(&name);
    let PageQuery { cursor, limit } = PageQuery::take(&mut parameters);
    let page = parameters.page(listing, limit, cursor.as_deref());
    parameters.finish()?;
    let found = app.store.list_versions(&tenant, &name, &page).await?;
    if found.items.is_empty() && page.cursor.is_none() {
        return Err(no_workflow(&name));
    }
    let list = VersionList {
        items: found.items.into_iter().map(Into::into).collect(),
        next_cursor: found.next_cursor.map(|cursor| listing.seal(&cursor)),
    };
    answers.json(StatusCode::OK, &list)
}
