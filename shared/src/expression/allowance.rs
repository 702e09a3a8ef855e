//! How much an evaluation may take, and who may end it before its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::domain::limits::{EXPRESSION_FUEL, EXPRESSION_FUEL_IN_PLACE};

/// Bytes that the expressions of one parameter tree may copy out of their inputs: sixty times the
/// largest input. Fuel does not count these copies.
const ACCESS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The same for an evaluation that others wait for.
const ACCESS_BYTES_IN_PLACE: u64 = 1024 * 1024;

/// How much evaluations may take. Those that are given the same one, or a clone of it, share what is left.
///
/// An evaluation is pure: what was given up for want of fuel can be done again with more of it, somewhere else.
#[derive(Debug, Clone)]
pub struct Allowance {
    effort: Effort,
    left: Arc<Left>,
    deadline: Option<Instant>,
    stop: Option<Arc<AtomicBool>>,
}

/// What is left of an allowance.
#[derive(Debug)]
pub(super) struct Left {
    /// Bytes that may still be copied out of the inputs.
    pub(super) access: AtomicU64,
    /// Fuel that strings may still use together.
    pub(super) fuel: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    InPlace,
    Whole,
}

/// Why an evaluation yielded nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The expression is at fault, or takes more than any may.
    Failed,
    /// It takes more than [`Allowance::in_place`] grants.
    NotInPlace,
    /// The deadline has passed.
    Deadline,
    /// It was cancelled.
    Stopped,
}

impl Allowance {
    /// What may be computed where others wait for the thread: at most about a millisecond. An evaluation that takes
    /// more than is left of it fails with [`Cause::NotInPlace`].
    #[must_use]
    pub fn in_place() -> Self {
        Self::of(Effort::InPlace)
    }

    /// All that an expression may take: some tens of milliseconds for each string with expressions.
    #[must_use]
    pub fn whole() -> Self {
        Self::of(Effort::Whole)
    }

    fn of(effort: Effort) -> Self {
        let left = Left {
            access: AtomicU64::new(effort.access_bytes()),
            fuel: AtomicU64::new(effort.tree_fuel()),
        };
        Self { effort, left: Arc::new(left), deadline: None, stop: None }
    }

    /// The same up to a moment. It is checked between strings and while a string is worked on.
    #[must_use]
    pub fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// The same as long as the flag is not set.
    #[must_use]
    pub fn unless(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop: Some(stop), ..self }
    }

    pub(super) fn effort(&self) -> Effort {
        self.effort
    }

    pub(super) fn left(&self) -> &Left {
        &self.left
    }

    /// Why it is over, if it is.
    pub(super) fn ended(&self) -> Option<Cause> {
        if self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Some(Cause::Stopped);
        }
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        is_late.then_some(Cause::Deadline)
    }
}

impl Effort {
    /// Fuel for one string.
    pub(super) fn fuel(self) -> u64 {
        match self {
            Self::InPlace => EXPRESSION_FUEL_IN_PLACE,
            Self::Whole => EXPRESSION_FUEL,
        }
    }

    /// Fuel for all strings together.
    fn tree_fuel(self) -> u64 {
        match self {
            Self::InPlace => EXPRESSION_FUEL_IN_PLACE,
            Self::Whole => u64::MAX,
        }
    }

    /// Bytes that may be copied out of the inputs.
    fn access_bytes(self) -> u64 {
        match self {
            Self::InPlace => ACCESS_BYTES_IN_PLACE,
            Self::Whole => ACCESS_BYTES_MAX,
        }
    }
}
