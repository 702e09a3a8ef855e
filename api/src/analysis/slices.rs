//! In which order runs are read: page after page of each part of the time in turn, so that wherever it ends, all of the
//! time has had an even part.

use std::collections::VecDeque;

use skein_shared::store::analysis::{AnalysedRun, RUNS_READ_MAX, RunRange};

/// Parts that the time is divided into, once it is more than a page: the first round over them is 16,000 runs at most.
const SLICES: u32 = 64;

/// A stretch of time.
#[derive(Debug)]
struct Slice {
    whole: RunRange,
    left: RunRange,
    read: u64,
}

impl Slice {
    fn of(range: RunRange) -> Self {
        Self { whole: range, left: range, read: 0 }
    }

    /// How many runs are in it, if they are as dense behind as they were before. Nobody knows of one that was not read.
    fn estimated(&self) -> Option<u64> {
        let part = self.whole.read_before(&self.left);
        (part > 0.0).then(|| (self.read as f64 / part).round() as u64)
    }
}

/// What is still to be read.
#[derive(Debug)]
pub(super) struct Slices {
    /// The next one first.
    open: VecDeque<Slice>,
    /// Runs in those that are read.
    closed: u64,
    is_divided: bool,
}

impl Slices {
    pub(super) fn of(range: RunRange) -> Self {
        let open = (!range.is_empty()).then(|| Slice::of(range)).into_iter().collect();
        Self { open, closed: 0, is_divided: false }
    }

    /// Where the next page is.
    pub(super) fn next(&self) -> Option<RunRange> {
        self.open.front().map(|slice| slice.left)
    }

    /// Takes notice of that page.
    pub(super) fn note(&mut self, page: &[AnalysedRun]) {
        let Some(mut slice) = self.open.pop_front() else { return };
        slice.read += page.len() as u64;
        let last = page.last().filter(|_| page.len() >= RUNS_READ_MAX);
        let left = last.map(|last| slice.left.behind(last.id)).filter(|left| !left.is_empty());
        match left {
            None => self.closed += slice.read,
            Some(left) if !self.is_divided => {
                self.is_divided = true;
                self.closed += slice.read;
                self.open.extend(left.split(SLICES).into_iter().map(Slice::of));
            }
            Some(left) => self.open.push_back(Slice { left, ..slice }),
        }
    }

    /// Runs that were read.
    pub(super) fn examined(&self) -> u64 {
        self.closed + self.open.iter().map(|slice| slice.read).sum::<u64>()
    }

    /// Runs that there are, as far as it can be told.
    pub(super) fn estimated(&self) -> u64 {
        let known: Vec<_> = self.open.iter().filter_map(Slice::estimated).collect();
        let sum = known.iter().sum::<u64>();
        let unknown = (self.open.len() - known.len()) as u64;
        // Those that nobody has looked into are taken for the mean of the others that are open.
        let mean = if known.is_empty() { 0 } else { sum / known.len() as u64 };
        (self.closed + sum + unknown * mean).max(self.examined())
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use skein_shared::domain::ids::{RunId, VersionId};
    use skein_shared::domain::money::NanoDollars;
    use skein_shared::domain::state::RunState;
    use skein_shared::domain::trace::TraceId;

    use super::*;

    /// There is a run each millisecond.
    fn id(millis: u128) -> RunId {
        format!("{:032x}", millis << 80 | 7).parse().unwrap()
    }

    fn run(millis: u128) -> AnalysedRun {
        AnalysedRun {
            id: id(millis),
            workflow: "w".into(),
            version: 1,
            version_id: VersionId::generate(),
            state: RunState::Succeeded,
            trace: TraceId([1; 16]),
            created_at: DateTime::UNIX_EPOCH,
            ended_at: None,
            calls: 0,
            unpriced_calls: 0,
            cost: NanoDollars::ZERO,
        }
    }

    fn range(millis: i64) -> RunRange {
        let at = |millis| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis);
        RunRange::between(at(0), at(millis))
    }

    #[test]
    fn little_is_read_at_once_and_known_exactly() {
        assert_eq!(Slices::of(range(0)).next(), None);
        let mut slices = Slices::of(range(1_000));
        slices.note(&[run(1), run(2)]);
        assert_eq!((slices.next(), slices.examined(), slices.estimated()), (None, 2, 2));
    }

    #[test]
    fn much_is_read_in_turns_and_estimated_by_what_was_read() {
        const ALL: u64 = 64_000;
        let mut slices = Slices::of(range(ALL as i64));
        let mut begun = std::collections::BTreeSet::new();
        let all: Vec<_> = (0..u128::from(ALL)).collect();
        for _ in 0..=SLICES {
            let asked = slices.next().unwrap();
            // What is before it changes nothing about what is left of it.
            let from = all[all.partition_point(|millis| asked.behind(id(*millis)) == asked)];
            begun.insert(from / 1_000);
            let found: Vec<_> = (from..from + RUNS_READ_MAX as u128).map(run).collect();
            slices.note(&found);
        }
        // One page each, all over the time.
        assert!(begun.len() > 60, "{begun:?}");
        assert_eq!(slices.examined(), (u64::from(SLICES) + 1) * RUNS_READ_MAX as u64);
        let estimated = slices.estimated();
        assert!(estimated.abs_diff(ALL) < ALL / 50, "{estimated}");
    }

    #[test]
    fn a_page_that_is_not_full_is_the_last_of_its_part() {
        let mut slices = Slices::of(range(64_000));
        let full: Vec<_> = (0..RUNS_READ_MAX as u128).map(run).collect();
        slices.note(&full);
        let mut parts = 0;
        while slices.next().is_some() {
            slices.note(&[]);
            parts += 1;
        }
        assert_eq!((parts, slices.examined()), (SLICES, RUNS_READ_MAX as u64));
    }
}
