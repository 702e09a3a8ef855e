//! Decisions over random workflows, applied to a store in memory that counts like the real ones: after
//! every commit, whatever can go on is a row that somebody can take up, and nothing is there twice.

mod edges;
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
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::expression::Allowance;
use skein_shared::store::DatabaseClock;
use skein_shared::store::engine::{Commit, CommitFrom, JoinTokens, NewRowState, RunChange};
use skein_shared::telemetry::new_span_id;
use skein_shared::workflow::compile::compile;
use skein_shared::workflow::plan::{EdgeOn, OnError, PlanEdge};
use tokio_util::sync::CancellationToken;

use self::workflows::{document, reads, term, term_source};
use super::attempt::{Attempt, Execution, inline};
use super::decide::{
    Attempted, Concluded, Decision, Leave, Timing, after_attempt, after_end, after_skip,
};
use super::judge;
use super::prepared::Prepared;
use super::run_context::RunContext;
use crate::egress::{Egress, EgressConfig};
use crate::evaluate::Evaluator;
use crate::nodes::{Done, Executors, NodeError, Outcome, sample_context};
use crate::steps::ModelCaller;

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
    prepared: Prepared,
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
    kept: Vec<(NodeIx, RunContext)>,
}

impl World {
    fn new(document: &Value, seed: u64) -> Self {
        let prepared = Prepared::new(compile(document).unwrap());
        let rows = prepared.plan.entries().map(|entry| (entry, At::Queued)).collect();
        Self {
            prepared,
            executors: Executors::new(
                &Egress::new(&EgressConfig::default()).unwrap(),
                &ModelCaller::default(),
                &Evaluator::new(),
            ),
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
        self.prepared.plan.graph.end()
    }

    fn place(&self, key: &str) -> NodeIx {
        self.prepared.plan.find(key).unwrap_or_else(|| self.end())
    }

    fn key(&self, node: NodeIx) -> ActivationKey {
        let name = self.prepared.plan.nodes.get(node).map_or(END_NODE, |node| &*node.key);
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
            let (node, mut run) = match open.get(choice) {
                Some(node) => (*node, self.new_context()),
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
                    let decision = after_skip(&mut run, &self.executors, leave, node);
                    self.apply(decision, run);
                    continue;
                }
                _ => self.claim(node),
            }
            self.step(node, run);
        }
    }

    fn new_context(&self) -> RunContext {
        let clock = DatabaseClock::showing(self.run.created_at);
        let live = crate::live::LivePublisher::unheard();
        RunContext::new(Arc::clone(&self.run), self.prepared.clone(), clock, None, live)
    }

    fn claim(&mut self, node: NodeIx) {
        let claim = self.claims.entry(node).or_default();
        *claim += 1;
        self.rows.insert(node, At::Running { claim: *claim });
    }

    fn step(&mut self, node: NodeIx, mut run: RunContext) {
        let At::Running { claim } = self.rows[&node] else { panic!("{node} is not running") };
        self.read(node, &mut run);
        if node == self.end() {
            let output = at_once(judge::output(&run, &Evaluator::new(), &never()));
            let decision = after_end(&mut run, &self.executors, self.key(node), claim, output);
            self.apply(decision, run);
            return;
        }
        let attempt = Attempt {
            number: claim,
            failures: self.failures.get(&node).copied().unwrap_or(0),
            waited_until: self.waited.contains(&node).then(chrono::Utc::now),
            waited_for: None,
            ..Attempt::first(node, self.key(node), new_span_id())
        };
        let execution = match self.prepared.plan.nodes[node].kind {
            NodeKind::Http => self.scripted(node),
            _ => inline(&run, &attempt, &self.executors).unwrap(),
        };
        let now = SystemTime::now();
        let timing = Timing { start: now, end: now };
        let leave = Leave { retain: self.random.bool(), unit: 0.5 };
        let (evaluator, cancelled) = (Evaluator::new(), never());
        let concluded =
            judge::conclude(&mut run, &attempt, execution, leave, &evaluator, &cancelled);
        let concluded = at_once(concluded);
        let attempted = Attempted { attempt: &attempt, timing, concluded };
        let decision = after_attempt(&mut run, &self.executors, leave, claim, attempted);
        assert!(leave.retain || !keeps(&decision.commit).any(|key| key != END_NODE));
        self.apply(decision, run);
    }

    /// As the engine reads: what the plan names, as far as it is not known.
    fn read(&mut self, node: NodeIx, run: &mut RunContext) {
        for named in self.prepared.reads.of_node(node).outputs.clone() {
            if run.knows_output(named) {
                continue;
            }
            let at = self.rows.get(&named);
            assert!(at.is_some_and(|at| at.is_ended()), "{named} is read before it ends: {at:?}");
            match self.outputs.get(&named) {
                Some(output) => run.learn_output(named, Arc::new(output.clone())),
                None => run.learn_absent(named),
            }
        }
        assert!(run.knows_names(node), "{node} looks at what was not read");
    }

    /// What a node with effects comes to.
    fn scripted(&mut self, node: NodeIx) -> Execution {
        let answer = match self.random.u8(..20) {
            0 => Err(NodeError::fail("refused", "refused")),
            1..4 => Err(NodeError::retry("busy", "busy")),
            4 if self.waited.insert(node) => {
                Ok(Outcome::Wait(WaitFor::Time(Duration::from_millis(1))))
            }
            _ => Ok(Outcome::Done(Done::with_output(json!(self.random.u8(..100))))),
        };
        Execution { input: Some("{}".to_owned()), answer: Some(answer) }
    }

    fn apply(&mut self, decision: Decision, run: RunContext) {
        let Decision { commit, .. } = decision;
        let node = self.place(&commit.key.node);
        match commit.from {
            CommitFrom::Running { claim } => assert_eq!(self.rows[&node], At::Running { claim }),
            CommitFrom::Skipping { .. } => assert_eq!(self.rows[&node], At::Skipping),
        }
        self.flip(node, &commit.outcome);
        let mut kept = self.insert(&commit);
        for tokens in &commit.tokens {
            kept.extend(self.deliver(tokens));
        }
        assert!(kept.len() <= 1, "a worker goes on with one: {kept:?}");
        match &commit.run {
            RunChange::None => {}
            RunChange::Succeed { output, .. } => {
                self.state = RunAt::Succeeded(serde_json::from_str(output).unwrap());
            }
            RunChange::Fail(_) => {
                assert_eq!(keeps(&commit).count(), 0, "nothing is started in a failing run");
                self.state = RunAt::Failing;
            }
        }
        self.check();
        if let Some(node) = kept.pop() {
            let run = if self.random.u8(..5) == 0 { self.new_context() } else { run };
            self.kept.push((node, run));
        }
    }

    fn flip(&mut self, node: NodeIx, outcome: &AttemptOutcome) {
        let at = match outcome {
            AttemptOutcome::Succeeded { output, .. } => {
                self.learn(node, Some(output));
                At::Succeeded
            }
            AttemptOutcome::Failed { output, .. } => {
                self.learn(node, output.as_deref());
                At::Failed
            }
            AttemptOutcome::Retry { .. } => {
                *self.failures.entry(node).or_default() += 1;
                At::Parked
            }
            AttemptOutcome::Waiting { .. } => {
                self.waited.insert(node);
                At::Parked
            }
            AttemptOutcome::Skipped => At::Skipped,
            AttemptOutcome::Deferred { .. } | AttemptOutcome::Cancelled => {
                panic!("{outcome:?} was not asked for")
            }
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
                NewRowState::Outcome(outcome) => match &**outcome {
                    AttemptOutcome::Waiting { .. } => {
                        self.waited.insert(node);
                        At::Parked
                    }
                    AttemptOutcome::Succeeded { output, .. } => {
                        self.learn(node, Some(output));
                        At::Succeeded
                    }
                    AttemptOutcome::Failed { output, .. } => {
                        self.learn(node, output.as_deref());
                        At::Failed
                    }
                    AttemptOutcome::Skipped => At::Skipped,
                    other => panic!("{other:?} strands a row that is new"),
                },
            };
            let is_spanned = !matches!(at, At::Queued | At::Skipped);
            assert_eq!(row.span.is_some(), is_spanned, "{row:?}");
            assert_eq!(self.rows.insert(node, at), None, "a row for {node} is there already");
        }
        kept
    }

    fn deliver(&mut self, tokens: &JoinTokens) -> Option<NodeIx> {
        let node = self.place(&tokens.spec.node);
        assert_eq!(tokens.fan_in, self.prepared.plan.graph.fan_in(node));
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
        let graph = &self.prepared.plan.graph;
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
        let node = &self.prepared.plan.nodes[from];
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
        let plan = &self.prepared.plan;
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
