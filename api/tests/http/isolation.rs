//! Nobody sees, starts or stops what belongs to another organization or workspace.

use serde_json::{Value, json};
use skein_shared::domain::tenant::Identity;

use crate::harness::{Client, Server};

/// Every operation of the OpenAPI document that takes a key, with the victim's ids in its path.
pub(crate) fn operations(
    document: &Value,
    workflow: &str,
    run: &str,
    key: &str,
) -> Vec<(String, String, String)> {
    let mut operations = Vec::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["security"][0].is_object() {
                let id = if template.starts_with("/v1/keys") { key } else { run };
                let path = template.replace("{name}", workflow).replace("{id}", id);
                let path = path.replace("{node}", "add");
                operations.push((method.to_uppercase(), template.clone(), path));
            }
        }
    }
    operations
}

pub(crate) async fn call(client: &Client, method: &str, path: &str) -> crate::harness::Answer {
    let request = client.request(method, path).header("content-type", "application/json");
    let body = match path.rsplit('/').next() {
        Some("decision") => json!({ "step": 1, "approved": true }),
        Some("budget") => json!({}),
        _ => json!({ "input": { "n": 1 } }),
    };
    let body = body.to_string();
    Client::send(if method == "POST" { request.body(body) } else { request }).await
}

#[tokio::test]
async fn no_route_shows_or_touches_what_belongs_to_others() {
    let server = Server::start().await;
    let victim = server.tenant().await;
    let workflow = victim.publish("secret-plans").await;
    let run = victim.run(&workflow).await["id"].as_str().unwrap().to_owned();
    let key = server.user(&victim.identity).await.key_id();
    let organization = &victim.identity.organization;
    let strangers = [
        server.tenant().await,
        server.user(&Identity::new(organization.clone(), "another-workspace", "ada")).await,
    ];
    let document = server.nobody().get("/openapi.json").await.expect(200);
    let operations = operations(&document, &workflow, &run, &key);
    assert!(operations.len() >= 13, "{operations:?}");

    let before = victim.get(&format!("/v1/runs/{run}")).await.expect(200);
    let rows = victim.rows().await;
    for stranger in &strangers {
        for (method, template, path) in &operations {
            // What a colleague may do with keys is another matter: see `keys`.
            if template == "/v1/keys/{id}" && stranger.identity.organization == *organization {
                continue;
            }
            let answer = call(stranger, method, path).await;
            assert!(!answer.text.contains("Adds one"), "{method} {template}: {}", answer.text);
            if template.starts_with("/v1/key") && method == "GET" {
                // Keys are their organization's, and everybody sees his own.
                let is_shown = answer.expect(200).to_string().contains(&key);
                let is_colleague = stranger.identity.organization == *organization;
                assert_eq!(is_shown, is_colleague && template == "/v1/keys");
                continue;
            }
            if template == "/v1/workers" {
                // All organizations share them, so they say nothing of any.
                answer.expect(200);
                let is_named = answer.text.contains(&**organization);
                assert!(!is_named && !answer.text.contains(&run), "{}", answer.text);
            } else if template == "/v1/analysis" {
                let found = answer.expect(200);
                assert_eq!(found["coverage"]["total_estimated"], 0, "{found}");
            } else if template.contains('{') {
                assert_eq!(answer.status, 404, "{method} {template}: {}", answer.text);
            } else if method == "GET" {
                assert_eq!(answer.expect(200)["items"], json!([]), "{method} {template}");
            } else if method == "PUT" {
                // Nothing is set, and nothing of others is shown.
                assert_eq!(answer.expect(200)["items"], json!([]), "{template}");
            } else {
                assert_eq!(answer.status, 422, "{method} {template}: {}", answer.text);
            }
        }
        // A name is free in every workspace.
        stranger.publish(&workflow).await;
    }
    assert_eq!(victim.get(&format!("/v1/runs/{run}")).await.expect(200), before);
    let latest = victim.get(&format!("/v1/workflows/{workflow}")).await.expect(200);
    assert_eq!(latest["version"], 1);
    let added: i64 = victim.rows().await.iter().zip(&rows).map(|(now, then)| now.1 - then.1).sum();
    assert_eq!(added, 2, "only the workflow that the other workspace has published");
    // The owner is refused nothing: it was the key, and not the request, that others failed by.
    for (method, template, path) in
        operations.iter().filter(|(_, template, _)| template.contains('{'))
    {
        let answer = call(&victim, method, path).await;
        // Nothing of the run waits for a decision.
        let is_right =
            answer.status < 400 || (template.ends_with("/decision") && answer.status == 409);
        assert!(is_right, "{method} {template}: {}", answer.text);
        if template.ends_with("/archive") {
            call(&victim, "POST", &path.replace("/archive", "/unarchive")).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_cursor_of_another_organization_shows_nothing_of_it() {
    let server = Server::start().await;
    let (victim, stranger) = (server.tenant().await, server.tenant().await);
    victim.publish("adder").await;
    for _ in 0..3 {
        victim.run("adder").await;
    }
    let page = victim.get("/v1/runs?limit=1").await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let seen = stranger.get(&format!("/v1/runs?cursor={cursor}")).await.expect(200);
    assert_eq!(seen["items"], json!([]));
}

#[tokio::test]
async fn every_route_below_v1_wants_a_key() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let document = nobody.get("/openapi.json").await.expect(200);
    let id = "0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f";
    let operations = operations(&document, "adder", id, "key_0123456789abcdef");
    let below_v1 = document["paths"].as_object().unwrap().iter();
    let below_v1 = below_v1.filter(|(path, _)| path.starts_with("/v1/"));
    let count: usize = below_v1.map(|(_, methods)| methods.as_object().unwrap().len()).sum();
    assert_eq!(operations.len(), count, "an operation below /v1 takes no key");
    for (method, template, path) in operations {
        let answer = call(&nobody, &method, &path).await;
        answer.problem(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"skein\"", "{template}");
    }
}
