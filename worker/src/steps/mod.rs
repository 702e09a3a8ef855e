//! Steps: what a node does that must not be done or paid for again after a crash, one after the other.
//!
//! What a step has come to is written down together with the intent of the next one, or by `Steps::flush`; its span is
//! exported when that has happened, so that the sum over spans is the sum over rows.

mod answer;
mod ask;
mod caller;
mod digest;
mod events;
mod failed;
mod record;
mod refusals;
mod totals;
mod without_budget;

#[cfg(test)]
pub(crate) mod test_doubles;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::run::RunHeader;
use skein_shared::domain::trace::SpanId;
use skein_shared::store::engine::NewEvent;
use skein_shared::store::steps::{Begun, RecordedStep, StepIntent, StepResult};
use skein_shared::telemetry::metrics::{self, FinishedStep};
use skein_shared::telemetry::{FinishedSpan, emit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::journal::{Journal, JournalError};

pub(crate) use answer::Answer;
pub(crate) use ask::{Asked, Deltas, Question};
pub use caller::ModelCaller;
pub(crate) use failed::CallFailed;
pub(crate) use record::observation;
pub(crate) use totals::Totals;
pub(crate) use without_budget::{contended, exhausted};

/// An attempt of a node that works in steps.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    /// The run.
    pub(crate) run: &'a Arc<RunHeader>,
    /// Which activation.
    pub(crate) key: &'a ActivationKey,
    /// What the spans of its steps stand below.
    pub(crate) parent: SpanId,
    /// Where its steps are written down.
    pub(crate) journal: &'a dyn Journal,
    /// When it began, by the database's clock.
    pub(crate) now: DateTime<Utc>,
    /// When it began, by this machine's.
    pub(crate) begun: Instant,
    /// How long it may take.
    pub(crate) timeout: Duration,
    /// How long a provider may put a step off that it has refused, from the first refusal on: the time of the node, also
    /// where a call has less.
    pub(crate) patience: Duration,
    /// What the node has waited for before it, if that was not a time alone.
    pub(crate) waited_for: Option<&'a Value>,
    /// Ends it.
    pub(crate) cancelled: &'a CancellationToken,
}

impl Site<'_> {
    /// The moment by the database's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.now + TimeDelta::from_std(self.begun.elapsed()).unwrap_or_default()
    }

    /// The time that the attempt has left.
    fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.begun.elapsed())
    }

    /// A log row of the node, below a span. It MUST hold no prompts, answers, arguments or observations.
    pub(crate) fn event(
        &self,
        span: SpanId,
        level: &'static str,
        event: &'static str,
        message: &str,
        facts: &Value,
    ) -> NewEvent {
        NewEvent {
            node: Some(self.key.node.clone()),
            scope: Some(self.key.scope.clone()),
            level,
            event,
            // PostgreSQL cannot hold NUL in text.
            message: message.replace('\0', "\u{fffd}"),
            data: Some(facts.to_string()),
            span: Some(span),
        }
    }

    /// The key that outside systems may deduplicate a step by: the same for all its tries.
    pub(crate) fn idempotency_key(&self, step: u32) -> String {
        format!("{}_{step}", self.key.idempotency_key())
    }
}

/// The steps of an activation, in the hands of one attempt of it.
pub(crate) struct Steps<'a> {
    pub(crate) site: Site<'a>,
    /// What earlier attempts have left, by number.
    recorded: BTreeMap<u32, Vec<RecordedStep>>,
    /// The number of the step that is to be made.
    next: u32,
    /// What is over and not yet written down.
    over: Option<Over>,
    totals: Totals,
}

/// A step that is over.
struct Over {
    result: StepResult,
    events: Vec<NewEvent>,
    told: Told,
}

/// What telemetry is told of a step once it is written down.
pub(crate) struct Told {
    pub(crate) span: FinishedSpan,
    pub(crate) counted: FinishedStep,
}

impl<'a> Steps<'a> {
    /// Reads what earlier attempts have left.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(crate) async fn open(site: Site<'a>) -> Result<Self, JournalError> {
        let mut recorded: BTreeMap<u32, Vec<RecordedStep>> = BTreeMap::new();
        let mut totals = Totals::default();
        for step in site.journal.recorded().await? {
            totals.add_recorded(&step);
            recorded.entry(step.seq).or_default().push(step);
        }
        Ok(Self { site, recorded, next: 1, over: None, totals })
    }

    /// The number of the step that is to be made.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// What all tries of all steps took, those of earlier attempts included.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// What is recorded of the step that is to be made, if it was made: it MUST NOT be made again. The one after it is
    /// to be made then.
    pub(crate) fn replay(&mut self) -> Option<RecordedStep> {
        let step = self.tries().iter().find(|step| step.status.is_final())?.clone();
        self.next += 1;
        Some(step)
    }

    /// Earlier tries of the step that is to be made.
    pub(crate) fn tries(&self) -> &[RecordedStep] {
        self.recorded.get(&self.next).map(Vec::as_slice).unwrap_or_default()
    }

    /// Writes down what is over and the intent of the step that is to be made, which MUST have its number.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(crate) async fn begin(&mut self, intent: StepIntent) -> Result<Begun, JournalError> {
        debug_assert_eq!(intent.seq, self.next, "steps are made in order");
        let begun = self.write(Some(intent), Vec::new()).await?;
        if let Begun::Started { lost, .. } = &begun {
            for step in lost {
                self.totals.add_lost(step);
            }
        }
        Ok(begun)
    }

    /// Remembers what the step that is under way has come to, until the next [`Steps::begin`] or [`Steps::flush`].
    /// Unless its status says that it is still to be made, the one after it is to be made then.
    pub(crate) fn finish(&mut self, result: StepResult, events: Vec<NewEvent>, told: Told) {
        debug_assert!(self.over.is_none(), "one step at a time is under way");
        debug_assert_eq!(result.seq, self.next, "steps are made in order");
        if result.status.is_final() {
            self.next += 1;
        }
        self.over = Some(Over { result, events, told });
    }

    /// Writes down what is over. MUST be called before the attempt ends.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(crate) async fn flush(&mut self) -> Result<(), JournalError> {
        match self.over {
            Some(_) => self.write(None, Vec::new()).await.map(drop),
            None => Ok(()),
        }
    }

    /// Writes down what is over, and log rows.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub(crate) async fn log(&mut self, events: Vec<NewEvent>) -> Result<(), JournalError> {
        self.write(None, events).await.map(drop)
    }

    async fn write(
        &mut self,
        begin: Option<StepIntent>,
        mut events: Vec<NewEvent>,
    ) -> Result<Begun, JournalError> {
        let (finished, told) = match self.over.take() {
            Some(over) => {
                events.splice(0..0, over.events);
                (Some(over.result), Some(over.told))
            }
            None => (None, None),
        };
        let begun = self.site.journal.write(finished, begin, events).await?;
        // Where the write was not taken, the step counts as lost, and whoever settles it tells of it.
        if let Some(Told { span, counted }) = told {
            metrics::step_finished(&counted);
            emit(span);
        }
        Ok(begun)
    }
}
