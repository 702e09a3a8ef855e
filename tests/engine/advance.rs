//! The pure core against the reference: the same ends, whatever the order and the division into commits.

use std::collections::BTreeMap;

use proptest::prelude::*;
use skein_shared::domain::advance::{Command, Event, Tally, Wave, advance};
use skein_shared::domain::graph::{Graph, NodeIx};
use skein_tests::reference::{End, Ends, Step};

/// A graph, and which of its edges go on. Edges lead from lower to higher indexes; `indexes` says where the
/// plan has them, so that the plan's order shows nothing.
#[derive(Debug, Clone)]
struct Dag {
    indexes: Vec<NodeIx>,
    edges: Vec<(usize, usize)>,
    live: Vec<bool>,
}

impl Dag {
    fn nodes(&self) -> usize {
        self.indexes.len()
    }

    fn graph(&self) -> Graph {
        let edges = self.edges.iter().map(|(from, to)| (self.indexes[*from], self.indexes[*to]));
        Graph::new(self.nodes(), edges)
    }

    /// Whether each edge out of the node goes on.
    fn live_of(&self, node: usize) -> Vec<bool> {
        let edges = self.edges.iter().zip(&self.live);
        edges.filter(|((from, _), _)| *from == node).map(|(_, live)| *live).collect()
    }

    /// The tokens of the node at an index of the plan; a sink has one for `__end__`.
    fn tokens_of(&self, index: NodeIx) -> Vec<bool> {
        let node = self.indexes.iter().position(|at| *at == index).unwrap();
        let live = self.live_of(node);
        if live.is_empty() { vec![true] } else { live }
    }

    /// By index in the plan, whether the reference runs it.
    fn expected(&self) -> BTreeMap<NodeIx, bool> {
        let step = |node, _: &_| Step::Ended { output: (), live: self.live_of(node) };
        let ends = Ends::interpret(self.nodes(), &self.edges, step);
        let runs = ends.0.iter().map(|end| *end == End::Ended(()));
        self.indexes.iter().copied().zip(runs).collect()
    }
}

fn dags() -> impl Strategy<Value = Dag> {
    (1_usize..=40).prop_flat_map(|nodes| {
        let edge = (0..nodes, 0..nodes, prop::bool::weighted(0.6));
        let indexes = Just((0..nodes).collect::<Vec<_>>()).prop_shuffle();
        (indexes, prop::collection::vec(edge, 0..=nodes * 2)).prop_map(|(indexes, drawn)| {
            let drawn: Vec<_> = drawn
                .into_iter()
                .filter(|(a, b, _)| a != b)
                .map(|(a, b, live)| ((a.min(b), a.max(b)), live))
                .collect();
            let (edges, live) = drawn.into_iter().unzip();
            Dag { indexes, edges, live }
        })
    })
}

/// What happened to every node, and the tokens that were seen on the way.
#[derive(Default)]
struct Seen {
    ran: BTreeMap<NodeIx, bool>,
    ends: usize,
    tokens: u32,
}

impl Seen {
    fn decide(&mut self, node: NodeIx, runs: bool) {
        assert_eq!(self.ends, 0, "nothing is decided after the end");
        assert_eq!(self.ran.insert(node, runs), None, "node {node} is decided once");
    }

    /// Takes note of commands, and returns what is to be run.
    fn obey(&mut self, graph: &Graph, commands: Vec<Command>) -> Vec<NodeIx> {
        let mut runnable = Vec::new();
        for command in commands {
            let node = match command {
                Command::Activate(node) => {
                    self.decide(node, true);
                    runnable.push(node);
                    node
                }
                Command::Skip(node) => {
                    self.decide(node, false);
                    node
                }
                Command::End => {
                    self.ends += 1;
                    graph.end()
                }
            };
            self.tokens += graph.fan_in(node);
        }
        runnable
    }
}

fn all_tokens(graph: &Graph) -> u32 {
    (0..=graph.end()).map(|node| graph.fan_in(node)).sum()
}

/// Counts tokens as the stores do: a row is blocked until its last token, whichever commit brings it.
#[derive(Default)]
struct Joins {
    waiting: BTreeMap<NodeIx, (u32, u32)>,
    /// Dead paths that are to be passed on.
    skipping: BTreeMap<NodeIx, bool>,
}

/// What a task of a worker is about to do.
#[derive(Clone, Copy)]
enum Work {
    Run(NodeIx),
    Skip(NodeIx),
}

impl Joins {
    /// Delivers the tokens of a batch of commits at once, and returns what that makes of the joins.
    fn deliver(&mut self, graph: &Graph, seen: &mut Seen, waves: &[Wave]) -> Vec<Work> {
        let mut sums: BTreeMap<NodeIx, Tally> = BTreeMap::new();
        for (node, tally) in waves.iter().flat_map(Wave::partial) {
            let sum = sums.entry(node).or_default();
            sum.arrived += tally.arrived;
            sum.live += tally.live;
        }
        let mut work = Vec::new();
        for (node, sum) in sums {
            seen.tokens += sum.arrived;
            let (pending, live) = self.waiting.entry(node).or_insert((graph.fan_in(node), 0));
            *pending = pending.checked_sub(sum.arrived).expect("no token comes twice");
            *live += sum.live;
            if *pending > 0 {
                continue;
            }
            if node == graph.end() {
                seen.ends += 1;
            } else if *live > 0 {
                seen.decide(node, true);
                work.push(Work::Run(node));
            } else {
                seen.decide(node, false);
                self.skipping.insert(node, true);
                // The message of a dead path may be doubled like any other.
                work.extend([Work::Skip(node), Work::Skip(node)]);
            }
        }
        work
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn one_commit_for_everything_ends_as_the_reference_does(dag in dags(), seed: u64) {
        let graph = dag.graph();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut seen = Seen::default();
        let mut wave = Wave::default();
        let mut runnable: Vec<_> = graph.entries().collect();
        for entry in &runnable {
            seen.decide(*entry, true);
        }
        while !runnable.is_empty() {
            let node = runnable.swap_remove(random.usize(..runnable.len()));
            let event = Event::Ended { node, live: &dag.tokens_of(node) };
            let commands = advance(&graph, &mut wave, event);
            prop_assert!(!commands.contains(&Command::End) || runnable.is_empty());
            let more = seen.obey(&graph, commands);
            runnable.extend(more);
        }
        prop_assert_eq!(seen.ends, 1);
        prop_assert_eq!(wave.partial().count(), 0);
        prop_assert_eq!(seen.tokens, all_tokens(&graph));
        prop_assert_eq!(seen.ran, dag.expected());
    }

    #[test]
    fn any_division_into_commits_ends_as_the_reference_does(dag in dags(), seed: u64) {
        let graph = dag.graph();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut seen = Seen::default();
        let mut joins = Joins::default();
        let mut open: Vec<_> = graph.entries().map(Work::Run).collect();
        for entry in graph.entries() {
            seen.decide(entry, true);
        }
        while !open.is_empty() {
            let mut waves = Vec::new();
            for _ in 0..random.usize(1..=4).min(open.len()) {
                let mut wave = Wave::default();
                let event = open.swap_remove(random.usize(..open.len()));
                let mut runnable = match event {
                    Work::Run(node) => vec![node],
                    Work::Skip(node) => {
                        if std::mem::take(joins.skipping.get_mut(&node).unwrap()) {
                            let commands = advance(&graph, &mut wave, Event::Skipped { node });
                            prop_assert!(seen.obey(&graph, commands).is_empty());
                        }
                        vec![]
                    }
                };
                // Some of what a commit activates is inlined into it; the rest is left to others.
                while let Some(node) = runnable.pop() {
                    let event = Event::Ended { node, live: &dag.tokens_of(node) };
                    let commands = advance(&graph, &mut wave, event);
                    for activated in seen.obey(&graph, commands) {
                        if random.bool() {
                            runnable.push(activated);
                        } else {
                            open.push(Work::Run(activated));
                        }
                    }
                }
                waves.push(wave);
            }
            open.extend(joins.deliver(&graph, &mut seen, &waves));
        }
        prop_assert_eq!(seen.ends, 1);
        prop_assert_eq!(seen.tokens, all_tokens(&graph));
        prop_assert_eq!(seen.ran, dag.expected());
    }
}
