//! What a key may do, and that a refusal says nothing else.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skein_shared::domain::key_scopes::{KeyScope, KeyScopes};

use crate::harness::Server;
use crate::isolation::{call, operations};

/// What each operation needs. Part of the contract: whoever has given out keys relies on it.
const NEEDED: [(&str, Option<KeyScope>); 27] = [
    ("archiveWorkflow", Some(KeyScope::Write)),
    ("cancelRun", Some(KeyScope::Run)),
    ("changeRunBudget", Some(KeyScope::Admin)),
    ("createKey", Some(KeyScope::Admin)),
    ("decideStep", Some(KeyScope::Approve)),
    ("followRun", Some(KeyScope::Read)),
    ("getAnalysis", Some(KeyScope::Read)),
    ("getCallerKey", None),
    ("getNodeRun", Some(KeyScope::Read)),
    ("getRun", Some(KeyScope::Read)),
    ("getRunBudget", Some(KeyScope::Read)),
    ("getRunLogs", Some(KeyScope::Read)),
    ("getRunSpans", Some(KeyScope::Read)),
    ("getWorkflow", Some(KeyScope::Read)),
    ("listBudgets", Some(KeyScope::Read)),
    ("listCosts", Some(KeyScope::Read)),
    ("listKeys", Some(KeyScope::Admin)),
    ("listRuns", Some(KeyScope::Read)),
    ("listSteps", Some(KeyScope::Read)),
    ("listVersions", Some(KeyScope::Read)),
    ("listWorkers", Some(KeyScope::Admin)),
    ("listWorkflows", Some(KeyScope::Read)),
    ("publishWorkflow", Some(KeyScope::Write)),
    ("revokeKey", Some(KeyScope::Admin)),
    ("setBudgets", Some(KeyScope::Admin)),
    ("startRun", Some(KeyScope::Run)),
    ("unarchiveWorkflow", Some(KeyScope::Write)),
];

fn operation<'d>(document: &'d Value, method: &str, template: &str) -> &'d Value {
    &document["paths"][template][method.to_lowercase()]
}

/// The scope that the document names for an operation.
fn documented(operation: &Value) -> Option<KeyScope> {
    let scopes = operation["security"][0]["key"].as_array().expect("an operation takes a key");
    let scope = scopes.first().map(|scope| scope.as_str().unwrap().parse().unwrap());
    let description = operation["description"].as_str().unwrap();
    let sentence = scope.map_or_else(
        || "Takes any key".to_owned(),
        |scope: KeyScope| format!("Needs the scope `{scope}`."),
    );
    assert!(scopes.len() <= 1 && description.contains(&sentence), "{operation}");
    scope
}

#[test]
fn every_operation_says_which_scope_it_needs() {
    let document: Value = serde_json::from_str(&skein_api::openapi_json()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let paths = paths.filter(|(path, _)| path.starts_with("/v1/"));
    let all = paths.flat_map(|(_, methods)| methods.as_object().unwrap().values());
    let found: BTreeMap<_, _> =
        all.map(|it| (it["operationId"].as_str().unwrap(), documented(it))).collect();
    assert_eq!(found, BTreeMap::from(NEEDED));
}

#[tokio::test]
async fn a_key_may_do_what_its_scopes_say_and_a_refusal_says_nothing_else() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let workflow = ada.publish("secret-plans").await;
    let run = ada.run(&workflow).await["id"].as_str().unwrap().to_owned();
    // Whoever follows it is to get to its end.
    ada.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
    let document: Value = serde_json::from_str(&skein_api::openapi_json()).unwrap();
    let mut keys = vec![(None, server.scoped(&ada.identity, KeyScopes::NONE).await)];
    for scope in KeyScope::ALL.iter().copied() {
        let scopes = KeyScopes::NONE.with(scope);
        keys.push((Some(scope), server.scoped(&ada.identity, scopes).await));
    }
    for (scope, client) in &keys {
        // Revoked by the last of them.
        let target = server.user(&ada.identity).await.key_id();
        let there = operations(&document, &workflow, &run, &target);
        let nowhere = "0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f";
        let not_there = operations(&document, "nothing", nowhere, "key_0123456789abcdef");
        for ((method, template, path), (_, _, missing)) in there.iter().zip(&not_there) {
            let needed = documented(operation(&document, method, template));
            let may = needed.is_none() || *scope == needed || *scope == Some(KeyScope::Admin);
            let answer = call(client, method, path).await;
            if may {
                let is_refused = matches!(answer.status, 401 | 403 | 404);
                assert!(!is_refused, "{scope:?} {method} {template}: {}", answer.text);
                continue;
            }
            let needed = needed.unwrap();
            let problem = answer.problem(403, "forbidden");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(&format!("`{needed}`")), "{detail}");
            let challenge = format!("error=\"insufficient_scope\", scope=\"{needed}\"");
            assert!(answer.header("www-authenticate").ends_with(&challenge));
            // It is the same answer where there is nothing.
            let elsewhere = call(client, method, missing).await.problem(403, "forbidden");
            assert_eq!(elsewhere["detail"], detail, "{method} {template}");
        }
    }
}

#[tokio::test]
async fn a_refused_request_changes_nothing() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let workflow = ada.publish("adder").await;
    let run = ada.run(&workflow).await["id"].as_str().unwrap().to_owned();
    let before = (ada.get(&format!("/v1/runs/{run}")).await.expect(200), ada.rows().await);
    let reader = server.scoped(&ada.identity, KeyScopes::NONE.with(KeyScope::Read)).await;
    let target = server.user(&ada.identity).await;
    for (method, path) in [
        ("POST", "/v1/workflows".to_owned()),
        ("POST", "/v1/workflows?draft=true".to_owned()),
        ("POST", format!("/v1/workflows/{workflow}/archive")),
        ("POST", format!("/v1/workflows/{workflow}/unarchive")),
        ("POST", format!("/v1/workflows/{workflow}/runs")),
        ("POST", format!("/v1/runs/{run}/cancel")),
        ("POST", "/v1/keys".to_owned()),
        ("DELETE", format!("/v1/keys/{}", target.key_id())),
    ] {
        call(&reader, method, &path).await.problem(403, "forbidden");
    }
    assert_eq!(before, (ada.get(&format!("/v1/runs/{run}")).await.expect(200), ada.rows().await));
    target.get("/v1/key").await.expect(200);
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_needs_no_scope_to_be_told() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let nothing = server.scoped(&ada.identity, KeyScopes::NONE).await;
    let answer = nothing.delete("/v1/runs").await;
    answer.problem(405, "method-not-allowed");
    assert!(answer.header("allow").contains("GET"));
    // HEAD is a way to read.
    let head = crate::harness::Client::send(nothing.request("HEAD", "/v1/runs")).await;
    assert_eq!(head.status, 403);
}
