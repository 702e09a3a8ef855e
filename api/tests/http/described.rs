//! The OpenAPI document says of everything what it is, and holds requests to what it says. What a new route lacks, these
//! tests name.

use serde_json::{Value, json};

use crate::documented::{document, resolved};
use crate::harness::{Client, Server};

/// Every operation, with its method and path.
fn operations() -> Vec<(String, &'static str, &'static Value)> {
    let paths = document()["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (method.to_uppercase(), path.as_str(), operation))
    });
    operations.collect()
}

fn says_something(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

#[test]
fn everything_has_a_description() {
    let mut silent = Vec::new();
    let tags = document()["tags"].as_array().unwrap();
    for (method, path, operation) in operations() {
        let what = format!("{method} {path}");
        let mut say = |is_there: bool, part: &str| {
            silent.extend((!is_there).then(|| format!("{what}: {part}")));
        };
        say(says_something(&operation["summary"]), "summary");
        say(says_something(&operation["description"]), "description");
        let tag = &operation["tags"][0];
        say(tags.iter().any(|it| it["name"] == *tag), "a tag that is described");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            say(
                says_something(&parameter["description"]),
                &format!("parameter {}", parameter["name"]),
            );
        }
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let answer = resolved(answer);
            say(says_something(&answer["description"]), &format!("answer {status}"));
            for (name, header) in answer["headers"].as_object().into_iter().flatten() {
                say(says_something(&header["description"]), &format!("header {name} of {status}"));
            }
        }
    }
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        silent.extend((!says_something(&schema["description"])).then(|| format!("schema {name}")));
    }
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn the_frame_says_where_the_api_is_and_what_lets_one_in() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["servers"][0]["url"], "/");
    assert_eq!(document["security"], json!([{ "key": [] }]));
    for (method, path, operation) in operations() {
        let is_open = operation["security"] == json!([]);
        assert_eq!(is_open, !path.starts_with("/v1/"), "{method} {path}");
        let answers = operation["responses"].as_object().unwrap();
        assert_eq!(answers.contains_key("401"), !is_open, "{method} {path}");
        assert!(answers.contains_key("500") && answers.contains_key("503"), "{method} {path}");
        let has_body = operation.get("requestBody").is_some();
        for status in ["408", "413", "415"] {
            assert_eq!(answers.contains_key(status), has_body, "{method} {path} {status}");
        }
    }
}

#[test]
fn parameters_have_bounds() {
    let mut endless = Vec::new();
    for (method, path, operation) in operations() {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let schema = resolved(&parameter["schema"]);
            let has = |name: &str| schema.get(name).is_some();
            let is_bound = match schema["type"].as_str() {
                Some("string") => ["format", "enum", "maxLength", "pattern"].into_iter().any(has),
                Some("integer" | "number") => has("minimum") && has("maximum"),
                Some("boolean") => true,
                // Each of which is one of some words.
                Some("array") => has("minItems") && schema["items"].get("enum").is_some(),
                _ => false,
            };
            endless.extend((!is_bound).then(|| format!("{method} {path} {}", parameter["name"])));
        }
    }
    assert_eq!(endless, Vec::<String>::new());
}

#[test]
fn problems_are_of_kinds_that_are_listed() {
    let schema = &document()["components"]["schemas"]["ProblemType"];
    // A client that was generated today reads the kinds of tomorrow.
    assert_eq!((&schema["type"], schema.get("enum")), (&json!("string"), None));
    let kinds = schema["examples"].as_array().unwrap();
    assert!(kinds.contains(&json!("urn:skein:problem:run-not-found")), "{kinds:?}");
    for (method, path, operation) in operations() {
        for (status, answer) in operation["responses"].as_object().unwrap() {
            if !status.starts_with(['4', '5']) {
                continue;
            }
            let answer = resolved(answer);
            let schema = &answer["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            let description = answer["description"].as_str().unwrap();
            let named: Vec<_> = description.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty(), "{method} {path} {status}");
            for slug in named {
                let urn = json!(format!("urn:skein:problem:{slug}"));
                assert!(kinds.contains(&urn), "{method} {path} {status}: {slug}");
            }
        }
    }
}

#[tokio::test]
async fn bodies_have_no_members_but_those_that_are_documented() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let workflow = ada.publish("adder").await;
    let run = ada.run(&workflow).await["id"].as_str().unwrap().to_owned();
    let stranger = json!({ "no_such_member": 1 }).to_string();
    let mut tried = 0;
    for (method, template, operation) in operations() {
        let Some(body) = operation.get("requestBody") else { continue };
        let schema = resolved(&body["content"]["application/json"]["schema"]);
        assert_eq!(schema["additionalProperties"], false, "{method} {template}");
        let path = template.replace("{name}", &workflow).replace("{id}", &run);
        let path = path.replace("{node}", "add");
        let request = ada.request(&method, &path).header("content-type", "application/json");
        let answer = Client::send(request.body(stranger.clone())).await;
        let problem = answer.expect(422);
        let errors = problem["errors"].as_array().unwrap();
        let is_named = errors.iter().any(|error| error["pointer"] == "/no_such_member");
        assert!(is_named, "{method} {template}: {problem}");
        tried += 1;
    }
    assert!(tried >= 6, "{tried}");
}
