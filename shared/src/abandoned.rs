//! Attempts that nobody goes on with, as whoever takes them back reports them.

use crate::domain::run::AbandonedAttempt;
use crate::store::engine::END_KIND;
use crate::telemetry::emit;
use crate::telemetry::spans::abandoned;

/// Exports the spans of an attempt, which its worker cannot or does not: what was logged of it names them.
pub fn export_abandoned(attempt: &AbandonedAttempt) {
    // `__end__` is nobody's node.
    if &*attempt.kind != END_KIND {
        abandoned(attempt).for_each(emit);
    }
}
