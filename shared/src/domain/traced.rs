//! What the store has kept of a run's spans, from which they can be made once more.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::failure::Failure;
use super::ids::ActivationKey;
use super::money::NanoDollars;
use super::outcome::AttemptOutcome;
use super::run::{EndedRun, RunHeader, RunTrace};
use super::step::{StepKind, StepStatus};
use super::trace::{SpanId, TraceContext};
use super::usage::Usage;

/// A run, and how it was accepted.
#[derive(Debug, Clone)]
pub struct TracedRun {
    /// The run, with the ids of the trace that it has now; `input` is left empty.
    pub header: RunHeader,
    /// The ids of its first trace, which holds the span that published it.
    pub first: RunTrace,
    /// The request that it was accepted in, if that is recorded.
    pub request: Option<SpanId>,
    /// Entry nodes: messages that were published with it.
    pub entries: u32,
    /// Its end, once it has ended.
    pub ended: Option<EndedRun>,
}

/// Where an attempt stands among those of its run: by its activation, and there by its claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptPosition {
    /// The activation: the order in which they became known.
    pub ordinal: i64,
    /// The claim; 0 of an attempt that was made in its predecessor's commit.
    pub claim: u32,
}

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub struct TracedAttempt {
    /// Where it stands.
    pub position: AttemptPosition,
    /// The run, with the ids of the trace that the attempt is in; `input` is left empty.
    pub header: RunHeader,
    /// What was run.
    pub key: ActivationKey,
    /// The kind of node.
    pub kind: Arc<str>,
    /// Which attempt, from 1.
    pub number: u32,
    /// Its span.
    pub span: SpanId,
    /// The span that published its activation the last time, if anything did.
    pub publish: SpanId,
    /// Whether its activation was claimed this once only: what is published for a later claim takes the place of what was
    /// published before.
    pub is_only: bool,
    /// When it was claimed, by the store's clock.
    pub started_at: DateTime<Utc>,
    /// When its end was written down, by the store's clock.
    pub ended_at: DateTime<Utc>,
    /// What became of it.
    pub end: TracedEnd,
    /// What its calls came to, where it is an agent's.
    pub agent: Option<TracedAgent>,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum TracedEnd {
    /// It ended by itself, or was cancelled. Input and output are left out, and what it waits for.
    Outcome(AttemptOutcome),
    /// Nobody went on with it: its worker gave it back, or died under it.
    Abandoned {
        /// Whether the worker died.
        is_crash: bool,
    },
}

/// What the calls of an agent came to, up to the end of an attempt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TracedAgent {
    /// How it goes about its goal; absent where its parameters are not known.
    pub framework: Option<String>,
    /// Who was asked; absent where nobody was, and nobody is named.
    pub provider: Option<String>,
    /// Which model; absent where its parameters are not known.
    pub model: Option<String>,
    /// Tokens of all its calls, those of earlier attempts included.
    pub tokens_used: u64,
    /// What they cost.
    pub cost: NanoDollars,
    /// Answers of its model, those to earlier attempts included.
    pub iterations: u32,
    /// Whether this attempt has begun a step.
    pub has_steps: bool,
}

/// An activation, as far as those behind it are linked to it.
#[derive(Debug, Clone, PartialEq)]
pub struct TracedNode {
    /// Which.
    pub key: ActivationKey,
    /// The ids of the trace that it is in.
    pub trace: RunTrace,
    /// The span of its latest attempt; absent where there was none, as of one that was skipped.
    pub span: Option<SpanId>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

impl TracedNode {
    /// The context of its latest attempt.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        Some(self.trace.context_of(self.span?))
    }
}

/// What a model is asked with, beside its messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TracedRequest {
    /// How freely it chooses.
    pub temperature: Option<f64>,
    /// From how much of the probability it chooses.
    pub top_p: Option<f64>,
    /// What makes it choose the same again.
    pub seed: Option<i64>,
    /// What ends its answer.
    pub stop: Vec<String>,
    /// Whether somebody may read along.
    pub stream: bool,
    /// Whether it is to answer by a schema.
    pub is_json: bool,
}

/// A step that is over: one try of a call to a model or a tool.
#[derive(Debug, Clone)]
pub struct TracedStep {
    /// Where it stands among those of its run: the order of beginning.
    pub position: i64,
    /// The run, with the ids of the trace that the step is in; `input` is left empty.
    pub header: RunHeader,
    /// What made it.
    pub key: ActivationKey,
    /// The kind of node.
    pub node_kind: Arc<str>,
    /// Its number within the activation.
    pub seq: u32,
    /// Which of its tries.
    pub attempt: u32,
    /// What it does.
    pub kind: StepKind,
    /// The model or the tool.
    pub name: Arc<str>,
    /// How it ended.
    pub status: StepStatus,
    /// Who was called, if it was a model.
    pub provider: Option<Arc<str>>,
    /// The model that answered, where it said so.
    pub response_model: Option<String>,
    /// Why the answer ended.
    pub finish_reason: Option<String>,
    /// Tokens that it may have answered with.
    pub max_tokens: u32,
    /// Tokens, where the provider counted them.
    pub usage: Option<Usage>,
    /// Those that it was settled for.
    pub charged: Usage,
    /// What it was settled for, if it has a price.
    pub cost: Option<NanoDollars>,
    /// Whether that is the most that it could come to.
    pub is_estimated: bool,
    /// What the model was asked with; absent for tools, and where the node's parameters are not known.
    pub request: Option<TracedRequest>,
    /// Whether a tool is called by HTTP; absent where the node's parameters are not known.
    pub is_http_tool: Option<bool>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Its span.
    pub span: SpanId,
    /// The span of the attempt that made it.
    pub parent: Option<SpanId>,
    /// When it began, by the store's clock.
    pub started_at: DateTime<Utc>,
    /// How long it took, as whoever made it has measured; absent of one that is lost.
    pub latency: Option<Duration>,
    /// When it was written down to be over, by the store's clock.
    pub ended_at: DateTime<Utc>,
}
