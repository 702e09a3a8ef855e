//! What the OpenAPI document says of all routes alike. The rest of it comes from the routes themselves.

use serde_json::{Value, json};
use skein_shared::domain::key_scopes::KeyScope;
use utoipa::OpenApi;

use crate::limits::{KEY_KEPT, KEY_TRUST};
use crate::problem::{PROBLEM_JSON, ProblemDiagnostic, ProblemDocument};

/// What the document calls the API key.
pub(crate) const KEY_SCHEME: &str = "key";

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
        (name = "workers", description = "See who does the work"),
        (name = "keys", description = "Make, list and revoke API keys"),
        (name = "health", description = "Probes; they take no key")
    )
)]
pub(crate) struct Frame;

/// Adds to every operation that it may answer a problem. A body of which nothing is required may be left out.
pub(crate) fn complete(document: &utoipa::openapi::OpenApi) -> Value {
    // A tree of strings and maps with string keys: nothing in it can fail to become JSON.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["components"]["securitySchemes"][KEY_SCHEME] =
        json!({ "type": "http", "scheme": "bearer", "description": about_keys() });
    let problem = json!({
        "description": "A problem",
        "content": { PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } }
    });
    let schemas = document["components"]["schemas"].clone();
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (_, operations) in paths {
        for operation in operations.as_object_mut().into_iter().flatten().map(|(_, it)| it) {
            operation["responses"]["default"] = problem.clone();
            if let Some(body) = operation.get_mut("requestBody") {
                let schema = body["content"]["application/json"]["schema"]["$ref"].as_str();
                let schema = schema.and_then(|it| it.rsplit('/').next()).map(|name| &schemas[name]);
                let is_optional = schema.is_some_and(|it| it.get("required").is_none());
                body["required"] = json!(!is_optional);
            }
        }
    }
    document
}

fn about_keys() -> String {
    let scopes = KeyScope::ALL.iter().map(|scope| format!("`{scope}`: {}", scope.description()));
    format!(
        "An API key. Each has scopes: {}. What an operation needs stands at it; a key without that is answered 403 \
         `forbidden`, whatever there is. A key that is revoked is refused at once by the server that revoked it, within \
         {} seconds by the others, and within {} by one that cannot ask the store.",
        scopes.collect::<Vec<_>>().join("; "),
        KEY_TRUST.as_secs(),
        KEY_KEPT.as_secs()
    )
}
