//! What is sent in confidence stays out of everything that a run leaves behind.

use std::sync::Arc;

use serde_json::json;
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::state::{NodeState, RunState};
use skein_tests::sqlite;

use crate::fleet::{Fleet, node};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_repeats_what_it_was_sent_puts_no_secret_into_a_run() {
    sqlite::with_store(async |store| {
        let fleet = Fleet::start(store, Arc::new(InProcess::new()), 1);
        let server = Server::start().await;
        let call = |id: &str, status: u16, params: serde_json::Value, rest: serde_json::Value| {
            let mut node = json!({ "id": id, "type": "http", "params": params });
            node["params"]["url"] = server.echo(status).into();
            node["params"]["method"] = "POST".into();
            node.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            node
        };
        let secret = "{{ input.a }}-{{ input.b }}";
        let document = json!({
            "name": "w",
            "nodes": [
                call("form", 401, json!({ "form": { "client_secret": secret } }), json!({ "on_error": "branch" })),
                call("query", 503, json!({ "query": { "api_key": secret } }), json!({
                    "on_error": "branch", "retry": { "max_attempts": 2, "backoff": "1ms" },
                })),
                call("accepted", 403, json!({ "body": { "password": secret }, "accept_status": [403] }), json!({})),
                call("header", 200, json!({ "headers": { "authorization": format!("Bearer {secret}") } }), json!({})),
                { "id": "told", "type": "log", "params": {
                    "message": "{{ nodes.form.error.message }}", "data": "{{ [nodes.query, nodes.accepted, nodes.header] }}",
                } },
                call("last", 400, json!({ "headers": { "cookie": format!("session={secret}") } }), json!({})),
            ],
            "edges": [
                { "from": "form", "to": "query", "on": "error" },
                { "from": "query", "to": "accepted", "on": "error" },
                { "from": "accepted", "to": "header" },
                { "from": "header", "to": "told" },
                { "from": "told", "to": "last" },
            ],
        });
        let published = fleet.publish(&document).await;
        let run = fleet.start_run(&published, &json!({ "a": "HUSH&hush", "b": "quiet/17" })).await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.summary.state, RunState::Failed);
        assert_eq!(node(&detail, "told").unwrap().state, NodeState::Succeeded);
        let log = fleet.log(run).await;
        // Of the run's input nobody but its sender knows what is secret.
        let everything = format!("{:?} {:?} {log:?}", detail.nodes, detail.summary.error);
        for form in ["HUSH", "hush", "quiet"] {
            assert!(!everything.contains(form), "{everything:#}");
        }
        assert!(everything.matches("REDACTED").count() > 10, "{everything}");
        fleet.stop().await;
    })
    .await;
}
