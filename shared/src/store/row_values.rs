//! What an outcome or a new row's state writes into the columns of an activation.

use std::time::Duration;

use super::engine::{Commit, NewRowState, RunChange};
use crate::domain::budget::{NewBudget, OnExhausted};
use crate::domain::failure::Failure;
use crate::domain::outcome::{AttemptOutcome, WaitFor};
use crate::domain::state::NodeState;

/// The columns that an outcome or a new row's state writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowValues<'a> {
    /// The state that was asked for; an ended run turns an open one into `cancelled`.
    pub(super) state: NodeState,
    pub(super) input: Option<&'a str>,
    pub(super) output: Option<&'a str>,
    error: Option<&'a Failure>,
    /// From now until it is due; absent where it has no such time, as what waits for something else has none.
    pub(super) due_in: Option<Duration>,
    /// What it waits for, unless that is a time alone.
    pub(super) waiting_for: Option<&'a WaitFor>,
}

impl<'a> RowValues<'a> {
    fn bare(state: NodeState) -> Self {
        Self { state, input: None, output: None, error: None, due_in: None, waiting_for: None }
    }

    pub(super) fn of_outcome(outcome: &'a AttemptOutcome) -> Self {
        Self {
            state: outcome.state(),
            input: outcome.input(),
            output: outcome.output(),
            error: outcome.error(),
            due_in: outcome.due_in(),
            waiting_for: outcome.waiting_for().filter(|wait| !matches!(wait, WaitFor::Time(_))),
        }
    }

    pub(super) fn of_row(state: &'a NewRowState) -> Self {
        match state {
            NewRowState::Queued => Self::bare(NodeState::Queued),
            NewRowState::Claimed => Self::bare(NodeState::Running),
            NewRowState::Outcome(outcome) => Self::of_outcome(outcome),
        }
    }

    /// What an attempt that does not end its node is recorded as.
    pub(super) fn attempt_outcome(&self) -> Option<&'static str> {
        match self.state {
            NodeState::Retry => Some("retry"),
            NodeState::Waiting => Some("waiting"),
            NodeState::Queued => Some("released"),
            _ => None,
        }
    }

    /// What it waits for as JSON text, unless that is a time alone.
    pub(super) fn waiting_for_json(&self) -> Option<String> {
        self.waiting_for.map(|wait| wait.to_json().to_string())
    }

    /// The error as JSON text.
    pub(super) fn error_json(&self) -> Option<String> {
        self.error.map(failure_json)
    }
}

/// What the columns of a run hold of its limits; all of them are null where it has none.
#[derive(Debug, Clone, Copy)]
pub(super) struct BudgetValues {
    pub(super) max_nanos: Option<i64>,
    pub(super) max_tokens: Option<i64>,
    pub(super) max_steps: Option<i64>,
    pub(super) on_exhausted: Option<&'static str>,
}

impl BudgetValues {
    pub(super) fn of(budget: &NewBudget) -> Self {
        let integer = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let limits = budget.limits;
        Self {
            max_nanos: limits.max_usd.map(|amount| amount.0),
            max_tokens: limits.max_tokens.map(integer),
            max_steps: limits.max_steps.map(integer),
            on_exhausted: (!limits.is_none() || budget.on_exhausted != OnExhausted::default())
                .then(|| budget.on_exhausted.as_str()),
        }
    }
}

/// Why a run that is past its deadline ends, as the columns hold it.
pub(super) fn deadline_passed_json() -> String {
    failure_json(&Failure::new("deadline", "the deadline of the run has passed"))
}

/// A failure as the columns hold it.
pub(super) fn failure_json(failure: &Failure) -> String {
    serde_json::to_string(failure).expect("a failure has only string keys")
}

impl Commit {
    /// Bytes of the values that it writes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let size = |text: Option<&str>| text.map_or(0, str::len);
        let values = |values: &RowValues<'_>| size(values.input) + size(values.output);
        let rows = self.rows.iter().map(|row| values(&RowValues::of_row(&row.state)));
        let events =
            self.events.iter().map(|event| event.message.len() + size(event.data.as_deref()));
        let output = match &self.run {
            RunChange::Succeed { output, .. } => output.len(),
            RunChange::None | RunChange::Fail(_) => 0,
        };
        values(&RowValues::of_outcome(&self.outcome))
            + rows.sum::<usize>()
            + events.sum::<usize>()
            + output
    }
}
