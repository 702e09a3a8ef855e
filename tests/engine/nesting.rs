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

fn deep(levels: usize, inner: &Value) -> Value {
    (0..levels).fold(inner.clone(), |inner, _| json!([inner]))
}

/// A run of nodes in a row, each of which yields its value.
async fn of_chain(fleet: &Fleet, values: &[Value], input: &Value) -> RunDetail {
    let yields = |(at, value): (usize, &Value)| {
        json!({ "id": format!("n{at}"), "type": "transform", "params": { "value": value } })
    };
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
