//! What the OpenAPI document says of all routes alike. The rest of it comes from the routes themselves.

mod bodies;
mod refusals;

use serde_json::{Map, Value, json};
use skein_shared::domain::key_scopes::KeyScope;
use skein_shared::workflow::compile::schema;
use utoipa::OpenApi;

use crate::limits::{KEY_KEPT, KEY_TRUST};
use crate::problem::{ProblemDiagnostic, ProblemDocument};

/// What the document calls the API key.
pub(crate) const KEY_SCHEME: &str = "key";
/// Where schemas stand.
const SCHEMAS: &str = "#/components/schemas/";

/// The frame that routes are added to.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Skein",
        description = "Runs workflows: every run one trace through all the workers that took part in it.\n\n\
            Errors are `application/problem+json` (RFC 9457). Time stamps are RFC 3339 in UTC. Listings are \
            `{items, next_cursor}`; cursors are opaque. A request that is not of the form that stands here is answered \
            400, one that breaks a rule beyond its form 422. `HEAD` is answered wherever `GET` is.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/", description = "The server that this was read from")),
    components(schemas(ProblemDocument, ProblemDiagnostic)),
    tags(
        (name = "workflows", description = "Publish and read workflows"),
        (name = "runs", description = "Start, follow and cancel runs"),
        (name = "workers", description = "See who does the work"),
        (name = "costs", description = "What calls to models cost, and what may be spent on them"),
        (name = "analysis", description = "Look back at many runs at once"),
        (name = "keys", description = "Make, list and revoke API keys"),
        (name = "health", description = "Probes; they take no key")
    )
)]
pub(crate) struct Frame;

/// Adds what the routes leave out: that a key is needed unless an operation says otherwise, what answers are, the problems
/// that any operation may be answered with, the schemas of workflows, and that bodies have no members but those that stand
/// there.
pub(crate) fn complete(document: &utoipa::openapi::OpenApi) -> Value {
    // A tree of strings and maps with string keys: nothing in it can fail to become JSON.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["components"]["securitySchemes"][KEY_SCHEME] =
        json!({ "type": "http", "scheme": "bearer", "description": about_keys() });
    document["security"] = json!([{ KEY_SCHEME: [] }]);
    for (name, schema) in schema::definitions(SCHEMAS) {
        document["components"]["schemas"][name] = schema;
    }
    let schemas = document["components"]["schemas"].clone();
    let mut responses = Map::new();
    for operation in operations(&mut document) {
        if operation.get("security").is_none() {
            operation["security"] = json!([]);
        }
        summarize(operation);
        describe_answers(operation, &schemas);
        refusals::add(operation, &mut responses);
        bodies::require(operation, &schemas);
    }
    document["components"]["responses"] = Value::Object(responses);
    bodies::close(&mut document);
    document
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    paths.flat_map(|path| path.as_object_mut().into_iter().flat_map(Map::values_mut))
}

/// The first sentence as the summary, and all of them as the description: comments are cut where a paragraph ends.
fn summarize(operation: &mut Value) {
    let parts = ["summary", "description"].map(|part| operation[part].as_str().unwrap_or_default());
    let whole = parts.join("\n\n").trim().to_owned();
    let first =
        whole.split(". ").next().unwrap_or_default().split(".\n").next().unwrap_or_default();
    operation["summary"] = first.trim_end_matches('.').replace('\n', " ").into();
    operation["description"] = whole.into();
}

/// The schema that a reference leads to, with its name.
fn referred<'s>(schema: &'s Value, schemas: &'s Value) -> Option<(&'s str, &'s Value)> {
    let name = schema["$ref"].as_str()?.strip_prefix(SCHEMAS)?;
    Some((name, schemas.get(name)?))
}

/// An answer of which nothing else is said is what its schema says.
fn describe_answers(operation: &mut Value, schemas: &Value) {
    let answers = operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for answer in answers {
        let is_described = answer["description"].as_str().is_some_and(|text| !text.is_empty());
        let schema = &answer["content"]["application/json"]["schema"];
        if !is_described && let Some((_, schema)) = referred(schema, schemas) {
            answer["description"] = schema["description"].clone();
        }
    }
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
