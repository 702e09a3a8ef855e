//! Every route and every layer.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use skein_shared::domain::key_scopes::KeyScope;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{Gate, require_key};
use crate::docs;
use crate::guard::guard;
use crate::keyed_routes::KeyedRoutes;
use crate::openapi;
use crate::problem::{Problem, ProblemKind};
use crate::route_needs::Needs;
use crate::routes::{
    analysis, archiving, budgets, costs, events, health, keys, logs, nodes, runs, spans, steps,
    workers, workflows,
};
use crate::server_span::server_span;
use crate::static_file::StaticFile;

/// Where the routes stand that take a key.
const V1: &str = "/v1";

/// Routes that take a key, and what each asks of it.
fn v1() -> KeyedRoutes {
    let [read, run, approve, write, admin] =
        [KeyScope::Read, KeyScope::Run, KeyScope::Approve, KeyScope::Write, KeyScope::Admin]
            .map(Needs::Scope);
    KeyedRoutes::below(V1)
        .add(write, routes!(workflows::publish))
        .add(read, routes!(workflows::list))
        .add(read, routes!(workflows::read))
        .add(read, routes!(workflows::versions))
        .add(write, routes!(archiving::archive))
        .add(write, routes!(archiving::unarchive))
        .add(run, routes!(runs::start))
        .add(read, routes!(runs::list))
        .add(read, routes!(runs::read))
        .add(run, routes!(runs::cancel))
        .add(read, routes!(nodes::read))
        .add(read, routes!(logs::log))
        .add(read, routes!(spans::spans))
        .add(read, routes!(events::events))
        .add(read, routes!(steps::list))
        .add(approve, routes!(steps::decide))
        .add(read, routes!(costs::list))
        .add(read, routes!(analysis::read))
        .add(read, routes!(budgets::of_run))
        .add(admin, routes!(budgets::change_of_run))
        .add(read, routes!(budgets::list))
        .add(admin, routes!(budgets::set))
        .add(admin, routes!(workers::list))
        .add(Needs::AnyKey, routes!(keys::presented))
        .add(admin, routes!(keys::create))
        .add(admin, routes!(keys::list))
        .add(admin, routes!(keys::revoke))
}

/// Routes that take none.
fn open() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::Frame::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

/// What surrounds every request: its span, whether it is for this server, its bounds. One layer, because each puts a
/// future of its own on the heap and clones all that is below it, for every request.
async fn surround(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    server_span(request, |request| async move {
        match app.hosts.refusal(request.uri(), request.headers()) {
            Some(problem) => problem.into_response(),
            None => guard(&app, request, next).await,
        }
    })
    .await
}

/// The whole API. The last layer is the outermost.
pub(crate) fn router(app: Arc<App>) -> Router {
    let (v1, needs) = v1().into_parts();
    let gate = Arc::new(Gate { entrance: Arc::clone(&app.entrance), needs });
    let v1 = v1.layer(from_fn_with_state(gate, require_key));
    let (router, document) = open().nest(V1, v1).split_for_parts();
    let document = openapi::complete(&document).to_string();
    let router = StaticFile::new("application/json", document).serve(router, "/openapi.json");
    docs::serve(router)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::clone(&app), surround))
        .with_state(app)
}

/// The OpenAPI document as far as the routes say it.
pub(crate) fn documented() -> utoipa::openapi::OpenApi {
    let (v1, _) = v1().into_parts();
    let (_, document) = open().nest(V1, v1).split_for_parts();
    document
}

/// The OpenAPI document, as JSON.
pub(crate) fn openapi() -> String {
    openapi::complete(&documented()).to_string()
}

async fn no_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(ProblemKind::NoRoute, format!("`{path}` leads nowhere; see /openapi.json"))
}

async fn no_method(method: Method) -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, format!("the path does not take {method}"))
}
