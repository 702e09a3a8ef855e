//! What an ending or a new row's state writes into the columns of an activation.

use std::time::Duration;

use super::engine::{Commit, Ending, NewRowState, RunEffect};
use crate::domain::failure::Failure;
use crate::domain::state::NodeState;

/// The columns that an ending or a new row's state writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowValues<'a> {
    /// The state that was asked for; an ended run turns an open one into `cancelled`.
    pub(super) state: NodeState,
    pub(super) input: Option<&'a str>,
    pub(super) output: Option<&'a str>,
    error: Option<&'a Failure>,
    /// From now until it is due; zero where it has no such time.
    pub(super) delay: Duration,
}

impl<'a> RowValues<'a> {
    fn bare(state: NodeState) -> Self {
        Self { state, input: None, output: None, error: None, delay: Duration::ZERO }
    }

    fn succeeded(input: &'a Option<String>, output: &'a str) -> Self {
        Self { input: input.as_deref(), output: Some(output), ..Self::bare(NodeState::Succeeded) }
    }

    fn failed(input: &'a Option<String>, output: &'a Option<String>, error: &'a Failure) -> Self {
        Self {
            input: input.as_deref(),
            output: output.as_deref(),
            error: Some(error),
            ..Self::bare(NodeState::Failed)
        }
    }

    fn waiting(input: &'a Option<String>, delay: Duration) -> Self {
        Self { input: input.as_deref(), delay, ..Self::bare(NodeState::Waiting) }
    }

    pub(super) fn of_ending(ending: &'a Ending) -> Self {
        match ending {
            Ending::Succeeded { input, output } => Self::succeeded(input, output),
            Ending::Failed { input, output, error } => Self::failed(input, output, error),
            Ending::Retry { input, error, delay } => Self {
                input: input.as_deref(),
                error: Some(error),
                delay: *delay,
                ..Self::bare(NodeState::Retry)
            },
            Ending::Waiting { input, delay } => Self::waiting(input, *delay),
            Ending::Released { delay } => Self { delay: *delay, ..Self::bare(NodeState::Queued) },
            Ending::Cancelled => Self::bare(NodeState::Cancelled),
            Ending::Skipped => Self::bare(NodeState::Skipped),
        }
    }

    pub(super) fn of_row(state: &'a NewRowState) -> Self {
        match state {
            NewRowState::Queued => Self::bare(NodeState::Queued),
            NewRowState::Claimed => Self::bare(NodeState::Running),
            NewRowState::Waiting { input, delay } => Self::waiting(input, *delay),
            NewRowState::Succeeded { input, output } => Self::succeeded(input, output),
            NewRowState::Failed { input, output, error } => Self::failed(input, output, error),
            NewRowState::Skipped => Self::bare(NodeState::Skipped),
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

    /// The error as JSON text.
    pub(super) fn error_json(&self) -> Option<String> {
        self.error.map(failure_json)
    }
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
            RunEffect::Succeed { output, .. } => output.len(),
            RunEffect::None | RunEffect::Fail(_) => 0,
        };
        values(&RowValues::of_ending(&self.ending))
            + rows.sum::<usize>()
            + events.sum::<usize>()
            + output
    }
}
