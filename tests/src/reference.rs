//! What a run must come to, worked out the slow way: each node looks back at its edges, in the order
//! of the graph. Knows nothing of commits, tokens or waves, so that it can be held against those who do.

use std::collections::BTreeMap;

/// What became of a node that was run.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<T> {
    /// It ended, and the run goes on.
    Ended {
        /// What it yields.
        output: T,
        /// Whether the path goes on along each of its edges, in the order in which those are given.
        live: Vec<bool>,
    },
    /// It brings the run down.
    Fatal,
}

/// How a node ends up.
#[derive(Debug, Clone, PartialEq)]
pub enum End<T> {
    /// It was run, with this output.
    Ended(T),
    /// No path led to it.
    Skipped,
    /// It was run, and brought the run down.
    Fatal,
    /// It comes after one that brought the run down, and must not have been run.
    Unreached,
}

/// How every node ends up, by index.
#[derive(Debug, Clone, PartialEq)]
pub struct Ends<T>(pub Vec<End<T>>);

impl<T: Clone> Ends<T> {
    /// Runs `nodes` nodes. Each edge leads from a lower to a higher index. `step` runs a node, given
    /// what was yielded before it by index.
    pub fn interpret(
        nodes: usize,
        edges: &[(usize, usize)],
        mut step: impl FnMut(usize, &BTreeMap<usize, T>) -> Step<T>,
    ) -> Self {
        let mut ends: Vec<End<T>> = Vec::with_capacity(nodes);
        let mut lives = vec![Vec::new(); nodes];
        let mut outputs = BTreeMap::new();
        for node in 0..nodes {
            let mut paths = Vec::new();
            let mut nth_of = vec![0; nodes];
            for &(from, to) in edges {
                assert!(from < to, "in the order of the graph");
                if to == node {
                    paths.push((from, nth_of[from]));
                }
                nth_of[from] += 1;
            }
            let is_lost = |end: &End<T>| matches!(end, End::Fatal | End::Unreached);
            let end = if paths.iter().any(|(from, _)| is_lost(&ends[*from])) {
                End::Unreached
            } else if !paths.is_empty()
                && !paths.iter().any(|(from, nth)| lives[*from].get(*nth) == Some(&true))
            {
                End::Skipped
            } else {
                match step(node, &outputs) {
                    Step::Fatal => End::Fatal,
                    Step::Ended { output, live } => {
                        assert_eq!(live.len(), nth_of[node], "one for each edge");
                        outputs.insert(node, output.clone());
                        lives[node] = live;
                        End::Ended(output)
                    }
                }
            };
            ends.push(end);
        }
        Self(ends)
    }

    /// Whether the run succeeds: nothing brought it down.
    #[must_use]
    pub fn succeeds(&self) -> bool {
        !self.0.iter().any(|end| matches!(end, End::Fatal))
    }
}
