//! Every route and every layer.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::require_key;
use crate::guard::guard;
use crate::openapi;
use crate::problem::{Problem, ProblemKind};
use crate::routes::{events, health, logs, nodes, runs, workflows};
use crate::server_span::server_span;

/// Routes that take a key.
fn v1() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(workflows::publish, workflows::list))
        .routes(routes!(workflows::read))
        .routes(routes!(workflows::versions))
        .routes(routes!(runs::start))
        .routes(routes!(runs::list))
        .routes(routes!(runs::read))
        .routes(routes!(runs::cancel))
        .routes(routes!(nodes::read))
        .routes(routes!(logs::log))
        .routes(routes!(events::events))
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
    let v1 = v1().layer(from_fn_with_state(Arc::clone(&app.entrance), require_key));
    let (router, document) = open().nest("/v1", v1).split_for_parts();
    let document = Bytes::from(openapi::complete(&document).to_string());
    router
        .route("/openapi.json", get(|| async { ([(CONTENT_TYPE, "application/json")], document) }))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::clone(&app), surround))
        .with_state(app)
}

/// The OpenAPI document, as JSON.
pub(crate) fn openapi() -> String {
    let (_, document) = open().nest("/v1", v1()).split_for_parts();
    openapi::complete(&document).to_string()
}

async fn no_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(ProblemKind::NoRoute, format!("`{path}` leads nowhere; see /openapi.json"))
}

async fn no_method(method: Method) -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, format!("the path does not take {method}"))
}
