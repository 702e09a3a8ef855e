//! The store: the truth about every run.
//!
//! Few verb-shaped methods; one method is one atomic step over a batch, and no transaction handle
//! appears in a signature. A batch either happens as a whole or not at all; what a guard refuses
//! is reported item by item and is no error. Calls are safe to drop at any await: hot-path writes
//! are single autocommit statements made by tasks that their callers cannot cancel ([`crate::batcher`]).
//!
//! After an error of kind [`StoreError::Unavailable`] the outcome of a write is unknown. Every write
//! can be repeated: a repeated claim or commit finds its own lease and claim number on the row and
//! reports what the first one did.

use async_trait::async_trait;

use crate::domain::ids::RunId;

pub mod analysis;
mod clock;
mod costs;
pub mod engine;
pub mod fleet;
pub mod keys;
mod listing;
mod log_entry;
pub mod log_filter;
mod migrations;
pub mod monitoring;
mod open;
mod reason;
pub mod recovery;
mod row_values;
mod rows;
pub mod runs;
mod schema;
pub mod spending;
mod start;
mod step_views;
pub mod steps;
mod timing;
mod trace_views;
pub mod traces;
mod views;
pub mod workflows;

pub mod postgres;
pub mod sqlite;

pub use analysis::AnalysisStore;
pub use clock::DatabaseClock;
pub use engine::EngineStore;
pub use fleet::FleetStore;
pub use keys::{KeyAdmin, KeyStore};
pub use monitoring::MonitoringStore;
pub use open::open;
pub use recovery::RecoveryStore;
pub use runs::RunStore;
pub use schema::SchemaMismatch;
pub use spending::SpendingStore;
pub use start::StoreWait;
pub use steps::StepStore;
pub use traces::TraceStore;
pub use workflows::WorkflowStore;

/// Everything a store can do. The parts are separate contracts, so that each side sees what it uses.
pub trait Store:
    KeyStore
    + KeyAdmin
    + WorkflowStore
    + RunStore
    + EngineStore
    + RecoveryStore
    + StepStore
    + SpendingStore
    + MonitoringStore
    + FleetStore
    + TraceStore
    + AnalysisStore
    + Admin
{
}

impl<T> Store for T where
    T: KeyStore
        + KeyAdmin
        + WorkflowStore
        + RunStore
        + EngineStore
        + RecoveryStore
        + StepStore
        + SpendingStore
        + MonitoringStore
        + FleetStore
        + TraceStore
        + AnalysisStore
        + Admin
{
}

/// What operators and start-up need.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// Brings the schema to the version of this program. Safe to run from many processes at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store is out of reach, with the reason;
    /// [`StoreError::Schema`] when it holds a schema of a later version; [`StoreError::Setup`] when something in between
    /// hands connections out for less than a session, over which nothing can be worked with.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Whether the schema is this program's, for one that is not to migrate. Changes nothing; a store whose opening
    /// has brought the schema up to date only answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store is out of reach, with the reason;
    /// [`StoreError::Schema`] when there is no schema or one of another version; [`StoreError::Setup`] as for
    /// [`Self::migrate`].
    async fn check_schema(&self) -> Result<(), StoreError>;

    /// Whether the store answers and takes writes.
    ///
    /// # Errors
    /// When it does not.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Makes every open row of these runs that waits for a time due now, and says how many there were: for a run that
    /// should not wait any longer, and for tests, which use it instead of time.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn make_due(&self, runs: &[RunId]) -> Result<u64, StoreError>;

    /// Closes all connections. Idempotent.
    async fn close(&self);
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Out of reach, overloaded, shutting down or in conflict with somebody: worth repeating.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The statement took longer than it may and changed nothing. Worth repeating, in smaller parts: a batcher splits
    /// the batch.
    #[error("the store took too long over a statement")]
    TooSlow(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Somebody else holds a row that the statement needs, and did not let go of it in time. The statement changed
    /// nothing. Worth repeating, apart from what does not need that row: a batcher splits the batch.
    #[error("somebody else has locked what the statement needs")]
    Locked(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A value in the batch is one that the store cannot hold. The batch changed nothing; a batcher
    /// splits it to find the culprit.
    #[error("the store cannot hold a value")]
    Data(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something that an operator has to mend before anything can work, such as an address that cannot be used. Holds no
    /// secret.
    #[error("{0}")]
    Setup(String),
    /// The schema is not this program's.
    #[error("{0}")]
    Schema(SchemaMismatch),
    /// A row that cannot be read, or a statement that does not fit the schema: an internal error.
    #[error("the store and the program disagree: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether repeating the call may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TooSlow(_) | Self::Locked(_))
    }
}

/// A page of a listing, newest first unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Rows at most; between 1 and [`crate::domain::limits::PAGE_MAX`].
    pub limit: u32,
    /// The `next_cursor` of the page before; opaque to callers.
    pub cursor: Option<String>,
}

/// What a page holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page starts; absent on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page out of the rows of a query that asked for one row more than the page holds: that
    /// row shows whether there is a next page.
    pub(crate) fn cut(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(cursor);
        Self { items, next_cursor }
    }
}
