//! A plan with what the engine derives from it once: which rows to read before a node runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::kind::Effect;
use skein_shared::domain::limits;
use skein_shared::workflow::plan::Plan;

/// A plan ready for this worker. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// The plan.
    pub(crate) plan: Arc<Plan>,
    /// What its nodes look at.
    pub(crate) reads: Arc<ReadSets>,
}

/// What the nodes of a plan look at, by position.
#[derive(Debug)]
pub(crate) struct ReadSets {
    /// The nodes whose outputs a node's own expressions name.
    names: Vec<Vec<NodeIx>>,
    reads: Vec<Reads>,
}

/// What a node and those that may be inlined into its commit read.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reads {
    /// Nodes whose outputs they may read.
    pub(crate) outputs: Vec<NodeIx>,
    /// Nodes that their spans link to.
    pub(crate) spans: Vec<NodeIx>,
}

impl Prepared {
    /// Derives what is needed from a plan.
    pub(crate) fn new(plan: Plan) -> Self {
        let reads = ReadSets::of(&plan);
        Self { plan: Arc::new(plan), reads: Arc::new(reads) }
    }
}

impl ReadSets {
    fn of(plan: &Plan) -> Self {
        let positions = 0..=plan.graph.end();
        let names: Vec<_> = positions.clone().map(|node| names(plan, node)).collect();
        let reads = positions.map(|node| reads(plan, &names, node)).collect();
        Self { names, reads }
    }

    /// The nodes, itself left out, whose outputs the node at this index (or `__end__`) names in its
    /// parameters and in the conditions of its edges.
    pub(crate) fn names(&self, node: NodeIx) -> &[NodeIx] {
        &self.names[node]
    }

    /// What to read before the node at this index runs.
    pub(crate) fn of_node(&self, node: NodeIx) -> &Reads {
        &self.reads[node]
    }
}

fn names(plan: &Plan, position: NodeIx) -> Vec<NodeIx> {
    let Some(node) = plan.nodes.get(position) else {
        return match &plan.output {
            Some(output) => {
                output.references().nodes.iter().filter_map(|key| plan.find(key)).collect()
            }
            None => plan.sinks().collect(),
        };
    };
    let whens = node.edges.iter().filter_map(|edge| edge.when.as_ref());
    let named = node
        .params
        .references()
        .nodes
        .iter()
        .chain(whens.flat_map(|when| &when.references().nodes));
    let named: BTreeSet<_> = named.filter_map(|key| plan.find(key)).collect();
    named.into_iter().filter(|named| *named != position).collect()
}

/// Follows the pure nodes that may be inlined after `node`, as `advance` would if every token were
/// live, and collects what they read. Too much is harmless: it reads rows that nobody needs. So is too
/// little, where dead tokens let others be inlined than foreseen here: those are then left to a claim.
fn reads(plan: &Plan, names: &[Vec<NodeIx>], node: NodeIx) -> Reads {
    let end = plan.graph.end();
    let mut wave = vec![node];
    let mut arrived = vec![0_u32; end + 1];
    let mut outputs = BTreeSet::new();
    let mut next = 0;
    while next < wave.len() && next <= limits::INLINED_NODES_MAX {
        let current = wave[next];
        next += 1;
        outputs.extend(names[current].iter().copied());
        for to in plan.graph.successors(current) {
            arrived[*to] += 1;
            let fires = arrived[*to] == plan.graph.fan_in(*to);
            if fires && plan.nodes.get(*to).is_none_or(|node| node.effect == Effect::Pure) {
                wave.push(*to);
            }
        }
    }
    for inlined in &wave {
        outputs.remove(inlined);
    }
    let spans = plan.nodes.get(node).map(|node| node.parents.clone()).unwrap_or_default();
    Reads { outputs: outputs.into_iter().collect(), spans }
}
