//! A plan with what the engine derives from it once: which rows to read before a node runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::NodeKey;
use skein_shared::domain::kind::Effect;
use skein_shared::domain::limits;
use skein_shared::domain::plan::Plan;

/// A plan ready for this worker.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The plan.
    pub(crate) plan: Plan,
    /// The nodes' keys by place, `__end__` left out.
    reads: Vec<Reads>,
}

/// What a node and those that may ride in its commit look at.
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
        let reads = (0..=plan.graph.end()).map(|node| reads(&plan, node)).collect();
        Self { plan, reads }
    }

    /// What to read before the node at this place runs.
    pub(crate) fn reads(&self, node: NodeIx) -> &Reads {
        &self.reads[node]
    }

    /// The key of the node at this place, which is not `__end__`.
    pub(crate) fn key(&self, node: NodeIx) -> &NodeKey {
        &self.plan.nodes[node].key
    }

    /// The outputs that rendering the run's output looks at.
    fn end_outputs(plan: &Plan) -> BTreeSet<NodeIx> {
        match &plan.output {
            Some(output) => output.nodes().iter().filter_map(|key| plan.find(key)).collect(),
            None => plan.sinks().collect(),
        }
    }
}

/// Follows the pure nodes that may ride along with `node`, as `advance` would if every token were
/// live, and collects what they read. Too much is harmless: it reads rows that nobody looks at.
fn reads(plan: &Plan, node: NodeIx) -> Reads {
    let end = plan.graph.end();
    if node == end {
        return Reads {
            outputs: Prepared::end_outputs(plan).into_iter().collect(),
            spans: Vec::new(),
        };
    }
    let mut wave = vec![node];
    let mut arrived = vec![0_u32; end + 1];
    let mut outputs = BTreeSet::new();
    let mut next = 0;
    while next < wave.len() && wave.len() <= limits::RIDING_NODES_MAX {
        let current = wave[next];
        next += 1;
        let current_node = &plan.nodes[current];
        let whens = current_node.edges.iter().filter_map(|edge| edge.when.as_ref());
        let named = current_node.params.nodes().iter().chain(whens.flat_map(|when| when.nodes()));
        outputs.extend(named.filter_map(|key| plan.find(key)));
        for to in plan.graph.successors(current) {
            arrived[*to] += 1;
            if arrived[*to] < plan.graph.fan_in(*to) {
                continue;
            }
            if *to == end {
                outputs.extend(Prepared::end_outputs(plan));
            } else if plan.nodes[*to].effect == Effect::Pure {
                wave.push(*to);
            }
        }
    }
    for rider in &wave {
        outputs.remove(rider);
    }
    Reads { outputs: outputs.into_iter().collect(), spans: plan.nodes[node].parents.clone() }
}

/// A shared plan.
pub(crate) type SharedPlan = Arc<Prepared>;
