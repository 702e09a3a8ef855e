//! The shape of a workflow, with everything else left out: what [`super::advance`] works on.

/// A node's index in a plan. [`Graph::end`] is the index of the virtual `__end__` node.
pub type NodeIx = usize;

/// A directed acyclic graph in which every static sink has an edge into `__end__`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    successors: Vec<Vec<NodeIx>>,
    fan_in: Vec<u32>,
}

impl Graph {
    /// Builds the graph of `nodes` nodes from its edges, in the order in which they are written, and
    /// joins the static sinks in `__end__`. Parallel edges count one by one.
    ///
    /// The caller has checked that the edges name existing nodes and form no cycle.
    #[must_use]
    pub fn new(nodes: usize, edges: impl IntoIterator<Item = (NodeIx, NodeIx)>) -> Self {
        let mut successors = vec![Vec::new(); nodes];
        let mut fan_in = vec![0; nodes + 1];
        for (from, to) in edges {
            successors[from].push(to);
            fan_in[to] += 1;
        }
        for out in successors.iter_mut().filter(|out| out.is_empty()) {
            out.push(nodes);
            fan_in[nodes] += 1;
        }
        successors.push(Vec::new());
        Self { successors, fan_in }
    }

    /// The index of `__end__`.
    #[must_use]
    pub fn end(&self) -> NodeIx {
        self.fan_in.len() - 1
    }

    /// Where the edges of `node` lead, in the order in which they are written. A static sink has one,
    /// into `__end__`.
    #[must_use]
    pub fn successors(&self, node: NodeIx) -> &[NodeIx] {
        &self.successors[node]
    }

    /// How many tokens `node` waits for.
    #[must_use]
    pub fn fan_in(&self, node: NodeIx) -> u32 {
        self.fan_in[node]
    }

    /// The nodes that start a run.
    pub fn entries(&self) -> impl Iterator<Item = NodeIx> + '_ {
        (0..self.end()).filter(|node| self.fan_in[*node] == 0)
    }
}
