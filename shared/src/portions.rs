//! How much of a list one statement is asked for, when what each part costs is known only afterwards.
//!
//! A group that fails is smaller the next time, down to one; what fails alone is left alone for a while, longer each
//! time. So nothing that fails for good stands in front of the rest, whoever is in the same group with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::RunId;

/// Runs in one statement at most.
const GROUP_MAX: usize = 50;
/// By how much a group shrinks that has failed: after two failures each goes alone.
const SHRINK: usize = 8;
/// For how long a run is left alone over which a statement has failed. It doubles.
const ASIDE_MIN: Duration = Duration::from_secs(5);
/// The longest that it is left alone.
const ASIDE_MAX: Duration = Duration::from_secs(300);
/// Runs that are remembered as left alone at most. Of more than that, some are tried more often.
const ASIDE_COUNT_MAX: usize = 1_024;

/// What is known of the runs that a kind of statement is asked for.
#[derive(Debug)]
pub(crate) struct Portions {
    group: AtomicUsize,
    aside: Mutex<HashMap<RunId, Cooldown>>,
}

#[derive(Debug, Clone, Copy)]
struct Cooldown {
    pause: Duration,
    until: Instant,
}

impl Default for Portions {
    fn default() -> Self {
        Self { group: AtomicUsize::new(GROUP_MAX), aside: Mutex::default() }
    }
}

impl Portions {
    /// How many runs one statement is to be asked for now.
    pub(crate) fn group(&self) -> usize {
        self.group.load(Ordering::Relaxed)
    }

    /// Those of `runs` that are not left alone.
    pub(crate) fn ready(&self, runs: &[RunId]) -> Vec<RunId> {
        let (aside, now) = (self.aside(), Instant::now());
        let is_ready = |run: &&RunId| aside.get(run).is_none_or(|aside| aside.until <= now);
        runs.iter().filter(is_ready).copied().collect()
    }

    /// A statement over `runs` has succeeded.
    pub(crate) fn succeeded(&self, runs: &[RunId]) {
        if runs.len() >= self.group() {
            self.group.store((self.group() * 2).min(GROUP_MAX), Ordering::Relaxed);
        }
        let mut aside = self.aside();
        if !aside.is_empty() {
            aside.retain(|run, _| !runs.contains(run));
        }
    }

    /// A statement over `runs` has failed, by what they are. Says for how long the run is left alone, if it was one.
    pub(crate) fn failed(&self, runs: &[RunId]) -> Option<Duration> {
        self.group.store((runs.len() / SHRINK).max(1), Ordering::Relaxed);
        let [run] = runs else { return None };
        let (mut aside, now) = (self.aside(), Instant::now());
        let before = aside.get(run).map(|aside| aside.pause * 2);
        let pause = before.unwrap_or(ASIDE_MIN).min(ASIDE_MAX);
        if aside.len() >= ASIDE_COUNT_MAX {
            aside.retain(|_, aside| aside.until > now);
        }
        if aside.len() < ASIDE_COUNT_MAX {
            aside.insert(*run, Cooldown { pause, until: now + pause });
        }
        Some(pause)
    }

    fn aside(&self) -> MutexGuard<'_, HashMap<RunId, Cooldown>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
