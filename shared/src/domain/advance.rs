//! The pure core: what follows when a node ends.
//!
//! Every edge delivers exactly one token, live or dead. A node fires when it has all its tokens; with
//! no live one among them it is skipped and passes dead tokens on. A [`Wave`] gathers what one commit
//! knows. Where all tokens of a join come from the same commit the join is decided here; where some
//! come from elsewhere, only the store can count them, and the wave says how many it adds.

use std::collections::BTreeMap;

use super::graph::{Graph, NodeIx};

/// The tokens that one commit has gathered for a join.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tokens, live and dead.
    pub arrived: u32,
    /// Live ones among them.
    pub live: u32,
}

/// What one commit knows about the joins that it reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wave {
    tallies: BTreeMap<NodeIx, Tally>,
}

impl Wave {
    /// The joins that this commit adds tokens to without being able to decide them, in plan order.
    pub fn partial(&self) -> impl Iterator<Item = (NodeIx, Tally)> + '_ {
        self.tallies.iter().map(|(node, tally)| (*node, *tally))
    }
}

/// What happened to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// It ended, and its edges, in their order, deliver these tokens (`true`: live).
    Ended {
        /// Which node.
        node: NodeIx,
        /// One entry for each of [`Graph::successors`].
        live: &'a [bool],
    },
    /// It is skipped: all its edges deliver dead tokens.
    Skipped {
        /// Which node.
        node: NodeIx,
    },
}

/// What the commit is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The node has all its tokens and a live one: it is runnable.
    Activate(NodeIx),
    /// The node has all its tokens and no live one: record it as skipped. Its own dead tokens are
    /// already accounted for.
    Skip(NodeIx),
    /// `__end__` has all its tokens, whatever they are: render the output and end the run.
    End,
}

/// Takes one event into the wave and says what follows from it, skips of skips included.
///
/// Total work is linear in the edges that carry a token, and no recursion is involved.
#[must_use]
pub fn advance(graph: &Graph, wave: &mut Wave, event: Event<'_>) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut dead = Vec::new();
    match event {
        Event::Ended { node, live } => {
            let successors = graph.successors(node);
            debug_assert_eq!(successors.len(), live.len(), "one token an edge");
            for (to, live) in successors.iter().zip(live) {
                deliver(graph, wave, *to, *live, &mut commands, &mut dead);
            }
        }
        Event::Skipped { node } => dead.push(node),
    }
    while let Some(node) = dead.pop() {
        for to in graph.successors(node) {
            deliver(graph, wave, *to, false, &mut commands, &mut dead);
        }
    }
    commands
}

fn deliver(
    graph: &Graph,
    wave: &mut Wave,
    to: NodeIx,
    live: bool,
    commands: &mut Vec<Command>,
    dead: &mut Vec<NodeIx>,
) {
    let tally = wave.tallies.entry(to).or_default();
    tally.arrived += 1;
    tally.live += u32::from(live);
    if tally.arrived < graph.fan_in(to) {
        return;
    }
    let fired = tally.live > 0;
    wave.tallies.remove(&to);
    if to == graph.end() {
        commands.push(Command::End);
    } else if fired {
        commands.push(Command::Activate(to));
    } else {
        commands.push(Command::Skip(to));
        dead.push(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended<'a>(node: NodeIx, live: &'a [bool]) -> Event<'a> {
        Event::Ended { node, live }
    }

    #[test]
    fn a_chain_activates_its_next_node_and_then_ends() {
        let graph = Graph::new(2, [(0, 1)]);
        let mut wave = Wave::default();
        assert_eq!(advance(&graph, &mut wave, ended(0, &[true])), [Command::Activate(1)]);
        assert_eq!(advance(&graph, &mut wave, ended(1, &[true])), [Command::End]);
        assert_eq!(wave.partial().count(), 0);
    }

    #[test]
    fn a_join_with_tokens_from_elsewhere_is_left_to_the_store() {
        let graph = Graph::new(3, [(0, 2), (1, 2)]);
        let mut wave = Wave::default();
        assert_eq!(advance(&graph, &mut wave, ended(0, &[true])), []);
        assert_eq!(wave.partial().collect::<Vec<_>>(), [(2, Tally { arrived: 1, live: 1 })]);
        assert_eq!(advance(&graph, &mut wave, ended(1, &[false])), [Command::Activate(2)]);
        assert_eq!(wave.partial().count(), 0);
    }

    #[test]
    fn a_dead_path_is_skipped_through_to_the_end() {
        let graph = Graph::new(3, [(0, 1), (1, 2)]);
        let mut wave = Wave::default();
        assert_eq!(
            advance(&graph, &mut wave, ended(0, &[false])),
            [Command::Skip(1), Command::Skip(2), Command::End]
        );
    }
}
