//! Which activations of a run decided when it was over.
//!
//! From the one that ended last, backwards: an activation begins when the last of those before it has ended, dead paths
//! included, for a join waits for their tokens too. Whatever else the run did was done meanwhile.

use std::cmp::Reverse;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::phases::{EarlierAttempt, Phases, Times, phases};
use crate::domain::graph::NodeIx;
use crate::domain::ids::Scope;

/// An activation that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedActivation {
    /// Its node.
    pub node: NodeIx,
    /// The repetition of it.
    pub scope: Scope,
    /// Attempts before the last one, in order.
    pub earlier: Arc<[EarlierAttempt]>,
    /// When it became runnable for the last time.
    pub queued_at: Option<DateTime<Utc>>,
    /// When its last attempt began; absent where there was none.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
}

impl EndedActivation {
    fn times(&self) -> Times<'_> {
        let Self { earlier, queued_at, started_at, ended_at, .. } = self;
        Times { earlier, queued_at: *queued_at, started_at: *started_at, ended_at: *ended_at }
    }
}

/// An activation on the critical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its place among those that were given.
    pub activation: usize,
    /// What the time from the end of the stretch before it, or from the beginning of the run, to its own end was spent on.
    pub phases: Phases,
}

/// The critical path of a run that was accepted at `accepted_at`, the first stretch first. The stretches follow on each
/// other without a gap, from then to the end of the last activation. `parents` are the nodes whose edges lead to each
/// node, and MUST form no circle; a node that they do not know has none.
///
/// An activation follows on those of its node's parents in the same repetition, in one around it, or in those within it.
#[must_use]
pub fn critical_path(
    parents: &[Vec<NodeIx>],
    activations: &[EndedActivation],
    accepted_at: DateTime<Utc>,
) -> Vec<Stretch> {
    let mut of_node = vec![Vec::new(); parents.len()];
    for (place, activation) in activations.iter().enumerate() {
        if let Some(places) = of_node.get_mut(activation.node) {
            places.push(place);
        }
    }
    let mut path = Vec::new();
    let mut next = latest(activations, 0..activations.len());
    while let Some(place) = next {
        let activation = &activations[place];
        let before = parents.get(activation.node).into_iter().flatten();
        let before = before.flat_map(|parent| of_node.get(*parent).into_iter().flatten().copied());
        let before =
            before.filter(|place| are_related(&activations[*place].scope, &activation.scope));
        next = latest(activations, before);
        let ready_at = next.map_or(accepted_at, |before| activations[before].ended_at);
        path.push(Stretch { activation: place, phases: phases(ready_at, &activation.times()) });
    }
    path.reverse();
    path
}

/// The one of these that ended last; the first of several.
fn latest(activations: &[EndedActivation], places: impl Iterator<Item = usize>) -> Option<usize> {
    places.max_by_key(|place| (activations[*place].ended_at, Reverse(*place)))
}

/// Whether two repetitions are the same, or one is within the other.
fn are_related(one: &str, other: &str) -> bool {
    let (outer, inner) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let rest = inner.strip_prefix(outer);
    rest.is_some_and(|rest| outer.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::analysis::phases::micros_between;

    fn at(millis: u64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(i64::try_from(millis).unwrap())
    }

    fn ended(node: NodeIx, scope: &str, started: u64, ended: u64) -> EndedActivation {
        EndedActivation {
            node,
            scope: scope.into(),
            earlier: [].into(),
            queued_at: None,
            started_at: Some(at(started)),
            ended_at: at(ended),
        }
    }

    fn places(path: &[Stretch]) -> Vec<usize> {
        path.iter().map(|stretch| stretch.activation).collect()
    }

    #[test]
    fn a_run_without_activations_has_no_path() {
        assert_eq!(critical_path(&[], &[], at(0)), []);
        // One whose node is not known stands for itself.
        assert_eq!(places(&critical_path(&[], &[ended(3, "", 0, 1)], at(0))), [0]);
    }

    #[test]
    fn the_last_of_those_before_a_join_is_on_the_path_though_it_was_skipped() {
        let parents = [vec![], vec![0], vec![0], vec![1, 2]];
        let mut dead = ended(2, "", 0, 50);
        dead.started_at = None;
        let all = [ended(0, "", 5, 10), ended(1, "", 10, 40), dead, ended(3, "", 55, 60)];
        assert_eq!(places(&critical_path(&parents, &all, at(0))), [0, 2, 3]);
    }

    #[test]
    fn a_repetition_follows_on_what_is_around_it_and_not_on_its_neighbours() {
        // A split, one that is repeated, another behind it, and what gathers them.
        let parents = [vec![], vec![0], vec![1], vec![2]];
        let all = [
            ended(0, "", 0, 10),
            ended(1, "0", 10, 90),
            ended(1, "1", 10, 20),
            ended(2, "0", 90, 95),
            ended(2, "1", 20, 120),
            ended(3, "", 120, 130),
        ];
        assert_eq!(places(&critical_path(&parents, &all, at(0))), [0, 2, 4, 5]);
        for (one, other, expected) in [
            ("", "3", true),
            ("3", "3/0", true),
            ("3", "30", false),
            ("3/0", "3/1", false),
            ("3", "3", true),
        ] {
            assert_eq!((are_related(one, other), are_related(other, one)), (expected, expected));
        }
    }

    /// The edges of a random graph lead from lower to higher nodes.
    fn graph() -> impl Strategy<Value = Vec<Vec<NodeIx>>> {
        (1_usize..8).prop_flat_map(|nodes| {
            let flags = proptest::collection::vec(any::<bool>(), nodes * nodes);
            flags.prop_map(move |flags| {
                let parents = |to: usize| (0..to).filter(|from| flags[to * nodes + from]).collect();
                (0..nodes).map(parents).collect()
            })
        })
    }

    /// What the longest of all paths that end in a node takes.
    fn longest(parents: &[Vec<NodeIx>], takes: &[u64], node: NodeIx) -> u64 {
        let before = parents[node].iter().map(|parent| longest(parents, takes, *parent)).max();
        takes[node] + before.unwrap_or(0)
    }

    proptest! {
        /// A run that does nothing but wait for what comes before: its path is the longest of all.
        #[test]
        fn it_is_the_longest_path_through_the_graph(
            parents in graph(),
            takes in proptest::collection::vec(1_u64..50, 8),
            queues in proptest::collection::vec(0_u64..9, 8),
        ) {
            let mut all: Vec<EndedActivation> = Vec::new();
            for (node, before) in parents.iter().enumerate() {
                let ready = before.iter().map(|parent| all[*parent].ended_at).max().unwrap_or(at(0));
                let ready = u64::try_from(ready.timestamp_millis()).unwrap();
                all.push(ended(node, "", ready + queues[node], ready + queues[node] + takes[node]));
            }
            let path = critical_path(&parents, &all, at(0));
            let total: u64 = path.iter().map(|stretch| stretch.phases.total()).sum();
            let weights: Vec<_> = takes.iter().zip(&queues).map(|(one, other)| one + other).collect();
            let expected = (0..parents.len()).map(|node| longest(&parents, &weights, node)).max();
            prop_assert_eq!(total, expected.unwrap() * 1_000);
            for pair in path.windows(2) {
                let (from, to) = (all[pair[0].activation].node, all[pair[1].activation].node);
                prop_assert!(parents[to].contains(&from));
            }
            prop_assert!(parents[all[path[0].activation].node].is_empty());
        }

        /// However the times are, the stretches follow on each other, up to the end of the run.
        #[test]
        fn its_stretches_leave_no_gap(
            parents in graph(),
            times in proptest::collection::vec((0_u64..100, 0_u64..100), 8),
        ) {
            let all: Vec<_> = (0..parents.len()).map(|node| ended(node, "", times[node].0, times[node].1)).collect();
            let path = critical_path(&parents, &all, at(0));
            let last = all.iter().map(|it| it.ended_at).max().unwrap();
            prop_assert_eq!(all[path.last().unwrap().activation].ended_at, last);
            let mut since = at(0);
            for stretch in &path {
                let end = all[stretch.activation].ended_at;
                prop_assert_eq!(stretch.phases.total(), micros_between(since, end));
                since = end;
            }
        }
    }
}
