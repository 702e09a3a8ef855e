//! What comes of valid documents.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::compile;
use super::diagnostic_tests::valid;
use crate::document;
use crate::domain::kind::{Effect, NodeKind, OnUncertain};
use crate::expression::{Allowance, Scope};
use crate::workflow::plan::{EdgeOn, OnError};

fn scope(input: Value, nodes: &[(&str, Value)]) -> Scope {
    let output = |(key, value): &(&str, Value)| (Arc::from(*key), Arc::new(value.clone()));
    Scope {
        input: Arc::new(input),
        run: Arc::new(json!({"id": "r1"})),
        nodes: nodes.iter().map(output).collect(),
        args: None,
    }
}

#[test]
fn a_plan_has_all_that_the_document_says() {
    let plan = compile(&valid()).unwrap();
    assert_eq!((&*plan.name, plan.nodes.len(), plan.edge_count), ("digest", 7, 5));
    assert!(plan.input_schema.is_some());
    let fetch = &plan.nodes[plan.find("fetch").unwrap()];
    assert_eq!((fetch.kind, fetch.effect), (NodeKind::Http, Effect::Idempotent));
    assert_eq!(fetch.timeout, Duration::from_secs(20));
    assert_eq!((fetch.retry.max_attempts, fetch.retry.max_backoff), (3, Duration::from_secs(30)));
    assert_eq!(fetch.retry.max_retry_after, Duration::from_secs(600));
    assert_eq!(fetch.on_error, OnError::Branch);
    let ons: Vec<EdgeOn> = fetch.edges.iter().map(|edge| edge.on).collect();
    assert_eq!(ons, [EdgeOn::Success, EdgeOn::Error]);
    let ask = &plan.nodes[plan.find("ask").unwrap()];
    assert_eq!((ask.effect, ask.timeout), (Effect::Keyed, Duration::from_secs(600)));
    assert_eq!(plan.nodes[plan.find("titles").unwrap()].timeout, Duration::from_secs(60));
    let post = &plan.nodes[plan.find("post").unwrap()];
    assert_eq!((post.effect, post.on_uncertain), (Effect::Unsafe, OnUncertain::Retry));
    let on_error = |node| &plan.nodes[plan.find(node).unwrap()].on_error;
    assert_eq!(*on_error("tell"), OnError::Continue { output: Value::Null, branch: None });
    let (output, branch) = (json!({ "branch": "few" }), Some("few".into()));
    assert_eq!(*on_error("choose"), OnError::Continue { output, branch });
    let branches: Vec<&str> =
        plan.nodes[2].edges.iter().map(|edge| edge.branch.as_deref().unwrap()).collect();
    assert_eq!(branches, ["many", "few"]);
}

#[test]
fn the_graph_and_the_edges_agree() {
    let plan = compile(&valid()).unwrap();
    for (at, node) in plan.nodes.iter().enumerate() {
        for (nth, edge) in node.edges.iter().enumerate() {
            assert_eq!(plan.graph.successors(at)[nth], edge.to);
            assert!(plan.nodes[edge.to].parents.contains(&at));
        }
        assert_eq!(plan.index[&node.key], at);
    }
    assert_eq!(plan.entries().collect::<Vec<_>>(), [0, 6]);
    assert_eq!(plan.sinks().collect::<Vec<_>>(), [3, 4, 5, 6]);
    for sink in plan.sinks() {
        assert_eq!(plan.graph.successors(sink), [plan.graph.end()]);
    }
    assert_eq!(plan.graph.fan_in(plan.graph.end()), 4);
}

#[test]
fn parameters_render_with_their_defaults() {
    let plan = compile(&valid()).unwrap();
    let scope = scope(json!({"url": "http://x"}), &[("titles", json!([1, 2, 3, 4]))]);
    let render = |key: &str| {
        plan.nodes[plan.find(key).unwrap()].params.render(&scope, &Allowance::whole()).unwrap()
    };
    assert_eq!(
        render("fetch"),
        json!({"method": "GET", "url": "http://x", "headers": {}, "query": {},
               "idempotency_key": false, "accept_status": []})
    );
    assert_eq!(render("post")["url"], json!("https://example.com/r1"));
    assert_eq!(render("choose"), json!({"branch": "many"}));
    assert_eq!(render("rest"), json!({"for": "5s"}));
    assert_eq!(
        plan.output.as_ref().unwrap().render(&scope, &Allowance::whole()),
        Ok(json!([1, 2, 3, 4]))
    );
}

#[test]
fn edges_render_their_conditions() {
    let plan = compile(&valid()).unwrap();
    let when = plan.nodes[0].edges[0].when.as_ref().unwrap();
    assert_eq!(
        when.holds(&scope(json!({}), &[("fetch", json!({"status": 200}))]), &Allowance::whole()),
        Ok(true)
    );
    assert_eq!(
        when.holds(&scope(json!({}), &[("fetch", json!({"status": 404}))]), &Allowance::whole()),
        Ok(false)
    );
    assert!(when.holds(&scope(json!({}), &[("fetch", json!({}))]), &Allowance::whole()).is_err());
}

#[test]
fn conditions_choose_by_if_by_branch_or_by_default() {
    let choose = |params: Value, n: i64| {
        let document =
            json!({"name": "c", "nodes": [{"id": "c", "type": "condition", "params": params}]});
        let plan = compile(&document).unwrap();
        plan.nodes[0].params.render(&scope(json!({ "n": n }), &[]), &Allowance::whole()).unwrap()["branch"].clone()
    };
    assert_eq!(choose(json!({"if": "input.n > 1"}), 2), json!("true"));
    assert_eq!(choose(json!({"if": "{{ input.n > 1 }}"}), 1), json!("false"));
    assert_eq!(choose(json!({"if": true}), 1), json!("true"));
    let branches =
        json!([{"name": "a", "when": "input.n == 1"}, {"name": "b", "when": "input.n < 3"}]);
    assert_eq!(choose(json!({ "branches": branches }), 1), json!("a"));
    assert_eq!(choose(json!({ "branches": branches }), 2), json!("b"));
    assert_eq!(choose(json!({ "branches": branches }), 3), Value::Null);
    assert_eq!(choose(json!({"branches": branches, "default": "z"}), 3), json!("z"));
}

#[test]
fn the_documented_example_compiles_from_yaml() {
    let text = r#"
name: digest
description: What the feed says today
input: { type: object, required: [url], properties: { url: { type: string } } }     # JSON Schema
nodes:
  - id: fetch
    type: http
    params: { method: GET, url: "{{ input.url }}" }
    retry: { max_attempts: 3, backoff: 1s, max_backoff: 30s }
    timeout: 20s
    on_error: fail                      # fail | continue (with `default`) | branch (edges with `on: error`)
  - id: titles
    type: transform
    params: { value: "{{ nodes.fetch.body.items | map(attribute='title') | list }}" }
edges:
  - { from: fetch, to: titles, when: "{{ nodes.fetch.status == 200 }}" }
output: "{{ nodes.titles }}"
"#;
    let plan = compile(&document::parse(text, None).unwrap()).unwrap();
    let body = json!({"body": {"items": [{"title": "a"}, {"title": "b"}]}});
    let scope = scope(json!({}), &[("fetch", body)]);
    assert_eq!(
        plan.nodes[1].params.render(&scope, &Allowance::whole()),
        Ok(json!({"value": ["a", "b"]}))
    );
}

#[test]
fn an_error_edge_survives_yaml() {
    let text = "
name: e
nodes:
  - { id: a, type: http, params: { url: http://x }, on_error: branch }
  - { id: b, type: log, params: { message: \"{{ nodes.a.error.code }}\" } }
edges: [{ from: a, to: b, on: error }]
";
    let plan = compile(&document::parse(text, None).unwrap()).unwrap();
    assert_eq!(plan.nodes[0].edges[0].on, EdgeOn::Error);
}

#[test]
fn a_workflow_of_the_largest_size_compiles_quickly() {
    let node = |n: usize| {
        let value = match n {
            0 => json!("{{ input.x }}"),
            n => {
                json!({"before": format!("{{{{ nodes.n{} }}}}", n - 1), "first": "{{ nodes.n0 }}"})
            }
        };
        json!({"id": format!("n{n}"), "type": "transform", "params": {"value": value}})
    };
    let edges: Vec<Value> = (0..500_usize)
        .flat_map(|from| (1..=4).map(move |step| (from, from + step)))
        .filter(|(_, to)| *to < 500)
        .map(|(from, to)| json!({"from": format!("n{from}"), "to": format!("n{to}"), "when": format!("nodes.n{from} != 7")}))
        .collect();
    let document =
        json!({"name": "big", "nodes": (0..500).map(node).collect::<Vec<_>>(), "edges": edges});
    let started = Instant::now();
    let plan = compile(&document).unwrap();
    assert_eq!((plan.nodes.len(), plan.edge_count), (500, 1990));
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
}
