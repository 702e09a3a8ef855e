//! What the OpenAPI document says of all routes alike. The rest of it comes from the routes themselves.

use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::problem::{PROBLEM_JSON, ProblemDiagnostic, ProblemDocument};

/// The frame that routes are added to.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Skein",
        description = "Runs workflows: every run one trace through all the workers that took part in it.\n\n\
            Errors are `application/problem+json` (RFC 9457). Time stamps are RFC 3339 in UTC. Listings are \
            `{items, next_cursor}`; cursors are opaque.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemDocument, ProblemDiagnostic)),
    tags(
        (name = "workflows", description = "Publish and read workflows"),
        (name = "runs", description = "Start, follow and cancel runs"),
        (name = "health", description = "Probes; they take no key")
    )
)]
pub(crate) struct Frame;

/// Adds to every operation that it may answer a problem, and to those below `/v1` that they take a key. A body of which
/// nothing is required may be left out.
pub(crate) fn complete(document: &utoipa::openapi::OpenApi) -> Value {
    // A tree of strings and maps with string keys: nothing in it can fail to become JSON.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["components"]["securitySchemes"]["key"] =
        json!({ "type": "http", "scheme": "bearer", "description": "An API key" });
    let problem = json!({
        "description": "A problem",
        "content": { PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } }
    });
    let schemas = document["components"]["schemas"].clone();
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, operations) in paths {
        for operation in operations.as_object_mut().into_iter().flatten().map(|(_, it)| it) {
            operation["responses"]["default"] = problem.clone();
            if let Some(body) = operation.get_mut("requestBody") {
                let schema = body["content"]["application/json"]["schema"]["$ref"].as_str();
                let schema = schema.and_then(|it| it.rsplit('/').next()).map(|name| &schemas[name]);
                let is_optional = schema.is_some_and(|it| it.get("required").is_none());
                body["required"] = json!(!is_optional);
            }
            if path.starts_with("/v1/") {
                operation["security"] = json!([{ "key": [] }]);
            }
        }
    }
    document
}
