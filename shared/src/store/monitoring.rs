//! What is open in the whole installation, counted by one process at a time.
//!
//! Sums over everybody's rows serve no request: they leave by metrics, without a name of anybody, so they are not
//! filtered by a tenant. Were each process to send them, they would be there as often as there are processes. So one
//! holds the duty for a term, renews it while it lives, and another one takes it when the term is over. There is no
//! lock that a dead process could keep, and nothing else depends on who holds it.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use super::rows::{Columns, parse, text};
use super::timing::WAKE_MAX;
use crate::domain::ids::HolderId;
use crate::domain::open_work::OpenWork;
use crate::domain::state::{NodeState, RunState};

/// Rows that are counted for one number at most: a fraction of a second for all numbers together. An installation with
/// more of a kind has no use for the exact number.
pub const COUNTED_ROWS_MAX: u32 = 100_000;

/// For how long a timer may be due until it is overdue: sweeps come every second, and take what is due.
pub const OVERDUE_AFTER: Duration = Duration::from_secs(5);

/// Within what time a row is due that only waits for a worker: the longest pause between two hints, its jitter, and some
/// more. What is due later waits for a time of its own.
pub(super) const QUEUED_DUE_WITHIN: Duration = WAKE_MAX.saturating_mul(2);

/// How a count is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountOptions {
    /// Rows that are counted for each number at most.
    pub rows_max: u32,
    /// For how long a timer may be due until it is overdue.
    pub overdue_after: Duration,
}

impl Default for CountOptions {
    fn default() -> Self {
        Self { rows_max: COUNTED_ROWS_MAX, overdue_after: OVERDUE_AFTER }
    }
}

/// What the process needs that counts for all.
#[async_trait]
pub trait MonitoringStore: Send + Sync + 'static {
    /// Makes `holder` the one that has the duty `name` for a `term` from now on, by the store's clock, and says whether
    /// it is: a duty that another holder has MUST stay with that one until its term is over. Renews the term of one that
    /// has it already. MUST NOT wait for longer than a statement may take.
    ///
    /// After an error `holder` may have it or not; either is safe to repeat. A holder that dies leaves it to the next
    /// one that asks when the term is over.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn take_duty(
        &self,
        name: &'static str,
        holder: HolderId,
        term: Duration,
    ) -> Result<bool, StoreError>;

    /// Gives a duty up before its term is over, so that the next one that asks has it. Changes nothing when another one
    /// has it.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn leave_duty(&self, name: &'static str, holder: HolderId) -> Result<(), StoreError>;

    /// Counts what is open, over all tenants, as of one moment, in one statement that locks nothing. It MUST look at open
    /// rows only and at no more than `rows_max` for each number, so that what has ended, however much, costs nothing;
    /// nodes that are blocked, held or uncertain it MAY look for among the first `rows_max` nodes of open runs only.
    ///
    /// # Errors
    /// See [`StoreError`]. [`StoreError::TooSlow`] says that there is no answer now, and changes nothing.
    async fn count_open(&self, options: CountOptions) -> Result<OpenWork, StoreError>;
}

/// The answer of a store's statement, which has a row for each number: what it counts (`part`), of what `state`, how
/// many (`total`), and for how long the oldest has waited (`waited_ms`).
pub(super) fn open_work<R: Columns>(rows: &[R]) -> Result<OpenWork, StoreError> {
    let mut work = OpenWork::default();
    for row in rows {
        let total = number(row, "total")?;
        match text(row, "part")? {
            "run" => *work.runs.entry(parse::<RunState>(row, "state")?).or_default() += total,
            "node" => {
                let state = parse::<NodeState>(row, "state")?;
                *work.nodes.entry(state).or_default() += total;
                if state == NodeState::Queued {
                    work.oldest_queued = Duration::from_millis(number(row, "waited_ms")?);
                }
            }
            "timer" => work.overdue_timers += total,
            "worker" => work.live_workers += total,
            other => return Err(StoreError::Corrupt(format!("nobody counts {other}"))),
        }
    }
    Ok(work)
}

/// A number that is not negative; null and what is below are zero.
fn number(row: &impl Columns, column: &'static str) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.integer(column)?.unwrap_or_default()).unwrap_or_default())
}
