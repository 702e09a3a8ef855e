//! What the strings of one tree share while it is evaluated: how much is left, and whether it is over.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use minijinja::value::{Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State};

use super::allowance::{Allowance, Cause, Effort};

/// The name under which the metering finds the budget. It is no name in the language, so that no loop can take it.
pub(super) const BUDGET: &str = "the budget";
/// How many bytes are taken between two readings of the clock.
const CLOCK_CHECK_BYTES: u64 = 64 * 1024;

/// What is left of what one evaluation may take.
pub(super) struct Budget {
    allowance: Allowance,
    /// Why the evaluation is over, whatever its strings have come to.
    over: OnceLock<Over>,
}

/// Why an evaluation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Ended(Cause),
    /// The inputs were read too much.
    Access,
}

impl Budget {
    pub(super) fn new(allowance: Allowance) -> Arc<Self> {
        let budget = Self { over: OnceLock::new(), allowance };
        // Those that had the same allowance before may have left nothing.
        budget.take(0);
        budget.take_fuel(0);
        Arc::new(budget)
    }

    pub(super) fn effort(&self) -> Effort {
        self.allowance.effort()
    }

    /// Takes bytes that are copied out of the inputs; false when there is not enough left.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let access = &self.allowance.left().access;
        let before = access.load(Ordering::Relaxed);
        let left = before.saturating_sub(bytes);
        access.store(left, Ordering::Relaxed);
        if left == 0 {
            self.over.get_or_init(|| match self.effort() {
                Effort::InPlace => Over::Ended(Cause::NotInPlace),
                Effort::Whole => Over::Access,
            });
            return false;
        }
        before / CLOCK_CHECK_BYTES == left / CLOCK_CHECK_BYTES || self.check_clock()
    }

    /// Takes the fuel that a string has used.
    pub(super) fn take_fuel(&self, fuel: u64) {
        let all = &self.allowance.left().fuel;
        let left = all.load(Ordering::Relaxed).saturating_sub(fuel);
        all.store(left, Ordering::Relaxed);
        if left == 0 {
            self.over.get_or_init(|| Over::Ended(Cause::NotInPlace));
        }
    }

    /// Reads the clock; false when the evaluation is to end.
    pub(super) fn check_clock(&self) -> bool {
        if self.over.get().is_none()
            && let Some(cause) = self.allowance.ended()
        {
            self.over.get_or_init(|| Over::Ended(cause));
        }
        self.over.get().is_none()
    }

    /// Why the evaluation is over, whatever its strings have come to: a comparison that met a spent budget went on
    /// with a value that was not there.
    pub(super) fn over(&self) -> Option<(Cause, &'static str)> {
        Some(match self.over.get()? {
            Over::Access => (Cause::Failed, "the expressions read too much of their inputs"),
            Over::Ended(Cause::Deadline) => (Cause::Deadline, "the expressions took too long"),
            Over::Ended(cause) => (*cause, "the expressions were not evaluated to their end"),
        })
    }
}

/// Ends an evaluation whose time is over. Whoever works through much asks now and then.
pub(super) fn check_clock(state: &State<'_, '_>) -> Result<(), Error> {
    let budget = state.lookup(BUDGET).and_then(|value| value.downcast_object::<Budget>());
    match budget {
        Some(budget) if !budget.check_clock() => Err(Error::from(ErrorKind::OutOfFuel)),
        _ => Ok(()),
    }
}

impl Object for Budget {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("budget")
    }
}
