//! The journal of an attempt: what a node that works in steps writes down on the way, so that no step is done or paid
//! for again after a crash.

use std::time::Duration;

use async_trait::async_trait;
pub use skein_shared::store::engine::NewEvent;
pub use skein_shared::store::steps::{
    Begun, Charge, JOURNAL_BYTES_MAX, RateRequest, RecordedStep, STEP_BYTES_MAX,
    STEP_RESULT_BYTES_MAX, STEPS_MAX, StepIntent, StepResult,
};

/// Why nothing could be written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The activation is somebody else's by now. Whatever the attempt comes to is ignored.
    #[error("the activation was taken from this worker")]
    Fenced,
    /// The store did not take it.
    #[error("the journal could not be written: {0}")]
    Store(String),
}

/// The journal of one attempt. Each method is one atomic step in the store; see
/// [`StepStore`](skein_shared::store::StepStore) for what a crash behind it means.
///
/// Nothing MUST be sent before [`Journal::write`] has answered [`Begun::Started`] for it. A call that is dropped may
/// have been written all the same; the attempt is over then.
#[async_trait]
pub trait Journal: Send + Sync {
    /// What is recorded of this activation's steps, by number and try; of earlier attempts, and of this one.
    ///
    /// # Errors
    /// See [`JournalError`].
    async fn recorded(&self) -> Result<Vec<RecordedStep>, JournalError>;

    /// Writes down what came of the step before, and the intent of the next one.
    ///
    /// # Errors
    /// See [`JournalError`].
    async fn write(
        &self,
        finished: Option<StepResult>,
        begin: Option<StepIntent>,
        events: Vec<NewEvent>,
    ) -> Result<Begun, JournalError>;

    /// What the budgets say of a step before it begins: [`Begun::Nothing`] if they have room for it. Nothing is reserved.
    ///
    /// # Errors
    /// See [`JournalError`].
    async fn room_for(&self, intent: &StepIntent) -> Result<Begun, JournalError>;

    /// Asks when a call may start at a provider that takes so many in a time. `None` if that is so far ahead that nothing
    /// was granted.
    ///
    /// # Errors
    /// See [`JournalError`].
    async fn start_in(&self, request: RateRequest) -> Result<Option<Duration>, JournalError>;

    /// Whether this worker gives the activation back, so that another attempt goes on from what is recorded: it stops, or
    /// has lost its lease. An attempt that is cancelled otherwise is one of a run that has ended.
    fn is_given_back(&self) -> bool;
}
