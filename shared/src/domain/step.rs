//! Steps: the parts of a node's work each of which must not be done or paid for again after a crash.

use super::words::words;

words!(
    /// What a step does.
    "kind of step" StepKind {
        /// Calls a model.
        Model = "model",
        /// Calls a tool.
        Tool = "tool",
    }
);

words!(
    /// The life of a step.
    "status" StepStatus {
        /// It waits for somebody's decision. Nothing was sent.
        Pending = "pending",
        /// Somebody has allowed it. Nothing was sent.
        Approved = "approved",
        /// It may be under way: its intent is durable, its result is not known.
        Started = "started",
        /// It is done, and its result is recorded.
        Succeeded = "succeeded",
        /// It has failed, and that is its result.
        Failed = "failed",
        /// The other side did not work on it, and asks to be called again: the step is still to be made.
        Refused = "refused",
        /// Somebody has forbidden it, or nobody has allowed it in time. Nothing was sent.
        Denied = "denied",
        /// The attempt that made it ended before there was a result: it may have happened.
        Lost = "lost",
    }
);

impl StepStatus {
    /// Whether the step is over, and is not made again.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Denied)
    }
}
