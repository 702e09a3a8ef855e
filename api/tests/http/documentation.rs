//! The OpenAPI document.

use serde_json::{Value, json};

use crate::harness::{Client, Server, workflow};

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
        "/v1/workflows/{name}/archive",
        "/v1/workflows/{name}/unarchive",
        "/v1/runs",
        "/v1/runs/{id}",
        "/v1/runs/{id}/logs",
        "/v1/runs/{id}/spans",
        "/v1/runs/{id}/cancel",
        "/v1/runs/{id}/nodes/{node}",
        "/v1/key",
        "/v1/keys",
        "/v1/keys/{id}",
        "/v1/workers",
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

fn operations(document: &Value) -> Vec<(String, &String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (method.to_uppercase(), path, operation))
    });
    operations.collect()
}

/// A document without nulls in requests: they take none.
#[tokio::test]
async fn nothing_of_a_request_may_be_null_and_that_is_so() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let document: Value = serde_json::from_str(&skein_api::openapi_json()).unwrap();
    for (method, path, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let text = parameter["schema"].to_string();
            assert!(!text.contains("null") && text.len() > 2, "{method} {path}: {parameter}");
        }
    }
    let start = &document["components"]["schemas"]["StartRun"];
    for flag in ["step_mode", "trace"] {
        assert_eq!(start["properties"][flag]["type"], "boolean", "{start}");
        let body = json!({ "input": { "n": 1 }, flag: null });
        ada.post("/v1/workflows/adder/runs", &body).await.problem(422, "invalid-request");
    }
    assert_eq!(start.get("required"), None);
}

#[tokio::test]
async fn bodies_are_required_where_the_document_says_so() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let mut free = workflow("free");
    free["input"] = json!({});
    ada.post("/v1/workflows", &free).await.expect(201);
    let run = ada.run("free").await["id"].as_str().unwrap().to_owned();
    let document: Value = serde_json::from_str(&skein_api::openapi_json()).unwrap();
    for (method, path, operation) in operations(&document) {
        let Some(body) = operation.get("requestBody") else { continue };
        let path = path.replace("{name}", "free").replace("{id}", &run);
        let request = ada.request(&method, &path);
        let answer = Client::send(request).await;
        let required = body["required"] == true;
        assert_eq!(answer.status >= 400, required, "{method} {path}: {}", answer.text);
        let alternatives = body.to_string().contains("\"null\"");
        assert!(!alternatives, "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn parameters_keep_to_the_bounds_and_words_that_are_documented() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    let document: Value = serde_json::from_str(&skein_api::openapi_json()).unwrap();
    let mut checked = Vec::new();
    for (method, path, operation) in operations(&document) {
        let path = path.replace("{name}", "adder").replace("{id}", &run).replace("{node}", "add");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] != "query" {
                continue;
            }
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            let (mut good, mut bad) = (Vec::new(), Vec::new());
            if let Some(minimum) = schema["minimum"].as_f64() {
                good.push(minimum.to_string());
                bad.push((minimum - 1.0).to_string());
            }
            if let Some(maximum) = schema["maximum"].as_f64() {
                // As long a wait as may be asked for is not sat out here.
                good.extend((name != "wait").then(|| maximum.to_string()));
                bad.push((maximum + 1.0).to_string());
            }
            let words = [&schema["enum"], &schema["items"]["enum"]];
            for word in words.into_iter().filter_map(Value::as_array).flatten() {
                good.push(word.as_str().unwrap().to_owned());
                bad.push("no-such-word".to_owned());
            }
            if schema["format"] == "uuid" {
                good.push(run.clone());
                bad.push("17".to_owned());
            }
            if schema["format"] == "date-time" {
                good.push("2026-01-31T12:00:00Z".to_owned());
                bad.push("yesterday".to_owned());
            }
            if schema["type"] == "boolean" {
                good.extend(["true".to_owned(), "false".to_owned()]);
                bad.push("1".to_owned());
            }
            if !good.is_empty() {
                checked.push(format!("{} {name}", operation["operationId"].as_str().unwrap()));
            }
            for (values, is_good) in [(good, true), (bad, false)] {
                for value in values {
                    let body = json!({ "input": { "n": 1 } }).to_string();
                    let request = ada.request(&method, &format!("{path}?{name}={value}"));
                    let request = request.header("content-type", "application/json").body(body);
                    let answer = Client::send(request).await;
                    assert_eq!(
                        answer.status != 400,
                        is_good,
                        "{path}?{name}={value}: {}",
                        answer.text
                    );
                }
            }
        }
    }
    checked.sort_unstable();
    assert_eq!(
        checked,
        [
            "getAnalysis from",
            "getAnalysis to",
            "getRun values",
            "getRunLogs level",
            "getRunLogs limit",
            "getRunLogs since",
            "getWorkflow version",
            "listCosts from",
            "listCosts group_by",
            "listCosts limit",
            "listCosts run",
            "listCosts to",
            "listKeys limit",
            "listRuns created_after",
            "listRuns created_before",
            "listRuns ended_after",
            "listRuns ended_before",
            "listRuns limit",
            "listRuns status",
            "listSteps limit",
            "listVersions limit",
            "listWorkers limit",
            "listWorkflows limit",
            "publishWorkflow draft",
            "startRun version",
            "startRun wait"
        ]
    );
}

/// What an answer always has, the document says that it has.
#[tokio::test]
async fn fields_that_are_always_there_are_required() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    let document: Value = serde_json::from_str(&skein_api::openapi_json()).unwrap();
    for (schema, path) in [
        ("WorkflowList", "/v1/workflows".to_owned()),
        ("VersionList", "/v1/workflows/adder/versions".to_owned()),
        ("Workflow", "/v1/workflows/adder".to_owned()),
        ("RunList", "/v1/runs".to_owned()),
        ("LogList", format!("/v1/runs/{run}/logs")),
        ("SpanList", format!("/v1/runs/{run}/spans")),
        ("Run", format!("/v1/runs/{run}")),
        ("NodeRun", format!("/v1/runs/{run}/nodes/add")),
        ("CallerKey", "/v1/key".to_owned()),
        ("KeyList", "/v1/keys".to_owned()),
        ("WorkerList", "/v1/workers".to_owned()),
        ("Coverage", "/v1/analysis".to_owned()),
    ] {
        let answer = ada.get(&path).await.expect(200);
        let answer = if schema == "Coverage" { &answer["coverage"] } else { &answer };
        let mut fields: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        let required = &document["components"]["schemas"][schema]["required"];
        let mut required: Vec<_> =
            required.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        fields.sort_unstable();
        required.sort_unstable();
        assert_eq!(fields, required, "{schema}");
    }
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
        let is_key = template.starts_with("/v1/keys");
        let id =
            if is_key { "key_0123456789abcdef" } else { "0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f" };
        let path = template.replace("{name}", "adder").replace("{id}", id);
        for (method, operation) in methods.as_object().unwrap() {
            let request = ada.request(&method.to_uppercase(), &format!("{path}?no-such=1"));
            let problem = Client::send(request).await.problem(400, "invalid-parameter");
            let diagnostic = &problem["errors"][0];
            assert_eq!(diagnostic["parameter"], "no-such");
            let hint = diagnostic["hint"].as_str().unwrap();
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
