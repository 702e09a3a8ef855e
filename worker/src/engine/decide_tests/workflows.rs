//! Random workflows for the decider: numbers that add up along the graph, and requests with scripted results.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// What a node counts for in the sums of others.
pub(super) fn term(output: Option<&Value>) -> i64 {
    match output {
        None => 0,
        Some(Value::Object(_)) => 7,
        Some(Value::Null) => 9,
        Some(number) => number.as_i64().unwrap(),
    }
}

/// [`term`] in the language of expressions.
pub(super) fn term_source(node: &str) -> String {
    format!(
        "(0 if nodes.{node} is undefined else (7 if nodes.{node} is mapping else (9 if nodes.{node} is none else nodes.{node})))"
    )
}

/// The nodes that the sum of a node, or of the document's output, names.
pub(super) fn reads(source: &Value) -> impl Iterator<Item = String> + '_ {
    let text = source.pointer("/params/value").or_else(|| source.pointer("/output/sum"));
    let text = text.and_then(Value::as_str).unwrap_or_default();
    text.split("(0 if nodes.").skip(1).map(|rest| rest.split(' ').next().unwrap().to_owned())
}

/// A random workflow. Edges lead from lower to higher nodes.
pub(super) fn document(nodes: usize, random: &mut fastrand::Rng) -> Value {
    let mut ancestors: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes];
    let mut edges: Vec<(usize, usize)> = Vec::new();
    // Some graphs are wide, some are long.
    let reach = random.usize(1..=nodes.max(1));
    for to in 1..nodes {
        for _ in 0..random.usize(0..=3) {
            edges.push((random.usize(to.saturating_sub(reach)..to), to));
        }
    }
    for &(from, to) in &edges {
        let more = ancestors[from].clone();
        ancestors[to].extend(more);
        ancestors[to].insert(from);
    }
    let mut written: Vec<Value> = (0..nodes).map(|at| node(at, &ancestors[at], random)).collect();
    let mut lines: Vec<Value> = Vec::new();
    for (from, to) in edges {
        let line = edge(&written[from], from, to, random);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    for (at, node) in written.iter_mut().enumerate() {
        let handles = |line: &Value| line["from"] == format!("n{at}") && line.get("on").is_some();
        if node["on_error"] == "branch" && !lines.iter().any(handles) {
            node.as_object_mut().unwrap().remove("on_error");
        }
    }
    let mut document = json!({ "name": "w", "nodes": written, "edges": lines });
    if random.bool() {
        let named: BTreeSet<_> = (0..2).map(|_| random.usize(..nodes)).collect();
        let sum = named.iter().map(|node| format!(" + {}", term_source(&format!("n{node}"))));
        document["output"] = json!({ "sum": format!("{{{{ 0{} }}}}", sum.collect::<String>()) });
    }
    document
}

fn node(at: usize, ancestors: &BTreeSet<usize>, random: &mut fastrand::Rng) -> Value {
    let id = format!("n{at}");
    let named: Vec<_> = ancestors.iter().filter(|_| random.u8(..3) == 0).take(4).collect();
    let sum = named.iter().map(|node| format!(" + {}", term_source(&format!("n{node}"))));
    let sum = format!("{{{{ 1{} }}}}", sum.collect::<String>());
    let mut node = match random.u8(..20) {
        0..10 => json!({ "id": id, "type": "transform", "params": { "value": sum } }),
        10 => {
            json!({ "id": id, "type": "transform", "params": { "value": "{{ input.nothing }}" } })
        }
        11 => json!({ "id": id, "type": "delay", "params": { "for": "1ms" } }),
        12 => json!({ "id": id, "type": "log", "params": { "message": sum } }),
        13 => json!({ "id": id, "type": "condition", "params": { "if": random.bool() } }),
        _ => {
            json!({ "id": id, "type": "http", "params": { "url": "http://h/" }, "retry": { "max_attempts": 2 } })
        }
    };
    let fails = node["type"] == "http" || node["params"]["value"] == "{{ input.nothing }}";
    match random.u8(..8) {
        0 if fails => {}
        1..4 if fails => node["on_error"] = json!("branch"),
        _ if fails => {
            node["on_error"] = json!("continue");
            node["default"] = json!(5);
        }
        _ => {}
    }
    node
}

fn edge(from_node: &Value, from: usize, to: usize, random: &mut fastrand::Rng) -> Value {
    let mut edge = json!({ "from": format!("n{from}"), "to": format!("n{to}") });
    if from_node["on_error"] == "branch" && random.bool() {
        edge["on"] = json!("error");
    } else if from_node["type"] == "condition" {
        edge["branch"] = json!(random.bool().to_string());
    }
    if random.u8(..4) == 0 {
        edge["when"] = json!(random.bool());
    }
    edge
}
