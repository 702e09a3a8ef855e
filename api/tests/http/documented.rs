//! Whatever the tests of the API see, the OpenAPI document must say that it may be: each answer is looked up in it.

use std::sync::OnceLock;

use serde_json::Value;

/// The OpenAPI document.
pub(crate) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::from_str(&skein_api::openapi_json()).unwrap())
}

/// What a reference leads to; anything else is itself.
pub(crate) fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => document().pointer(pointer).unwrap(),
        None => value,
    }
}

/// The operation that a request is for, if it is for any.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let method = if method == "HEAD" { "GET" } else { method };
    let parts = |path: &'static str| path.split('/').collect::<Vec<_>>();
    let of_path: Vec<_> = path.split('/').collect();
    let paths = document()["paths"].as_object().unwrap().iter();
    let mut found = paths.filter(|(template, _)| {
        let of_template = parts(template);
        of_template.len() == of_path.len()
            && of_template
                .iter()
                .zip(&of_path)
                .all(|(one, other)| one == other || (one.starts_with('{') && !other.is_empty()))
    });
    let (_, methods) = found.next()?;
    methods.get(method.to_lowercase())
}

/// Panics where the document does not say that there may be such an answer.
#[track_caller]
pub(crate) fn check(method: &str, path: &str, status: u16, text: &str) {
    let Some(operation) = operation(method, path) else { return };
    let name = &operation["operationId"];
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let documented = resolved(&operation["responses"][status.to_string()]);
    let Some(description) = documented["description"].as_str() else {
        panic!("{name} answers {status}, and the document does not say so: {text}")
    };
    if let Some(slug) = body["type"].as_str().and_then(|urn| urn.strip_prefix("urn:skein:problem:"))
    {
        assert!(
            description.contains(&format!("`{slug}`")),
            "{name} answers {status} `{slug}`, and the document does not say so: name it beside the route"
        );
    }
}
