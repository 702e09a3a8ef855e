//! How deep outputs nest: no run grows one until it is too deep for a stack or a store, and what was stored is read again.

use std::sync::Arc;

use serde_json::{Value, json};
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::limits::JSON_DEPTH_MAX;
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::Store;
use skein_shared::store::runs::RunDetail;
use skein_tests::{postgres, sqlite};

use crate::fleet::{Fleet, node};
use crate::server::Server;

fn deep(levels: usize, inner: &Value) -> Value {
    (0..levels).fold(inner.clone(), |inner, _| json!([inner]))
}

/// A run of nodes in a row, each of which yields its value.
async fn of_chain(fleet: &Fleet, values: &[Value], input: &Value) -> RunDetail {
    let yields = |(at, value): (usize, &Value)| json!({ "id": format!("n{at}"), "type": "transform", "params": { "value": value } });
    let nodes: Vec<_> = values.iter().enumerate().map(yields).collect();
    let edges: Vec<_> = (1..values.len())
        .map(|at| json!({ "from": format!("n{}", at - 1), "to": format!("n{at}") }))
        .collect();
    let document = json!({ "name": "w", "nodes": nodes, "edges": edges });
    let published = fleet.publish(&document).await;
    let run = fleet.start_run(&published, input).await;
    fleet.ended(run).await
}

/// Each node puts 55 levels around what the one before has yielded.
async fn a_chain_that_nests(store: Arc<dyn Store>) {
    let fleet = Fleet::start(store, Arc::new(InProcess::new()), 1);
    let around = |at: usize| deep(55, &json!(format!("{{{{ nodes.n{at} }}}}")));
    let values: Vec<_> = [deep(55, &json!(1))].into_iter().chain((0..99).map(around)).collect();
    let detail = of_chain(&fleet, &values, &json!({})).await;
    assert_eq!(detail.summary.state, RunState::Failed);
    let error = detail.summary.error.as_ref().expect("it says why");
    assert_eq!((&*error.code, error.node.as_deref()), ("expression", Some("n1")));
    assert!(error.message.contains("nests deeper than 64 levels"), "{error:?}");
    assert_eq!(node(&detail, "n0").expect("it has ended").state, NodeState::Succeeded);

    let input = json!({ "a": deep(JSON_DEPTH_MAX - 1, &json!("x")) });
    let all: Vec<_> = ["{{ input }}", "{{ nodes.n0 }}", "{{ nodes.n1.a }}"].map(Value::from).into();
    let detail = of_chain(&fleet, &all, &input).await;
    let output = json!({ "n2": input["a"] }).to_string();
    assert_eq!(detail.output, Some(output), "{:?}", detail.summary.error);
    let as_deep = of_chain(&fleet, &all[..2], &input).await;
    assert_eq!(as_deep.output, Some(json!({ "n1": input }).to_string()));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_nests_ever_deeper_fails_and_hurts_nobody_on_sqlite() {
    sqlite::with_store(a_chain_that_nests).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_nests_ever_deeper_fails_and_hurts_nobody_on_postgresql() {
    postgres::with_store(a_chain_that_nests).await;
}

/// What a release before this one has stored, perhaps, or what somebody has altered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_or_an_input_that_cannot_be_read_again_is_an_error_and_not_null() {
    postgres::with_database(async |database| {
        let fleet = Fleet::start(database.store(), Arc::new(InProcess::new()), 1);
        let server = Server::start().await;
        let looking = |id: &str| {
            let headers = json!({ "x-a": "{{ nodes.a is none }}" });
            let params = json!({ "url": server.answer("looking"), "headers": headers });
            json!({ "id": id, "type": "http", "params": params, "on_error": "continue", "default": 0 })
        };
        let document = json!({
            "name": "w",
            "nodes": [
                { "id": "a", "type": "transform", "params": { "value": 1 } },
                { "id": "gate", "type": "http", "params": { "url": server.gate("gate") } },
                looking("b"),
                looking("c"),
            ],
            "edges": [
                { "from": "a", "to": "b" }, { "from": "gate", "to": "b" },
                { "from": "a", "to": "c" }, { "from": "gate", "to": "c" },
            ],
        });
        let published = fleet.publish(&document).await;
        let (output, input) =
            (fleet.start_run(&published, &json!({})).await, fleet.start_run(&published, &json!({})).await);
        for run in [output, input] {
            let is_stored = |detail: &RunDetail| {
                node(detail, "a").is_some_and(|row| row.state == NodeState::Succeeded)
            };
            fleet.until(run, is_stored).await;
        }
        server.hit_by(2, "gate").await;
        let pool = database.raw().await.unwrap();
        let unreadable = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for (run, alter) in [
            (output, "UPDATE node_runs SET output = $2::json WHERE run_id = $1 AND node_key = 'a'"),
            (input, "UPDATE runs SET input = $2::json WHERE id = $1"),
        ] {
            let altered = sqlx::query(alter).bind(run.0).bind(&unreadable).execute(&pool).await;
            assert_eq!(altered.unwrap().rows_affected(), 1);
        }
        server.open_gate();
        for (run, what) in [(output, "the output of node a"), (input, "the run's input")] {
            let detail = fleet.ended(run).await;
            let error = detail.summary.error.as_ref().expect("it has failed");
            assert_eq!(&*error.code, "unreadable");
            assert!(error.message.contains(what), "{error:?}");
        }
        // One of the two was at hand where the input was known, and only the other one read it anew.
        assert!(server.hits("looking").len() <= 1);
        pool.close().await;
        fleet.stop().await;
    })
    .await;
}
