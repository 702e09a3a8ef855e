//! Decisions over random workflows, applied to a store in memory that counts like the real ones: after
//! every commit, whatever can go on is a row that somebody can take up, and nothing is there twice.

mod outright;
mod workflows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::{ActivationKey, END_NODE};
use skein_shared::domain::kind::NodeKind;
use skein_shared::expression::Allowance;
use skein_shared::store::DatabaseClock;
use skein_shared::store::engine::{Commit, CommitFrom, Ending, JoinTokens, NewRowState, RunEffect};
use skein_shared::telemetry::new_span_id;
use skein_shared::workflow::compile::compile;
use skein_shared::workflow::plan::{EdgeOn, OnError, PlanEdge};
use tokio_util::sync::CancellationToken;

use self::workflows::{document, reads, term, term_source};
use super::attempt::{Attempt, AttemptEnd, Attempted, inline};
use super::chain::Chain;
use super::decide::{Decision, Leave, Timing, after_attempt, after_end, after_skip};
use super::evaluate::Evaluator;
use super::judge;
use super::prepared::{Prepared, SharedPlan};
use crate::egress::{Egress, EgressConfig};
use crate::nodes::{Done, Executors, NodeError, sample_context};

/// Where a row is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Blocked { pending: u32, live: u32 },
    Queued,
    Running { claim: u32 },
    Parked,
    Skipping,
    Succeeded,
    Failed,
    Skipped,
}

impl At {
    fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped)
    }
}

/// What the run came to.
#[derive(Debug, Clone, PartialEq)]
enum RunAt {
    Open,
    Succeeded(Value),
    Failing,
}

/// What a small evaluation comes to: it never waits.
fn at_once<T>(evaluation: impl Future<Output = T>) -> T {
    evaluation.now_or_never().expect("it is small")
}

fn never() -> CancellationToken {
    CancellationToken::new()
}

/// A run, and the store that it is in.
struct World {
    plan: SharedPlan,
    executors: Executors,
    random: fastrand::Rng,
    run: Arc<skein_shared::domain::run::RunHeader>,
    rows: BTreeMap<NodeIx, At>,
    claims: BTreeMap<NodeIx, u32>,
    failures: BTreeMap<NodeIx, u32>,
    waited: BTreeSet<NodeIx>,
    outputs: BTreeMap<NodeIx, Value>,
    state: RunAt,
    /// Runs that a worker has in hand, with what it knows.
    kept: Vec<(NodeIx, Chain)>,
}

impl World {
    fn new(document: &Value, seed: u64) -> Self {
        let plan = Arc::new(Prepared::new(compile(document).unwrap()));
        let rows = plan.plan.entries().map(|entry| (entry, At::Queued)).collect();
        Self {
            plan,
            executors: Executors::new(&Egress::new(&EgressConfig::default()).unwrap()),
            random: fastrand::Rng::with_seed(seed),
            run: sample_context().run,
            rows,
            claims: BTreeMap::new(),
            failures: BTreeMap::new(),
            waited: BTreeSet::new(),
            outputs: BTreeMap::new(),
            state: RunAt::Open,
            kept: Vec::new(),
        }
    }

    fn end(&self) -> NodeIx {
        self.plan.plan.graph.end()
    }

    fn place(&self, key: &str) -> NodeIx {
        self.plan.plan.find(key).unwrap_or_else(|| self.end())
    }

    fn key(&self, node: NodeIx) -> ActivationKey {
        let name = self.plan.plan.nodes.get(node).map_or(END_NODE, |node| &*node.key);
        ActivationKey::root(self.run.id, name)
    }

    /// Lets workers take up whatever can be taken up, in random order, until the run has ended.
    fn drive(&mut self) {
        while self.state == RunAt::Open {
            let open: Vec<_> = self
                .rows
                .iter()
                .filter(|(_, at)| matches!(at, At::Queued | At::Parked | At::Skipping))
                .map(|(node, _)| *node)
                .collect();
            let choices = open.len() + self.kept.len();
            assert!(choices > 0, "the run is stranded: {:?}", self.rows);
            let choice = self.random.usize(..choices);
            let (node, mut chain) = match open.get(choice) {
                Some(node) => (*node, self.new_chain()),
                None => self.kept.swap_remove(choice - open.len()),
            };
            match self.rows[&node] {
                // The worker died: its row is taken back.
                At::Running { .. } if self.random.u8(..10) == 0 => {
                    self.rows.insert(node, At::Queued);
                    continue;
                }
                At::Running { .. } => {}
                At::Skipping => {
                    let leave = Leave { retain: false, unit: 0.0 };
                    let decision = after_skip(&mut chain, &self.executors, leave, node);
                    self.apply(decision, chain);
                    continue;
                }
                _ => self.claim(node),
            }
            self.step(node, chain);
        }
    }

    fn new_chain(&self) -> Chain {
        let clock = DatabaseClock::showing(self.run.created_at);
        Chain::new(Arc::clone(&self.run), Arc::clone(&self.plan), clock, None)
    }

    fn claim(&mut self, node: NodeIx) {
        let claim = self.claims.entry(node).or_default();
        *claim += 1;
        self.rows.insert(node, At::Running { claim: *claim });
    }

    fn step(&mut self, node: NodeIx, mut chain: Chain) {
        let At::Running { claim } = self.rows[&node] else { panic!("{node} is not running") };
        self.read(node, &mut chain);
        if node == self.end() {
            let output = at_once(judge::output(&chain, &Evaluator::new(), &never()));
            let decision = after_end(&mut chain, &self.executors, self.key(node), claim, output);
            self.apply(decision, chain);
            return;
        }
        let attempt = Attempt {
            node,
            key: self.key(node),
            number: claim,
            failures: self.failures.get(&node).copied().unwrap_or(0),
            strikes: 0,
            crashed: false,
            waited_until: self.waited.contains(&node).then(chrono::Utc::now),
            span: new_span_id(),
        };
        let mut attempted = match self.plan.plan.nodes[node].kind {
            NodeKind::Http => self.scripted(node),
            _ => inline(&chain, &attempt, &self.executors).unwrap(),
        };
        let now = SystemTime::now();
        let timing = Timing { process: None, start: now, end: now };
        let leave = Leave { retain: self.random.bool(), unit: 0.5 };
        let (evaluator, cancelled) = (Evaluator::new(), never());
        let live = judge::live(&mut chain, &attempt, &mut attempted, leave, &evaluator, &cancelled);
        let live = at_once(live);
        let made = (&attempt, claim, attempted, live, timing);
        let decision = after_attempt(&mut chain, &self.executors, leave, made);
        assert!(leave.retain || !keeps(&decision.commit).any(|key| key != END_NODE));
        self.apply(decision, chain);
    }

    /// As the engine reads: what the plan names, as far as it is not known.
    fn read(&mut self, node: NodeIx, chain: &mut Chain) {
        for named in self.plan.reads(node).outputs.clone() {
            if chain.knows_output(named) {
                continue;
            }
            let at = self.rows.get(&named);
            assert!(at.is_some_and(|at| at.is_ended()), "{named} is read before it ends: {at:?}");
            match self.outputs.get(&named) {
                Some(output) => chain.learn_output(named, Arc::new(output.clone())),
                None => chain.learn_absent(named),
            }
        }
        assert!(chain.knows_names(node), "{node} looks at what was not read");
    }

    /// What a node with effects comes to.
    fn scripted(&mut self, node: NodeIx) -> Attempted {
        let end = match self.random.u8(..20) {
            0 => AttemptEnd::Failed(NodeError::fail("refused", "refused")),
            1..4 => AttemptEnd::Failed(NodeError::retry("busy", "busy")),
            4 if self.waited.insert(node) => AttemptEnd::Wait(Duration::from_millis(1)),
            _ => {
                let output = json!(self.random.u8(..100));
                let text = output.to_string();
                AttemptEnd::Done(Done::with_output(output), text)
            }
        };
        Attempted { input: Some("{}".to_owned()), end }
    }

    fn apply(&mut self, decision: Decision, chain: Chain) {
        let Decision { commit, .. } = decision;
        let node = self.place(&commit.key.node);
        match commit.from {
            CommitFrom::Running { claim } => assert_eq!(self.rows[&node], At::Running { claim }),
            CommitFrom::Skipping { .. } => assert_eq!(self.rows[&node], At::Skipping),
        }
        self.flip(node, &commit.ending);
        let mut kept = self.insert(&commit);
        for tokens in &commit.tokens {
            kept.extend(self.deliver(tokens));
        }
        assert!(kept.len() <= 1, "a worker goes on with one: {kept:?}");
        match &commit.run {
            RunEffect::None => {}
            RunEffect::Succeed { output, .. } => {
                self.state = RunAt::Succeeded(serde_json::from_str(output).unwrap());
            }
            RunEffect::Fail(_) => {
                assert_eq!(keeps(&commit).count(), 0, "nothing is started in a failing run");
                self.state = RunAt::Failing;
            }
        }
        self.check();
        if let Some(node) = kept.pop() {
            let chain = if self.random.u8(..5) == 0 { self.new_chain() } else { chain };
            self.kept.push((node, chain));
        }
    }

    fn flip(&mut self, node: NodeIx, ending: &Ending) {
        let at = match ending {
            Ending::Succeeded { output, .. } => {
                self.learn(node, Some(output));
                At::Succeeded
            }
            Ending::Failed { output, .. } => {
                self.learn(node, output.as_deref());
                At::Failed
            }
            Ending::Retry { .. } => {
                *self.failures.entry(node).or_default() += 1;
                At::Parked
            }
            Ending::Waiting { .. } => {
                self.waited.insert(node);
                At::Parked
            }
            Ending::Skipped => At::Skipped,
            Ending::Released { .. } | Ending::Cancelled => panic!("{ending:?} was not asked for"),
        };
        self.rows.insert(node, at);
    }

    fn learn(&mut self, node: NodeIx, output: Option<&str>) {
        if let Some(output) = output {
            self.outputs.insert(node, serde_json::from_str(output).unwrap());
        }
    }

    /// Inserts the rows that a commit alone decides, and returns those that the worker goes on with.
    fn insert(&mut self, commit: &Commit) -> Vec<NodeIx> {
        let mut kept = Vec::new();
        for row in &commit.rows {
            let node = self.place(&row.spec.node);
            let at = match &row.state {
                NewRowState::Queued => At::Queued,
                NewRowState::Claimed => {
                    self.claims.insert(node, 1);
                    kept.push(node);
                    At::Running { claim: 1 }
                }
                NewRowState::Waiting { .. } => {
                    self.waited.insert(node);
                    At::Parked
                }
                NewRowState::Succeeded { output, .. } => {
                    self.learn(node, Some(output));
                    At::Succeeded
                }
                NewRowState::Failed { output, .. } => {
                    self.learn(node, output.as_deref());
                    At::Failed
                }
                NewRowState::Skipped => At::Skipped,
            };
            let is_spanned = !matches!(row.state, NewRowState::Queued | NewRowState::Skipped);
            assert_eq!(row.span.is_some(), is_spanned, "{row:?}");
            assert_eq!(self.rows.insert(node, at), None, "a row for {node} is there already");
        }
        kept
    }

    fn deliver(&mut self, tokens: &JoinTokens) -> Option<NodeIx> {
        let node = self.place(&tokens.spec.node);
        assert_eq!(tokens.fan_in, self.plan.plan.graph.fan_in(node));
        let before = self.rows.get(&node).copied();
        let (pending, live) = match before {
            None => (tokens.fan_in, 0),
            Some(At::Blocked { pending, live }) => (pending, live),
            Some(other) => panic!("a token for {node}, which is {other:?}"),
        };
        let pending = pending.checked_sub(tokens.arrived).expect("no token comes twice");
        let live = live + tokens.live;
        let at = match (pending, live) {
            (1.., _) => At::Blocked { pending, live },
            (0, 0) if !tokens.always => At::Skipping,
            _ if tokens.keep.is_some() => {
                self.claims.insert(node, 1);
                At::Running { claim: 1 }
            }
            _ => At::Queued,
        };
        self.rows.insert(node, at);
        matches!(at, At::Running { .. }).then_some(node)
    }

    /// A node that has all its tokens is a row that can be taken up or has ended, and no other is.
    fn check(&self) {
        let graph = &self.plan.plan.graph;
        let mut tokens = vec![0; graph.end() + 1];
        for (node, _) in self.rows.iter().filter(|(_, at)| at.is_ended()) {
            for to in graph.successors(*node) {
                tokens[*to] += 1;
            }
        }
        if self.state == RunAt::Failing {
            return;
        }
        for (node, tokens) in tokens.into_iter().enumerate() {
            let at = self.rows.get(&node).copied();
            let fan_in = graph.fan_in(node);
            let is_right = match at {
                None if tokens == fan_in => {
                    node == graph.end() && matches!(self.state, RunAt::Succeeded(_))
                }
                None => tokens == 0,
                Some(At::Blocked { pending, .. }) => pending == fan_in - tokens && pending > 0,
                Some(_) => tokens == fan_in,
            };
            assert!(is_right, "node {node} is {at:?} with {tokens} of {fan_in} tokens");
        }
    }

    /// Whether an edge went on, as the document says.
    fn is_live(&self, from: NodeIx, edge: &PlanEdge) -> bool {
        let node = &self.plan.plan.nodes[from];
        let on = match (self.rows[&from], &node.on_error) {
            (At::Skipped, _) => return false,
            (At::Failed, OnError::Branch) => EdgeOn::Error,
            _ => EdgeOn::Success,
        };
        let chosen = self.outputs.get(&from).and_then(|output| output.get("branch"));
        let is_chosen =
            edge.branch.is_none() || edge.branch.as_deref() == chosen.and_then(Value::as_str);
        edge.on == on
            && is_chosen
            && edge
                .when
                .as_ref()
                .is_none_or(|when| when.holds(&Default::default(), &Allowance::whole()).unwrap())
    }

    /// What every node of a run that succeeded must have come to, worked out from its edges.
    fn check_ends(&self, document: &Value, output: &Value) {
        let plan = &self.plan.plan;
        let mut terms = BTreeMap::new();
        for (node, plan_node) in plan.nodes.iter().enumerate() {
            let into = (0..node)
                .flat_map(|from| plan.nodes[from].edges.iter().map(move |edge| (from, edge)));
            let into: Vec<_> = into.filter(|(_, edge)| edge.to == node).collect();
            let runs = into.is_empty() || into.iter().any(|(from, edge)| self.is_live(*from, edge));
            assert_eq!(self.rows[&node] != At::Skipped, runs, "{}", plan_node.key);
            let source = &document["nodes"][node];
            if self.rows[&node] == At::Succeeded && plan_node.kind == NodeKind::Transform {
                let sum: i64 = 1 + reads(source).map(|read| terms[&read]).sum::<i64>();
                assert_eq!(self.outputs[&node], json!(sum), "{}", plan_node.key);
            }
            terms.insert(plan_node.key.to_string(), term(self.outputs.get(&node)));
        }
        if document.get("output").is_some() {
            let sum: i64 = reads(document).map(|read| terms[&read]).sum();
            assert_eq!(output["sum"], json!(sum));
        } else {
            let sinks = plan.sinks().filter_map(|sink| {
                Some((plan.nodes[sink].key.to_string(), self.outputs.get(&sink)?.clone()))
            });
            assert_eq!(*output, Value::Object(sinks.collect()));
        }
    }
}

/// What a commit keeps for its worker.
fn keeps(commit: &Commit) -> impl Iterator<Item = &str> {
    let rows = commit.rows.iter().filter(|row| row.state == NewRowState::Claimed);
    let joins = commit.tokens.iter().filter(|tokens| tokens.keep.is_some());
    // `__end__` fires only when nothing is left, so it is kept always.
    let joins = joins.filter(|tokens| !tokens.always);
    rows.map(|row| &*row.spec.node).chain(joins.map(|tokens| &*tokens.spec.node))
}

fn run(document: &Value, seed: u64) -> World {
    let mut world = World::new(document, seed);
    world.drive();
    if let RunAt::Succeeded(output) = &world.state {
        world.check_ends(document, output);
        assert!(world.rows.values().all(|at| at.is_ended()), "{:?}", world.rows);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_commit_leaves_every_open_branch_to_somebody(nodes in 1_usize..28, seed: u64) {
        let document = document(nodes, &mut fastrand::Rng::with_seed(seed));
        run(&document, seed);
    }
}

#[test]
fn riders_of_a_wide_fan_out_see_what_they_name() {
    let mut nodes = vec![
        json!({ "id": "a", "type": "transform", "params": { "value": "{{ 1 }}" } }),
        json!({ "id": "b", "type": "http", "params": { "url": "http://h/" }, "on_error": "continue", "default": 1 }),
    ];
    let mut edges = vec![json!({ "from": "a", "to": "b" })];
    for at in 0..60 {
        let value = format!("{{{{ 1 + {} }}}}", term_source("a"));
        nodes.push(
            json!({ "id": format!("n{at}"), "type": "transform", "params": { "value": value } }),
        );
        edges.push(json!({ "from": "b", "to": format!("n{at}") }));
    }
    let document = json!({ "name": "w", "nodes": nodes, "edges": edges });
    for seed in 0..5 {
        assert!(matches!(run(&document, seed).state, RunAt::Succeeded(_)));
    }
}

#[test]
fn the_end_that_a_dead_path_brings_about_sees_what_it_names() {
    let document = json!({
        "name": "w",
        "nodes": [
            { "id": "a", "type": "http", "params": { "url": "http://h/" }, "on_error": "continue", "default": 1 },
            { "id": "b", "type": "http", "params": { "url": "http://h/" }, "on_error": "continue", "default": 1 },
            { "id": "j", "type": "transform", "params": { "value": 1 } },
        ],
        "edges": [
            { "from": "a", "to": "j", "when": "false" },
            { "from": "b", "to": "j", "when": "false" },
        ],
        "output": { "sum": format!("{{{{ 0 + {} }}}}", term_source("a")) },
    });
    for seed in 0..20 {
        assert!(matches!(run(&document, seed).state, RunAt::Succeeded(_)));
    }
}
