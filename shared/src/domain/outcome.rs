//! What became of an attempt: decided once, and then written into its row, its log rows, its span and the metrics.

use std::time::Duration;

use super::failure::Failure;
use super::state::NodeState;

/// What became of an attempt. Inputs and outputs are JSON text; an input is absent where the parameters were not rendered.
///
/// What is written while an attempt is under way is no part of it.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptOutcome {
    /// The node has ended with an output.
    Succeeded {
        /// Rendered parameters.
        input: Option<String>,
        /// The output.
        output: String,
    },
    /// The node has failed for good.
    Failed {
        /// Rendered parameters.
        input: Option<String>,
        /// What successors see, if the failure is handled.
        output: Option<String>,
        /// Why.
        error: Failure,
    },
    /// The attempt has failed and another follows.
    Retry {
        /// Rendered parameters.
        input: Option<String>,
        /// Why.
        error: Failure,
        /// When, from the commit on.
        delay: Duration,
    },
    /// The node waits, and holds no worker meanwhile. The attempt does not count.
    Waiting {
        /// Rendered parameters.
        input: Option<String>,
        /// What ends the wait.
        waiting_for: WaitFor,
    },
    /// It was deferred before it began: somebody else may make it. It does not count.
    Deferred {
        /// When, from the commit on.
        delay: Duration,
    },
    /// It was stopped: its run is cancelled or has failed, or its worker shuts down.
    Cancelled,
    /// There was none: no live token reached the node.
    Skipped,
}

/// What a node waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// A time, from the commit on.
    Time(Duration),
}

impl WaitFor {
    /// When it is over, from the commit on. Absent where no time ends it.
    #[must_use]
    pub fn due_in(self) -> Option<Duration> {
        match self {
            Self::Time(delay) => Some(delay),
        }
    }
}

impl AttemptOutcome {
    /// What its row becomes, unless its run has ended or is to end.
    #[must_use]
    pub fn state(&self) -> NodeState {
        match self {
            Self::Succeeded { .. } => NodeState::Succeeded,
            Self::Failed { .. } => NodeState::Failed,
            Self::Retry { .. } => NodeState::Retry,
            Self::Waiting { .. } => NodeState::Waiting,
            Self::Deferred { .. } => NodeState::Queued,
            Self::Cancelled => NodeState::Cancelled,
            Self::Skipped => NodeState::Skipped,
        }
    }

    /// Rendered parameters.
    #[must_use]
    pub fn input(&self) -> Option<&str> {
        match self {
            Self::Succeeded { input, .. }
            | Self::Failed { input, .. }
            | Self::Retry { input, .. }
            | Self::Waiting { input, .. } => input.as_deref(),
            Self::Deferred { .. } | Self::Cancelled | Self::Skipped => None,
        }
    }

    /// Rendered parameters, moved out.
    #[must_use]
    pub fn into_input(self) -> Option<String> {
        match self {
            Self::Succeeded { input, .. }
            | Self::Failed { input, .. }
            | Self::Retry { input, .. }
            | Self::Waiting { input, .. } => input,
            Self::Deferred { .. } | Self::Cancelled | Self::Skipped => None,
        }
    }

    /// What successors see.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Succeeded { output, .. } => Some(output),
            Self::Failed { output, .. } => output.as_deref(),
            Self::Retry { .. }
            | Self::Waiting { .. }
            | Self::Deferred { .. }
            | Self::Cancelled
            | Self::Skipped => None,
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> Option<&Failure> {
        match self {
            Self::Failed { error, .. } | Self::Retry { error, .. } => Some(error),
            Self::Succeeded { .. }
            | Self::Waiting { .. }
            | Self::Deferred { .. }
            | Self::Cancelled
            | Self::Skipped => None,
        }
    }

    /// When its row is due again, from the commit on. Absent where it is not, or where no time says so.
    #[must_use]
    pub fn due_in(&self) -> Option<Duration> {
        match self {
            Self::Retry { delay, .. } | Self::Deferred { delay } => Some(*delay),
            Self::Waiting { waiting_for, .. } => waiting_for.due_in(),
            Self::Succeeded { .. } | Self::Failed { .. } | Self::Cancelled | Self::Skipped => None,
        }
    }
}
