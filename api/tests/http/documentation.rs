//! The OpenAPI document.

use serde_json::Value;

use crate::harness::{Client, Server};

#[tokio::test]
async fn the_document_is_served_without_a_key_and_is_the_one_of_the_library() {
    let server = Server::start().await;
    let answer = server.nobody().get("/openapi.json").await;
    let served = answer.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(served, serde_json::from_str::<Value>(&skein_api::openapi_json()).unwrap());
    for path in [
        "/v1/workflows",
        "/v1/workflows/{name}",
        "/v1/workflows/{name}/versions",
        "/v1/workflows/{name}/runs",
        "/v1/runs",
        "/v1/runs/{id}",
        "/v1/runs/{id}/logs",
        "/v1/runs/{id}/cancel",
        "/v1/runs/{id}/nodes/{node}",
        "/livez",
        "/readyz",
    ] {
        assert!(served["paths"][path].is_object(), "{path} is not documented");
    }
    assert_eq!(served["components"]["securitySchemes"]["key"]["scheme"], "bearer");
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str() {
                        Some(text) if name == "$ref" => found.push(text),
                        _ => walk(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(&skein_api::openapi_json()).unwrap();
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(references.contains(&"#/components/schemas/Problem"));
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn operations_have_names_of_their_own() {
    let document: Value = serde_json::from_str(&skein_api::openapi_json()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|methods| methods.as_object().unwrap().values());
    let mut names: Vec<_> = operations.map(|it| it["operationId"].as_str().unwrap()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}

/// Parameters are read by hand, so only this keeps them and the document together.
#[tokio::test]
async fn routes_take_the_query_parameters_that_are_documented_and_no_others() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let document = server.nobody().get("/openapi.json").await.expect(200);
    for (template, methods) in document["paths"].as_object().unwrap() {
        if !template.starts_with("/v1/") {
            continue;
        }
        let id = "0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f";
        let path = template.replace("{name}", "adder").replace("{id}", id);
        for (method, operation) in methods.as_object().unwrap() {
            let request = ada.request(&method.to_uppercase(), &format!("{path}?no-such=1"));
            let problem = Client::send(request).await.problem(400, "invalid-parameter");
            let fault = &problem["errors"][0];
            assert_eq!(fault["parameter"], "no-such");
            let hint = fault["hint"].as_str().unwrap();
            let mut known: Vec<_> = hint
                .strip_prefix("known parameters: ")
                .map_or(Vec::new(), |names| names.split(", ").collect());
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let mut documented: Vec<_> = parameters
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            known.sort_unstable();
            documented.sort_unstable();
            assert_eq!(known, documented, "{method} {template}");
        }
    }
}
