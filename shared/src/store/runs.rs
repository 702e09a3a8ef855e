//! Runs as the API sees them: accepted, read, cancelled.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::engine::NodeSpec;
use super::log_filter::LogFilter;
use super::spending::Spending;
use super::{Page, PageRequest, StoreError};
use crate::domain::budget::{NewBudget, RunBudget};
use crate::domain::failure::Failure;
use crate::domain::ids::{ActivationKey, RunId, VersionId};
use crate::domain::run::RunTrace;
use crate::domain::state::{NodeState, RunState};
use crate::domain::tenant::Identity;
use crate::domain::trace::{SpanId, TraceId};

/// A run that is to be accepted.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// Whose it is.
    pub identity: Identity,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The version that the caller planned the run by. It MUST still be the latest, unless it is `pinned`.
    pub version_id: VersionId,
    /// Whether that version was asked for by its number: then it MUST be there, and may be a draft.
    pub pinned: bool,
    /// The input as JSON text.
    pub input: String,
    /// Whether it is to stop before every node.
    pub step_mode: bool,
    /// The ids of its trace.
    pub trace: RunTrace,
    /// What `run.accepted` is logged under: the server span of the request, or the publish span where the request is
    /// not recorded and the run is.
    pub request_span: SpanId,
    /// The entry nodes.
    pub entries: Vec<NodeSpec>,
    /// What makes repeating the request harmless.
    pub idempotency: Option<Idempotency>,
    /// What it may spend, and until when.
    pub budget: NewBudget,
}

/// An `Idempotency-Key` and what it was sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key; unique within organization and workspace.
    pub key: String,
    /// SHA-256 of what the request asks for: workflow, input and options, however they are written.
    pub digest: [u8; 32],
}

/// What became of a run that was to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// It is durable: run, entry nodes and log row, in one commit.
    Accepted {
        /// The version's number.
        version: u32,
        /// When.
        created_at: DateTime<Utc>,
    },
    /// The key was used before, with the same request: this is the run that it made.
    Repeated(RunId),
    /// The key was used before, with another request. Nothing was written.
    KeyReused,
    /// The workflow has a newer version than the caller planned by, or that version or the workflow is gone. Nothing was
    /// written.
    Stale,
    /// The workflow is archived. Nothing was written.
    Archived,
}

/// Which runs a listing is to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Runs of this workflow only.
    pub workflow: Option<String>,
    /// Runs in one of these states only; in any if there are none. Each once, in the order of [`RunState::ALL`].
    pub states: Vec<RunState>,
    /// Runs only that are in this trace or were in it before.
    pub trace: Option<TraceId>,
    /// Runs accepted at or after this time only.
    pub created_after: Option<DateTime<Utc>>,
    /// Runs accepted before this time only.
    pub created_before: Option<DateTime<Utc>>,
    /// Runs that have ended, at or after this time only.
    pub ended_after: Option<DateTime<Utc>>,
    /// Runs that have ended, before this time only.
    pub ended_before: Option<DateTime<Utc>>,
}

/// A run in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// The run.
    pub id: RunId,
    /// The workflow's name.
    pub workflow: String,
    /// The version that it is pinned to.
    pub version: u32,
    /// Where it is in its life.
    pub state: RunState,
    /// Whether somebody asked for it to be cancelled, and it has not ended yet.
    pub cancelling: bool,
    /// Whether it stops before every node.
    pub step_mode: bool,
    /// Who started it.
    pub user: String,
    /// Why it did not succeed.
    pub error: Option<Failure>,
    /// The ids of the trace that it has now.
    pub trace: RunTrace,
    /// Which segment of the run that trace shows, from 1.
    pub segment: u32,
    /// When that segment began, unless it is the first.
    pub resumed_at: Option<DateTime<Utc>>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When the first node was claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// A run, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct RunDetail {
    /// What a listing shows.
    pub summary: RunSummary,
    /// The input as JSON text.
    pub input: String,
    /// The output as JSON text, once it succeeded.
    pub output: Option<String>,
    /// Its activations, in the order in which they became known; `__end__` is left out.
    pub nodes: Vec<NodeRun>,
    /// Its segments that are over, the first one first: each has a trace of its own.
    pub earlier: Vec<Segment>,
    /// What it has spent: a run that is shown ended is shown with all that its commits had counted by then.
    pub spent: Spending,
    /// What it may spend.
    pub budget: RunBudget,
    /// Whether it is open, does not wait of its own, and nobody could work at it: no worker lives.
    pub no_worker: bool,
}

/// A segment of a run that is over: the run went on in another trace after a long wait.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Its number, from 1.
    pub number: u32,
    /// Its trace.
    pub trace: TraceId,
    /// `workflow.execute` in it.
    pub root: SpanId,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Since when everything waited.
    pub suspended_at: DateTime<Utc>,
}

/// An activation as users see it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRun {
    /// The node's id.
    pub node: String,
    /// The repetition of it.
    pub scope: String,
    /// Its kind.
    pub kind: String,
    /// Where it is in its life.
    pub state: NodeState,
    /// How often it was started.
    pub attempts: u32,
    /// Its rendered parameters as JSON text, once known.
    pub input: Option<String>,
    /// Its output as JSON text.
    pub output: Option<String>,
    /// Whether it has an input or output that was left out, because with those of the nodes before it that would have
    /// been more than was asked for.
    pub omitted: bool,
    /// Its error.
    pub error: Option<Failure>,
    /// The trace of that span; before the first attempt, the one that the run has now.
    pub trace: TraceId,
    /// The span of its latest attempt.
    pub span: Option<SpanId>,
    /// The worker of its latest attempt, as `host:pid`; nothing where a program made it that did not note it.
    pub worker: Option<String>,
    /// When it became runnable.
    pub queued_at: Option<DateTime<Utc>>,
    /// When its latest attempt started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it is due, while it waits for a time.
    pub wake_at: Option<DateTime<Utc>>,
    /// What it waits for, as JSON text, while that is not a time alone.
    pub waiting_for: Option<String>,
    /// Attempts before the latest one.
    pub earlier: Vec<EarlierAttempt>,
    /// Whether they were left out, because with those of the nodes before it there would have been more than
    /// [`RUN_ATTEMPTS_MAX`](crate::domain::limits::RUN_ATTEMPTS_MAX).
    pub attempts_omitted: bool,
}

/// An attempt that did not end its node.
#[derive(Debug, Clone, PartialEq)]
pub struct EarlierAttempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// How it ended: `retry`, `waiting`, `released` or `crashed`.
    pub outcome: String,
    /// What went wrong, if anything did.
    pub error: Option<Failure>,
    /// The trace of its span.
    pub trace: TraceId,
    /// Its span.
    pub span: Option<SpanId>,
    /// Its worker, as `host:pid`, likewise.
    pub worker: Option<String>,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
}

/// A row of `event_logs`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRow {
    /// Its position.
    pub id: i64,
    /// The cursor of a page that starts behind it.
    pub cursor: String,
    /// When the thing happened.
    pub at: DateTime<Utc>,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// A stable dotted word: `run.accepted`, `node.failed` ...
    pub event: String,
    /// What happened, for people.
    pub message: String,
    /// The node that it is about, if it is about one.
    pub node: Option<String>,
    /// The repetition of the node.
    pub scope: Option<String>,
    /// What goes with it, as JSON text.
    pub data: Option<String>,
    /// The trace that the run had then.
    pub trace: TraceId,
    /// The span that it belongs to.
    pub span: SpanId,
}

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// Asked for, now or before; the run will end soon.
    Requested,
    /// It had ended already.
    AlreadyEnded(RunState),
}

/// Runs as the API sees them.
#[async_trait]
pub trait RunStore: Send + Sync + 'static {
    /// Accepts a batch: for each run, its row, its entry nodes (`queued`, due for the sweeper in 30 s
    /// should their message get lost) and a `run.accepted` log row become durable together. Returns one
    /// outcome for each run, in order. Where two runs of a batch carry the same key, one wins. A draft that a run is
    /// accepted of is never pruned.
    ///
    /// # Errors
    /// See [`StoreError`]. Repeating a batch whose reply was lost reports the runs that it had
    /// accepted as accepted.
    async fn accept_runs(&self, batch: &[NewRun]) -> Result<Vec<Acceptance>, StoreError>;

    /// The run that the same request with the same key has made before. For requests that are not to be
    /// accepted, such as one whose input no longer fits the schema: repeating it must stay harmless.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn find_repeated(
        &self,
        tenant: &Identity,
        idempotency: &Idempotency,
    ) -> Result<Option<RunId>, StoreError>;

    /// Runs, newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list_runs(
        &self,
        tenant: &Identity,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<Page<RunSummary>, StoreError>;

    /// One run with its activations, as of one moment. Inputs and outputs of activations are there as
    /// long as they and those before them add up to `shown` bytes; each activation whose own are left out
    /// is marked as `omitted`. The run's own input and output are always there. Earlier attempts are, too, up to
    /// [`RUN_ATTEMPTS_MAX`](crate::domain::limits::RUN_ATTEMPTS_MAX) of them: however many a run has, what is read of
    /// it has a bound.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn find_run(
        &self,
        tenant: &Identity,
        id: RunId,
        shown: usize,
    ) -> Result<Option<RunDetail>, StoreError>;

    /// One activation with its input, its output and all of its earlier attempts, or `None` if there is none: no such
    /// run, no such node, or the run has not come to it.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn find_node(
        &self,
        tenant: &Identity,
        key: &ActivationKey,
    ) -> Result<Option<NodeRun>, StoreError>;

    /// The log of a run, oldest first, or `None` if there is no such run. Following it page by page
    /// MUST NOT skip a row that commits late: a row is shown only when no older one can still appear.
    /// `next_cursor` is present on every page that is not empty, so that a follower can go on; also on an empty one that
    /// ends before the log does, because it has read very many rows that do not pass the filter.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn run_logs(
        &self,
        tenant: &Identity,
        id: RunId,
        filter: &LogFilter,
        page: &PageRequest,
    ) -> Result<Option<Page<LogRow>>, StoreError>;

    /// Asks for a run to be cancelled: sets its cancel request and makes it due for the finisher.
    /// `None` if there is no such run. Claims are refused from then on.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn request_cancel(
        &self,
        tenant: &Identity,
        id: RunId,
    ) -> Result<Option<Cancellation>, StoreError>;

    /// Which of these runs have ended. Not filtered by tenant: the caller accepted them itself.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn ended_runs(&self, ids: &[RunId]) -> Result<Vec<RunId>, StoreError>;
}
