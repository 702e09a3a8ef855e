//! What workers write while an attempt is under way: the steps of nodes that must not repeat what they have done.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StoreError;
use super::engine::NewEvent;
use crate::domain::budget::Exhausted;
use crate::domain::failure::Failure;
use crate::domain::ids::{ActivationKey, LeaseId};
use crate::domain::money::{NanoDollars, Price};
use crate::domain::run::RunHeader;
use crate::domain::step::{StepKind, StepStatus};
use crate::domain::trace::SpanId;
use crate::domain::usage::Usage;

/// Bytes of what one step is given, and of what it yields. As much as a run's input may have: a transcript is made of
/// many of them.
pub const STEP_BYTES_MAX: usize = 256 * 1024;
/// Steps of one activation. An agent that needs more has lost its way.
pub const STEPS_MAX: u32 = 1_000;
/// Bytes of all that the steps of one activation hold. It is read whole when the node is taken up again.
pub const JOURNAL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Steps that one call of [`StepStore::lose_steps`] takes at most.
pub const LOST_STEPS_MAX: u32 = 200;
/// How much of a budget is spent when it is warned of: four fifths.
pub const WARNING_PERCENT: u64 = 80;

/// A step that is to be made, or to be decided about.
#[derive(Debug, Clone)]
pub struct StepIntent {
    /// Its number within the activation, from 1, without gaps.
    pub seq: u32,
    /// What it does.
    pub kind: StepKind,
    /// The model or the tool.
    pub name: Arc<str>,
    /// SHA-256 of what is sent, so that a node that is taken up again sees whether it would send the same.
    pub digest: [u8; 32],
    /// What a tool is called with, as JSON text; absent for models, whose prompts are in the node's input.
    pub arguments: Option<String>,
    /// The span that it will have.
    pub span: SpanId,
    /// What a call to a model may take at most.
    pub reservation: Option<Reservation>,
    /// It is not made but waits for a decision for so long, unless one was made: its status becomes
    /// [`StepStatus::Pending`]. Nothing is reserved.
    pub decision_within: Option<Duration>,
}

/// What a call to a model may take at most.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Who is called.
    pub provider: Arc<str>,
    /// The model that is asked for.
    pub model: Arc<str>,
    /// What it costs; a call keeps this price whatever the table says later. What has none costs nobody knows what.
    pub price: Option<Price>,
    /// Tokens of the input at most.
    pub input_tokens: u64,
    /// Tokens of the output at most.
    pub output_tokens: u64,
}

/// How a step ended.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// Which.
    pub seq: u32,
    /// Which of its tries, from 1.
    pub attempt: u32,
    /// One that is not [`StepStatus::Pending`], [`StepStatus::Approved`] or [`StepStatus::Started`].
    pub status: StepStatus,
    /// What came back, as JSON text.
    pub observation: Option<String>,
    /// What the model said before it called tools.
    pub thought: Option<String>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// What is paid for a call to a model.
    pub charge: Charge,
    /// The model that answered, where it said so.
    pub response_model: Option<String>,
    /// How long it took.
    pub latency: Duration,
}

/// What is paid for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// Nothing: it was no call to a model, or was refused before anybody worked on it.
    Nothing,
    /// What its provider counted.
    Counted(Usage),
    /// What was reserved, because nobody knows.
    Reserved,
}

/// One atomic step of an attempt: what came of the step before, and the next one.
#[derive(Debug, Clone)]
pub struct StepWrite {
    /// The activation.
    pub key: ActivationKey,
    /// Its claim number.
    pub claim: u32,
    /// What is over.
    pub finished: Option<StepResult>,
    /// What comes next.
    pub begin: Option<StepIntent>,
    /// Log rows.
    pub events: Vec<NewEvent>,
}

/// What became of a write.
#[derive(Debug, Clone)]
pub enum StepAnswer {
    /// The activation is not (any more) running under this lease with this claim number: nothing was written, and what
    /// the step did is settled as lost.
    Fenced,
    /// What was over is recorded.
    Written(Begun),
}

/// What became of the step that was to begin.
#[derive(Debug, Clone)]
pub enum Begun {
    /// There was none.
    Nothing,
    /// Its intent is durable, and what it may take is reserved.
    Started {
        /// Which of its tries it is, from 1: more than 1 when earlier ones were refused or lost.
        attempt: u32,
        /// Steps of earlier attempts of this activation that were found under way: they are lost now. Whoever gets them
        /// exports their spans.
        lost: Vec<LostStep>,
    },
    /// It waits for a decision now.
    Pending,
    /// Nothing was reserved: what other calls have reserved stands in the way, and will be settled.
    Contended,
    /// Nothing was reserved: a budget does not allow it.
    Exhausted(Exhausted),
    /// Nothing was reserved: money is limited and the model has no price.
    PriceUnknown,
}

/// A step as it is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedStep {
    /// Its number within the activation, from 1.
    pub seq: u32,
    /// Which of its tries, from 1.
    pub attempt: u32,
    /// What it does.
    pub kind: StepKind,
    /// The model or the tool.
    pub name: String,
    /// Where it is in its life.
    pub status: StepStatus,
    /// SHA-256 of what was, or is to be, sent.
    pub digest: Vec<u8>,
    /// What a tool was called with, as JSON text.
    pub arguments: Option<String>,
    /// What came back, as JSON text.
    pub observation: Option<String>,
    /// What the model said before it called tools.
    pub thought: Option<String>,
    /// Why it failed, or was denied.
    pub error: Option<Failure>,
    /// Tokens, of a call to a model whose provider counted them.
    pub usage: Option<Usage>,
    /// What it cost; absent where the model has no price.
    pub cost: Option<NanoDollars>,
    /// How long it took.
    pub latency: Option<Duration>,
    /// Its span.
    pub span: SpanId,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When the decision about it is due, if it waits for one.
    pub expires_at: Option<DateTime<Utc>>,
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

/// Who asks for a start at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateRequest {
    /// The provider: a name that the operator has given. One fleet shares its limits, whoever's run it is.
    pub provider: Arc<str>,
    /// Calls that it takes a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens that it takes a minute.
    pub tokens_per_minute: Option<u64>,
    /// Tokens that the call may take at most.
    pub tokens: u64,
}

/// What workers write while an attempt is under way.
#[async_trait]
pub trait StepStore: Send + Sync + 'static {
    /// Everything that is recorded of the steps of this activation, by number and try. MUST start after the claim of
    /// the attempt that asks has returned.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn recorded_steps(&self, key: &ActivationKey) -> Result<Vec<RecordedStep>, StoreError>;

    /// Writes a batch, each in one atomic step, in order of the batch: records what is over, settles what it had
    /// reserved, writes its row of the costs, then reserves what the next step may take at most and writes its intent.
    /// All of it is fenced by lease and claim number, sets the deadline of the row anew by its timeout, and clears what
    /// a crash has made suspicious. Returns one answer for each, in order. No activation may occur twice.
    ///
    /// A reservation is granted if every budget that holds for the run (its own, and the organization's for the day and
    /// the month) has room for it beside what is spent and what is reserved by others: never more is granted than fits.
    /// What is over is recorded whether or not the next step may begin. The first write that takes a budget past
    /// [`WARNING_PERCENT`] logs `budget.warning`.
    ///
    /// Steps of an earlier claim of the activation that are [`StepStatus::Started`] when a step begins are lost: they
    /// are settled in full, with a row of the costs that says `estimated`.
    ///
    /// A crash behind it leaves an intent without a result, which whoever takes the node up finds.
    ///
    /// # Errors
    /// See [`StoreError`]. Repeating a batch whose reply was lost answers the same: a step that is started under the same
    /// claim with the same span was started by it.
    async fn write_steps(
        &self,
        lease: LeaseId,
        batch: &[StepWrite],
    ) -> Result<Vec<StepAnswer>, StoreError>;

    /// Settles steps that are [`StepStatus::Started`] though the claim that made them does not run any more, as
    /// [`StepStatus::Lost`]: in full, with a row of the costs that says `estimated`. At most [`LOST_STEPS_MAX`]. Whoever
    /// gets one exports its span. MUST NOT wait for what somebody holds.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn lose_steps(&self) -> Result<Vec<LostStep>, StoreError>;

    /// Grants each of these calls a time at which it may start, from now: no two share what the provider takes. What was
    /// granted is not taken back; who does not use it has wasted it.
    ///
    /// # Errors
    /// See [`StoreError`]. A call whose reply was lost has wasted what it was granted.
    async fn grant_starts(&self, batch: &[RateRequest]) -> Result<Vec<Duration>, StoreError>;
}
