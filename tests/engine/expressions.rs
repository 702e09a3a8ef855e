//! Expressions that take their time: elsewhere than where other runs wait, within a node's timeout, until a cancel.

use std::sync::Arc;

use serde_json::{Value, json};
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::state::{NodeState, RunState};
use skein_tests::sqlite;

use crate::fleet::Fleet;

/// Works through its text a few thousand times over, which takes all the fuel that a string has.
const ALL_FUEL: &str = "{% for t in [input.text] %}{% for i in range(9999) %}{% if t[:200] | lower == 'x' %}{% endif %}\
                        {% endfor %}{% endfor %}";

fn transform(id: &str, value: &Value) -> Value {
    json!({ "id": id, "type": "transform", "params": { "value": value } })
}

fn input() -> Value {
    json!({ "text": "x".repeat(200_000), "upper": "X".repeat(200_000) })
}

/// In an inlined node, in a condition, and in the output of the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_long_to_compute_yields_the_same_wherever_it_stands() {
    sqlite::with_store(async |store| {
        let fleet = Fleet::start(store, Arc::new(InProcess::new()), 1);
        let much = "{{ input.text | upper | length }}";
        let document = json!({
            "name": "w",
            "nodes": [
                transform("a", &json!(1)), transform("b", &json!(much)), transform("c", &json!(much)),
                transform("d", &json!("{{ nodes.b + nodes.c }}")), transform("e", &json!(2)),
            ],
            "edges": [
                { "from": "a", "to": "b" }, { "from": "a", "to": "c" },
                { "from": "b", "to": "d" }, { "from": "c", "to": "d" },
                { "from": "d", "to": "e", "when": "{{ input.text | upper != input.upper }}" },
            ],
            "output": ["{{ nodes.d }}", much, "{{ nodes.e is defined }}"],
        });
        let published = fleet.publish(&document).await;
        let run = fleet.start_run(&published, &input()).await;
        let detail = fleet.ended(run).await;
        let output = json!([400_000, 200_000, false]).to_string();
        assert_eq!(detail.output, Some(output), "{}", fleet.story(run).await);
        assert!(detail.nodes.iter().all(|row| row.attempts <= 1));
        let skipped = detail.nodes.iter().filter(|row| row.state == NodeState::Skipped).count();
        assert_eq!(skipped, 1);
        fleet.stop().await;
    })
    .await;
}

/// Hundreds of strings that use all their fuel, each of which succeeds or fails by itself in less time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn computing_the_parameters_counts_against_the_timeout_of_their_node() {
    sqlite::with_store(async |store| {
        let fleet = Fleet::start(store, Arc::new(InProcess::new()), 1);
        let strings = vec!["{{ input.text | upper == input.upper }}"; 250];
        let mut node = transform("a", &json!(strings));
        node["timeout"] = json!("1ms");
        let published = fleet.publish(&json!({ "name": "w", "nodes": [node] })).await;
        let run = fleet.start_run(&published, &input()).await;
        let detail = fleet.ended(run).await;
        let error = detail.summary.error.as_ref().expect("it failed");
        assert_eq!((&*error.code, &*error.message), ("timeout", "took longer than 1ms"));
        fleet.stop().await;
    })
    .await;
}

/// What uses up its fuel fails for that reason, and the run with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expression_that_uses_up_its_fuel_fails_its_run() {
    sqlite::with_store(async |store| {
        let fleet = Fleet::start(store, Arc::new(InProcess::new()), 1);
        let whens = json!({
            "name": "w",
            "nodes": [transform("a", &json!(1)), transform("b", &json!(2))],
            "edges": [{ "from": "a", "to": "b", "when": "{{ range(9999) | map('string') | map('upper') | map('lower') | list | sort | sort | sort | length > 1 }}" }],
        });
        let params = json!({ "name": "v", "nodes": [transform("a", &json!(ALL_FUEL))] });
        let output = json!({ "name": "o", "nodes": [transform("a", &json!(1))], "output": ALL_FUEL });
        for document in [whens, params, output] {
            let published = fleet.publish(&document).await;
            let run = fleet.start_run(&published, &input()).await;
            let detail = fleet.ended(run).await;
            assert_eq!(detail.summary.state, RunState::Failed, "{}", fleet.story(run).await);
            let error = detail.summary.error.as_ref().expect("it failed");
            assert_eq!(&*error.code, "expression");
            assert!(error.message.contains("takes too long"), "{}", error.message);
        }
        fleet.stop().await;
    })
    .await;
}
