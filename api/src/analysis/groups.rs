//! What has something in common, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;

use skein_shared::domain::ids::RunId;
use skein_shared::domain::trace::TraceId;
use skein_shared::store::analysis::AnalysedRun;

/// Runs that are named for each finding.
const EXAMPLES_MAX: usize = 3;

/// So many groups at most; what comes later belongs to none and is counted.
#[derive(Debug)]
pub(super) struct Groups<K, V> {
    groups: HashMap<K, V>,
    most: usize,
    left_out: u64,
}

impl<K: Hash + Eq, V: Default> Groups<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { groups: HashMap::new(), most, left_out: 0 }
    }

    /// The group of this key, a new one if there is none; `None` where there are enough.
    pub(super) fn of(&mut self, key: K) -> Option<&mut V> {
        if self.groups.len() >= self.most && !self.groups.contains_key(&key) {
            self.left_out += 1;
            return None;
        }
        Some(self.groups.entry(key).or_default())
    }

    pub(super) fn find(&self, key: &K) -> Option<&V> {
        self.groups.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.groups.iter()
    }

    /// What belongs to no group.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// The runs of which something is the most, that first.
#[derive(Debug, Default, Clone)]
pub(super) struct Examples(Vec<(u64, RunId, TraceId)>);

impl Examples {
    /// Adds a run, unless there are enough that have more.
    pub(super) fn add(&mut self, amount: u64, run: &AnalysedRun) {
        // A run that comes again has more of it by now.
        self.0.retain(|(_, id, _)| *id != run.id);
        let place = self.0.partition_point(|(other, ..)| *other >= amount);
        if place < EXAMPLES_MAX {
            self.0.insert(place, (amount, run.id, run.trace));
            self.0.truncate(EXAMPLES_MAX);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RunId, TraceId)> + '_ {
        self.0.iter().map(|(_, run, trace)| (*run, *trace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_groups_than_there_may_be() {
        let mut groups = Groups::<u8, u64>::new(2);
        for key in [1, 2, 3, 1, 4] {
            if let Some(count) = groups.of(key) {
                *count += 1;
            }
        }
        assert_eq!((groups.find(&1), groups.find(&3), groups.left_out()), (Some(&2), None, 2));
        assert_eq!(groups.iter().count(), 2);
    }
}
