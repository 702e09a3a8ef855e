//! What workers write while an attempt is under way: the steps of nodes that must not repeat what they have done.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StoreError;
use super::engine::NewEvent;
use crate::domain::budget::{Exhausted, OnExhausted, Wish};
use crate::domain::failure::Failure;
use crate::domain::ids::{ActivationKey, LeaseId};
use crate::domain::limits::OUTPUT_BYTES_MAX;
use crate::domain::money::{NanoDollars, Price};
use crate::domain::rate::RateShare;
use crate::domain::step::{LostStep, StepKind, StepStatus};
use crate::domain::trace::SpanId;
use crate::domain::usage::Usage;

/// Bytes of what one step is given. As much as a run's input may have: a transcript is made of many of them.
pub const STEP_BYTES_MAX: usize = 256 * 1024;
/// Bytes of what one step yields. As much as a node may: the longest answer that a model may be asked for fits.
pub const STEP_RESULT_BYTES_MAX: usize = OUTPUT_BYTES_MAX;
/// Steps of one activation. An agent that needs more has lost its way.
pub const STEPS_MAX: u32 = 1_000;
/// Bytes of all that the steps of one activation hold. It is read whole when the node is taken up again.
pub const JOURNAL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Writes of one batch at most. Each locks the totals of its organization, which others wait for.
pub const STEP_BATCH_MAX: usize = 128;
/// Tokens that one call counts as at most. Totals of many of them still fit into 64 bits.
pub(super) const RESERVED_MAX: u64 = i64::MAX.unsigned_abs() >> 10;
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
    /// It is not made but waits for a decision for so long, unless somebody has allowed an earlier try of it with the same
    /// digest: its status becomes [`StepStatus::Pending`]. Nothing is reserved. A step that waits already keeps its time.
    pub decision_within: Option<Duration>,
}

/// What a call to a model may take at most.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Who is called.
    pub provider: Arc<str>,
    /// The model that is asked for.
    pub model: Arc<str>,
    /// What it costs at most. What has no price costs nobody knows what.
    pub price: Option<Price>,
    /// Tokens of the input at most.
    pub input_tokens: u64,
    /// Tokens of the output at most.
    pub output_tokens: u64,
}

impl StepIntent {
    /// What it takes of a budget at most; `is_first` of a step of which no try was counted.
    pub(super) fn wish(&self, is_first: bool) -> Wish {
        let steps = u64::from(is_first);
        match &self.reservation {
            None => Wish { nanos: Some(0), tokens: 0, steps },
            Some(reservation) => {
                let nanos = reservation.nanos().map(|nanos| nanos.0.unsigned_abs());
                let (input, output) = reservation.tokens();
                Wish { nanos, tokens: input + output, steps }
            }
        }
    }
}

impl Reservation {
    /// Tokens of the input and of the output that it counts as.
    pub(super) fn tokens(&self) -> (u64, u64) {
        let input = self.input_tokens.min(RESERVED_MAX);
        (input, self.output_tokens.min(RESERVED_MAX - input))
    }

    /// What the call may cost at most.
    pub(super) fn nanos(&self) -> Option<NanoDollars> {
        let most = |price: Price| price.at_most(self.input_tokens, self.output_tokens);
        self.price.map(|price| most(price).max(NanoDollars::ZERO))
    }
}

impl StepWrite {
    /// Refuses what no store holds.
    ///
    /// # Errors
    /// [`StoreError::Data`].
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let refused = |what: String| Err(StoreError::Data(what.into()));
        let finished = self.finished.as_ref().map(|finished| finished.observation.as_deref());
        let begin = self.begin.as_ref().map(|begin| begin.arguments.as_deref());
        for (text, most) in [(finished, STEP_RESULT_BYTES_MAX), (begin, STEP_BYTES_MAX)] {
            if let Some(text) = text.flatten().filter(|text| text.len() > most) {
                return refused(format!("a step of {} bytes, of at most {most}", text.len()));
            }
        }
        match &self.begin {
            Some(begin) if !(1..=STEPS_MAX).contains(&begin.seq) => {
                refused(format!("a step with the number {}, of at most {STEPS_MAX}", begin.seq))
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the values that it writes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let size = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let finished = self
            .finished
            .as_ref()
            .map_or(0, |result| size(&result.observation) + size(&result.thought));
        let begin = self.begin.as_ref().map_or(0, |intent| size(&intent.arguments));
        let events = self.events.iter().map(|event| event.message.len() + size(&event.data));
        finished + begin + events.sum::<usize>()
    }
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
    /// What it was settled at where the price depends on what its provider has counted: from the same table as the price
    /// that it was reserved at, whose place it takes. Absent where that one holds.
    pub price: Option<Price>,
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
    /// What comes next. It may be another try of what is over.
    pub begin: Option<StepIntent>,
    /// Log rows. They are written along with the recording of what is over; if nothing is, with the beginning of what
    /// comes next; and in any case if there is neither. So a repeated call writes none a second time, and what may not
    /// begin leaves none.
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
    /// It waits for a decision.
    Pending,
    /// Nothing was begun, because of what the step is already: [`StepStatus::Denied`] (somebody has forbidden it, or
    /// nobody has allowed it in time), done ([`StepStatus::is_final`]), or [`StepStatus::Pending`] or
    /// [`StepStatus::Approved`] with another digest: nobody's decision is about what would be sent now.
    Over(StepStatus),
    /// Nothing was reserved: what other calls have reserved stands in the way, and will be settled.
    Contended,
    /// Nothing was reserved: a budget does not allow it, and this is what the run's says of that.
    Exhausted(Exhausted, OnExhausted),
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
    /// Tokens that it was settled for: those that were counted, or what was reserved where nobody has counted. Of one that
    /// is under way, what it has reserved.
    pub charged: Usage,
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

/// Steps that were settled as lost.
#[derive(Debug, Clone, Default)]
pub struct LostSteps {
    /// Those.
    pub steps: Vec<LostStep>,
    /// Organizations of which some were left, because somebody held their totals.
    pub held: Vec<String>,
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

impl Charge {
    /// The same without counts that cannot be: what a provider says is not to break the sums of others.
    pub(super) fn bounded(self) -> Self {
        let Self::Counted(usage) = self else { return self };
        Self::Counted(Usage {
            input_tokens: usage.input_tokens.min(RESERVED_MAX),
            cached_tokens: usage.cached_tokens.min(RESERVED_MAX),
            cache_write_tokens: usage.cache_write_tokens.min(RESERVED_MAX),
            output_tokens: usage.output_tokens.min(RESERVED_MAX),
        })
    }
}

impl RateRequest {
    /// What the call takes of the provider's time.
    pub(super) fn share(&self) -> RateShare {
        RateShare::of(self.requests_per_minute, self.tokens_per_minute, self.tokens)
    }
}

impl StepResult {
    /// What the model said, as every store can hold it.
    pub(super) fn shown_thought(&self) -> Option<String> {
        self.thought.as_deref().map(without_nul)
    }

    /// The model that answered, as every store can hold it.
    pub(super) fn shown_response_model(&self) -> Option<String> {
        self.response_model.as_deref().map(without_nul)
    }
}

/// PostgreSQL cannot hold NUL in a text, and models are free to say it.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// What workers write while an attempt is under way.
#[async_trait]
pub trait StepStore: Send + Sync + 'static {
    /// Everything that is recorded of the steps of this activation, by number and try. MUST start after the claim of
    /// the attempt that asks has returned.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Data`] if they hold more than [`JOURNAL_BYTES_MAX`].
    async fn recorded_steps(&self, key: &ActivationKey) -> Result<Vec<RecordedStep>, StoreError>;

    /// Writes a batch, each in one atomic step, in order of the batch: records what is over, settles what it had
    /// reserved, writes its row of the costs, then reserves what the next step may take at most and writes its intent.
    /// All of it is fenced by lease and claim number, sets the deadline of the row anew by its timeout, and clears what
    /// a crash has made suspicious. Returns one answer for each, in order. No activation may occur twice.
    ///
    /// A reservation is granted if every budget that holds for the run (its own, and the organization's for the day and
    /// the month) has room for it beside what is spent and what is reserved by others: never more is granted than fits
    /// ([`judge`](crate::domain::budget::judge)). What a provider counts may be more than was reserved, and is recorded as
    /// it is: a budget may be over by that. A step counts with the first of its tries. What is over is recorded whether
    /// or not the next step may begin. The first write after which [`WARNING_PERCENT`] of a budget are spent logs
    /// `budget.warning`, once until the budget is set anew.
    ///
    /// Steps of an earlier claim of the activation that are [`StepStatus::Started`] when a step begins are lost, and so
    /// is an unfinished try of the very step: they are settled in full, with a row of the costs that says `estimated`.
    ///
    /// A batch should have at most [`STEP_BATCH_MAX`] writes. A write whose step has a number beyond [`STEPS_MAX`], or
    /// more than [`STEP_BYTES_MAX`] of arguments or [`STEP_RESULT_BYTES_MAX`] of an observation, is one that the store
    /// cannot hold.
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

    /// What the budgets say of a step that is to begin: [`Begun::Nothing`] if they have room for it, and otherwise what
    /// [`StepStore::write_steps`] would answer. Nothing is begun and nothing reserved, so that they may say something else
    /// when it begins. MUST NOT wait for what somebody holds.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn room_for(&self, key: &ActivationKey, intent: &StepIntent)
    -> Result<Begun, StoreError>;

    /// Settles steps that are [`StepStatus::Started`] though the claim that made them does not run any more, as
    /// [`StepStatus::Lost`]: in full, with a row of the costs that says `estimated`. At most [`LOST_STEPS_MAX`]. Whoever
    /// gets one exports its span.
    ///
    /// Of everybody's, it MUST NOT wait for what somebody holds: it leaves that and says whose it is. What is left MUST NOT
    /// keep others from being settled, however often it is left. Of one organization's (`waits_for`), it waits its turn at
    /// that organization's totals, so that a step of it is settled in the end though there be somebody at them at any time.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Locked`] if it waited for too long: nothing was settled then.
    async fn lose_steps(&self, waits_for: Option<&str>) -> Result<LostSteps, StoreError>;

    /// Grants each of these calls a time at which it may start, from now: no two share what the provider takes. What was
    /// granted is not taken back; who does not use it has wasted it. `None` for a call that would have to wait for more
    /// than an hour ([`AHEAD_MAX`](crate::domain::rate::AHEAD_MAX)): it is granted nothing and takes nothing.
    ///
    /// # Errors
    /// See [`StoreError`]. A call whose reply was lost has wasted what it was granted.
    async fn grant_starts(
        &self,
        batch: &[RateRequest],
    ) -> Result<Vec<Option<Duration>>, StoreError>;
}
