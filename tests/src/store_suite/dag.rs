//! Random graphs, and what must come of them: a reference to hold a storm's outcome against.

use std::collections::BTreeMap;

use skein_shared::domain::advance::{Command, Event, Wave, advance};
use skein_shared::domain::graph::{Graph, NodeIx};
use skein_shared::domain::ids::{ActivationKey, END_NODE};
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::state::NodeState;
use skein_shared::store::engine::{Commit, JoinTokens, NewRow};

use super::world::{event, kept, queued, span, spec};

/// A graph whose every decision follows from its seed: which edges there are, which tokens are live,
/// which node fails.
#[derive(Debug)]
pub struct Dag {
    graph: Graph,
    seed: u64,
    /// The node that brings the run down, if there is one and it runs.
    pub fails: Option<NodeIx>,
}

impl Dag {
    /// A graph of four to nine nodes. One in eight has a node that fails.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let nodes = rng.usize(4..=9);
        let mut edges = Vec::new();
        for to in 1..nodes {
            for from in 0..to {
                // Sometimes twice: parallel edges deliver a token each.
                for _ in 0..2 {
                    if rng.f32() < 0.2 {
                        edges.push((from, to));
                    }
                }
            }
        }
        let fails = (rng.u8(..8) == 0).then(|| rng.usize(..nodes));
        Self { graph: Graph::new(nodes, edges), seed, fails }
    }

    /// The nodes that start the run.
    #[must_use]
    pub fn entries(&self) -> Vec<String> {
        self.graph.entries().map(|node| self.name(node)).collect()
    }

    fn name(&self, node: NodeIx) -> String {
        if node == self.graph.end() { END_NODE.to_owned() } else { format!("n{node}") }
    }

    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> NodeIx {
        if name == END_NODE { self.graph.end() } else { name[1..].parse().unwrap() }
    }

    /// The tokens on the edges of a node that ran. Three of four are live.
    fn tokens(&self, node: NodeIx) -> Vec<bool> {
        let mut rng = fastrand::Rng::with_seed(self.seed ^ (node as u64 + 1).wrapping_mul(0x9e37));
        self.graph.successors(node).iter().map(|_| rng.u8(..4) > 0).collect()
    }

    /// How each node ends when nothing interferes.
    #[must_use]
    pub fn expected(&self) -> BTreeMap<String, NodeState> {
        let end = self.graph.end();
        let mut live = vec![0_u32; end + 1];
        let mut states = BTreeMap::new();
        // Edges lead from lower to higher indexes, so this is a topological order.
        for node in 0..end {
            let runs = self.graph.fan_in(node) == 0 || live[node] > 0;
            if runs {
                for (to, is_live) in self.graph.successors(node).iter().zip(self.tokens(node)) {
                    live[*to] += u32::from(is_live);
                }
            }
            let state = if runs { NodeState::Succeeded } else { NodeState::Skipped };
            states.insert(self.name(node), state);
        }
        states
    }

    /// Adds to a commit what follows from the end (or the skip) of its node. `keep` decides what the
    /// committer goes on with itself.
    pub fn follow(
        &self,
        mut commit: Commit,
        skipped: bool,
        mut keep: impl FnMut() -> bool,
    ) -> Commit {
        let node = self.node(&commit.key.node);
        let mut wave = Wave::default();
        let live = self.tokens(node);
        let what =
            if skipped { Event::Skipped { node } } else { Event::Ended { node, live: &live } };
        for command in advance(&self.graph, &mut wave, what) {
            let row = match command {
                Command::Skip(node) => {
                    let name = self.name(node);
                    commit.events.push(event(&name, "node.skipped"));
                    NewRow { state: AttemptOutcome::Skipped.into(), ..queued(&name) }
                }
                Command::Activate(node) if keep() => kept(&self.name(node)),
                Command::Activate(node) => queued(&self.name(node)),
                Command::End if keep() => kept(END_NODE),
                Command::End => queued(END_NODE),
            };
            commit.rows.push(row);
        }
        for (join, tally) in wave.partial() {
            commit.tokens.push(JoinTokens {
                spec: spec(&self.name(join)),
                fan_in: self.graph.fan_in(join),
                arrived: tally.arrived,
                live: tally.live,
                always: join == self.graph.end(),
                keep: keep().then(span),
            });
        }
        commit
    }

    /// Whether this activation is the run's end.
    #[must_use]
    pub fn is_end(&self, key: &ActivationKey) -> bool {
        &*key.node == END_NODE
    }
}
