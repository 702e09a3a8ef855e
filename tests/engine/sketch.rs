//! Random workflows whose outcome can be worked out: numbers that add up along the graph.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use skein_tests::reference::{End, Ends, Step};

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// A transform that yields its sum.
    Sum,
    /// A condition that asks whether its sum is even.
    Even,
    /// A delay of so many milliseconds.
    Delay(u8),
    /// A line in the log.
    Log,
    /// A transform whose expression fails.
    Broken,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq)]
enum OnError {
    Fail,
    Continue(i64),
    Branch,
}

/// A sum over the outputs of other nodes.
#[derive(Debug, Clone, PartialEq)]
struct Sum {
    constant: i64,
    nodes: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    sum: Sum,
    on_error: OnError,
}

/// What must hold for an edge.
#[derive(Debug, Clone, PartialEq)]
enum When {
    Odd(Sum),
    /// An expression that fails.
    Broken,
}

#[derive(Debug, Clone, PartialEq)]
struct Edge {
    from: usize,
    to: usize,
    on_error: bool,
    branch: Option<bool>,
    when: Option<When>,
}

/// A random workflow. Edges lead from lower to higher nodes.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    output: Option<Sum>,
    /// The order in which the document has the nodes.
    order: Vec<usize>,
}

/// What a node that ended left behind, and whether it had failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Left {
    pub(crate) failed: bool,
    pub(crate) output: Value,
}

impl Sum {
    fn random(known: &BTreeSet<usize>, random: &mut fastrand::Rng) -> Self {
        let nodes = known.iter().copied().filter(|_| random.u8(..3) == 0).take(4).collect();
        Self { constant: random.i64(0..100), nodes }
    }

    fn source(&self) -> String {
        let terms = self.nodes.iter().map(|node| {
            format!(
                " + (0 if nodes.n{node} is undefined else (7 if nodes.n{node} is mapping else (9 if nodes.n{node} is none else nodes.n{node})))"
            )
        });
        format!("({}{})", self.constant, terms.collect::<String>())
    }

    fn value(&self, outputs: &BTreeMap<usize, Left>) -> i64 {
        let term = |node: &usize| match outputs.get(node).map(|left| &left.output) {
            None => 0,
            Some(Value::Object(_)) => 7,
            Some(Value::Null) => 9,
            Some(number) => number.as_i64().unwrap(),
        };
        self.constant + self.nodes.iter().map(term).sum::<i64>()
    }
}

impl Sketch {
    /// A workflow of so many nodes.
    pub(crate) fn random(nodes: usize, random: &mut fastrand::Rng) -> Self {
        let mut known: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes];
        let mut pairs = Vec::new();
        for to in 1..nodes {
            for _ in 0..random.usize(0..=3) {
                let from = random.usize(..to);
                let more: Vec<_> = known[from].iter().copied().chain([from]).collect();
                known[to].extend(more);
                pairs.push((from, to));
            }
        }
        let mut made: Vec<_> = (0..nodes).map(|at| Node::random(&known[at], random)).collect();
        let mut edges: Vec<Edge> = Vec::new();
        for (from, to) in pairs {
            let edge = Edge::random((from, to), &made[from], &known[from], random);
            if !edges.contains(&edge) {
                edges.push(edge);
            }
        }
        for (at, node) in made.iter_mut().enumerate() {
            let is_handled = edges.iter().any(|edge| edge.from == at && edge.on_error);
            if node.on_error == OnError::Branch && !is_handled {
                node.on_error = OnError::Continue(3);
            }
        }
        let all = (0..nodes).collect();
        let output = random.bool().then(|| Sum::random(&all, random));
        let mut order: Vec<_> = (0..nodes).collect();
        random.shuffle(&mut order);
        Self { nodes: made, edges, output, order }
    }

    /// The workflow as people write it.
    pub(crate) fn document(&self, name: &str) -> Value {
        let nodes: Vec<_> = self.order.iter().map(|at| self.nodes[*at].document(*at)).collect();
        let edges: Vec<_> = self.edges.iter().map(Edge::document).collect();
        let mut document = json!({ "name": name, "nodes": nodes, "edges": edges });
        if let Some(sum) = &self.output {
            document["output"] = json!({ "sum": format!("{{{{ {} }}}}", sum.source()) });
        }
        document
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What becomes of every node.
    pub(crate) fn ends(&self) -> Ends<Left> {
        let edges: Vec<_> = self.edges.iter().map(|edge| (edge.from, edge.to)).collect();
        Ends::interpret(self.len(), &edges, |node, outputs| self.step(node, outputs))
    }

    fn step(&self, at: usize, outputs: &BTreeMap<usize, Left>) -> Step<Left> {
        let node = &self.nodes[at];
        let sum = node.sum.value(outputs);
        let ended = |output| Left { failed: false, output };
        let (left, branch, on_error) = match (node.kind, node.on_error) {
            (Kind::Sum, _) => (ended(json!(sum)), None, false),
            (Kind::Even, _) => {
                let even = sum % 2 == 0;
                (ended(json!({ "branch": even.to_string() })), Some(even), false)
            }
            (Kind::Delay(_), _) => (ended(json!({ "waited_until": "" })), None, false),
            (Kind::Log, _) => (ended(Value::Null), None, false),
            (Kind::Broken, OnError::Fail) => return Step::Fatal,
            (Kind::Broken, OnError::Continue(default)) => {
                (Left { failed: true, output: json!(default) }, None, false)
            }
            (Kind::Broken, OnError::Branch) => {
                let output = json!({ "error": { "code": "expression", "message": "" } });
                (Left { failed: true, output }, None, true)
            }
        };
        let mut known = outputs.clone();
        known.insert(at, left.clone());
        let mut live = Vec::new();
        for edge in self.edges.iter().filter(|edge| edge.from == at) {
            let is_chosen =
                edge.on_error == on_error && (edge.branch.is_none() || edge.branch == branch);
            live.push(match &edge.when {
                _ if !is_chosen => false,
                None => true,
                Some(When::Odd(sum)) => sum.value(&known) % 2 == 1,
                Some(When::Broken) => return Step::Fatal,
            });
        }
        Step::Ended { output: left, live }
    }

    /// What a run that succeeds yields.
    pub(crate) fn output(&self, ends: &Ends<Left>) -> Value {
        let outputs = |(node, end): (usize, &End<Left>)| match end {
            End::Ended(left) => Some((node, left.clone())),
            _ => None,
        };
        let outputs: BTreeMap<_, _> = ends.0.iter().enumerate().filter_map(outputs).collect();
        match &self.output {
            Some(sum) => json!({ "sum": sum.value(&outputs) }),
            None => {
                let is_sink = |node: usize| !self.edges.iter().any(|edge| edge.from == node);
                let sinks = outputs.into_iter().filter(|(node, _)| is_sink(*node));
                let sinks = sinks.map(|(node, left)| (format!("n{node}"), left.output));
                Value::Object(sinks.collect::<Map<_, _>>())
            }
        }
    }
}

impl Node {
    fn random(known: &BTreeSet<usize>, random: &mut fastrand::Rng) -> Self {
        let kind = match random.u8(..20) {
            0..11 => Kind::Sum,
            11..14 => Kind::Even,
            14..16 => Kind::Delay(random.u8(1..6)),
            16 => Kind::Log,
            _ => Kind::Broken,
        };
        let on_error = match random.u8(..8) {
            0 => OnError::Fail,
            1..4 => OnError::Continue(random.i64(0..100)),
            _ => OnError::Branch,
        };
        let on_error = if kind == Kind::Broken { on_error } else { OnError::Fail };
        Self { kind, sum: Sum::random(known, random), on_error }
    }

    fn document(&self, at: usize) -> Value {
        let sum = self.sum.source();
        let mut node = match self.kind {
            Kind::Sum => {
                json!({ "type": "transform", "params": { "value": format!("{{{{ {sum} }}}}") } })
            }
            Kind::Even => {
                json!({ "type": "condition", "params": { "if": format!("{sum} % 2 == 0") } })
            }
            Kind::Delay(millis) => {
                json!({ "type": "delay", "params": { "for": format!("{millis}ms") } })
            }
            Kind::Log => {
                json!({ "type": "log", "params": { "message": format!("{{{{ {sum} }}}}") } })
            }
            Kind::Broken => {
                json!({ "type": "transform", "params": { "value": "{{ input.nothing }}" } })
            }
        };
        node["id"] = json!(format!("n{at}"));
        match self.on_error {
            OnError::Fail => {}
            OnError::Continue(default) => {
                node["on_error"] = json!("continue");
                node["default"] = json!(default);
            }
            OnError::Branch => node["on_error"] = json!("branch"),
        }
        node
    }
}

impl Edge {
    fn random(
        (from, to): (usize, usize),
        node: &Node,
        known: &BTreeSet<usize>,
        random: &mut fastrand::Rng,
    ) -> Self {
        let on_error = node.on_error == OnError::Branch && random.u8(..3) > 0;
        let branch = (node.kind == Kind::Even && !on_error).then(|| random.bool());
        let mut known = known.clone();
        known.insert(from);
        let when = match random.u8(..40) {
            0 => Some(When::Broken),
            1..8 => Some(When::Odd(Sum::random(&known, random))),
            _ => None,
        };
        Self { from, to, on_error, branch, when }
    }

    fn document(&self) -> Value {
        let mut edge = json!({ "from": format!("n{}", self.from), "to": format!("n{}", self.to) });
        if self.on_error {
            edge["on"] = json!("error");
        }
        if let Some(branch) = self.branch {
            edge["branch"] = json!(branch.to_string());
        }
        match &self.when {
            None => {}
            Some(When::Odd(sum)) => edge["when"] = json!(format!("{} % 2 == 1", sum.source())),
            Some(When::Broken) => edge["when"] = json!("input.nothing > 1"),
        }
        edge
    }
}
