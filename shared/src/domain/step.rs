//! Steps: the parts of a node's work each of which must not be done or paid for again after a crash.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::ids::ActivationKey;
use super::money::NanoDollars;
use super::run::RunHeader;
use super::trace::SpanId;
use super::usage::Usage;
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
        /// The attempt that made it ended before there was a result: it may have happened, and is still to be made. So
        /// does one end whose worker stops in the middle.
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

/// A step whose attempt ended before it had a result.
#[derive(Debug, Clone)]
pub struct LostStep {
    /// The run; `input` is left empty.
    pub header: RunHeader,
    /// What made it.
    pub key: ActivationKey,
    /// The kind of node, for its span.
    pub node_kind: Arc<str>,
    /// Its number within the activation.
    pub seq: u32,
    /// Which of its tries.
    pub attempt: u32,
    /// What it does.
    pub kind: StepKind,
    /// The model or the tool.
    pub name: Arc<str>,
    /// Who was called, if it was a model.
    pub provider: Option<Arc<str>>,
    /// Tokens that it was settled for, if it was a model.
    pub charged: Usage,
    /// What it was settled for, if it was a model that has a price.
    pub cost: Option<NanoDollars>,
    /// Its span.
    pub span: SpanId,
    /// The span of the attempt that made it.
    pub parent: Option<SpanId>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was found lost.
    pub ended_at: DateTime<Utc>,
}
