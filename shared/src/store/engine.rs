//! What workers write: leases, claims, commits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{DatabaseClock, StoreError};
use crate::domain::failure::Failure;
use crate::domain::graph::NodeIx;
use crate::domain::ids::{
    ActivationKey, END_NODE, LeaseId, NodeKey, ROOT_SCOPE, RunId, Scope, SkipToken,
};
use crate::domain::outcome::AttemptOutcome;
use crate::domain::run::{AbandonedAttempt, EndedRun, RunHeader};
use crate::domain::state::NodeState;
use crate::domain::trace::{SpanId, TraceId};
use crate::workflow::plan::Plan;

/// What a row must know of its node, because whoever claims, sweeps or reaps it has no plan at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// The node.
    pub node: NodeKey,
    /// The repetition of it.
    pub scope: Scope,
    /// Its kind, or `end` for `__end__`.
    pub kind: &'static str,
    /// How long one attempt may take; the sweeper takes a row from a worker that holds it longer.
    pub timeout: Duration,
    /// The reserved id of the span that publishes its wake-up.
    pub publish_span: SpanId,
}

/// A worker process that starts to live.
#[derive(Debug, Clone)]
pub struct NewLease {
    /// Its fencing token.
    pub id: LeaseId,
    /// Host name, for people. Of a longer one, the first [`HOST_CHARS_MAX`](crate::domain::limits::HOST_CHARS_MAX)
    /// characters are kept.
    pub host: String,
    /// Process id, for people.
    pub pid: u32,
    /// Program version, for people.
    pub version: &'static str,
    /// Activations that it runs at a time.
    pub slots: u32,
    /// Without a heartbeat for this long, the lease is dead.
    pub ttl: Duration,
}

/// A request to run an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Which.
    pub key: ActivationKey,
    /// The span id that the attempt will have.
    pub span: SpanId,
}

/// What became of the request.
#[derive(Debug, Clone)]
pub enum Claim {
    /// The row is `running`, under this lease.
    Won(Box<Claimed>),
    /// The row is `skipping`: nothing was written; whoever asked commits the skip.
    Skip(Box<Skipping>),
    /// The row may have crashed a worker and this one runs another such row. It was deferred.
    Deferred,
    /// The row has been in [`CRASHES_IN_COMPANY_MAX`](crate::domain::limits::CRASHES_IN_COMPANY_MAX) crashes in a row,
    /// after which it is claimed only in a batch of its own, by a lease that holds nothing. It was deferred for half a
    /// minute, in which the worker may bring that about and ask again.
    Apart,
    /// The run has ended or is to end; the row is `cancelled` now.
    Cancelled,
    /// Nothing to do: claimed by somebody else, done, not due, or never there.
    Missed,
}

/// An activation that no live token reached.
#[derive(Debug, Clone)]
pub struct Skipping {
    /// The run.
    pub run: RunHeader,
    /// The database's clock when it was read.
    pub clock: DatabaseClock,
}

/// A claimed activation.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Which.
    pub key: ActivationKey,
    /// The run.
    pub run: RunHeader,
    /// The fence: every later write of this attempt names it.
    pub claim: u32,
    /// The span that was asked for.
    pub span: SpanId,
    /// Which attempt it is, from 1. Waits that were asked for do not count; crashes do.
    pub attempt: u32,
    /// Attempts before this one that failed: what the retry policy counts.
    pub failures: u32,
    /// Crashes of workers that ran nothing else, while it was suspected.
    pub strikes: u32,
    /// Crashes in a row: that it was running in since a commit of its own.
    pub crashes: u32,
    /// Whether an earlier attempt was lost in a crash, so that an unsafe effect may have happened.
    pub crashed: bool,
    /// Whether it may have crashed a worker: it starts as the only such row on this one.
    pub suspect: bool,
    /// When the wait that it asked for elapsed, if it had asked for one.
    pub waited_until: Option<DateTime<Utc>>,
    /// What it has waited for, as JSON text, if that was not a time alone.
    pub waited_for: Option<Arc<str>>,
    /// The span that published its wake-up.
    pub publish_span: SpanId,
    /// When it became runnable.
    pub queued_at: DateTime<Utc>,
    /// When it was claimed.
    pub started_at: DateTime<Utc>,
    /// The database's clock when the claim was answered; later than `started_at` if the reply to a first try was lost.
    pub clock: DatabaseClock,
    /// Whether this claim moved the run from `queued` to `running`.
    pub started_run: bool,
}

/// Which outputs a worker wants to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    /// The run.
    pub run: RunId,
    /// The scope.
    pub scope: Scope,
    /// Nodes whose outputs are wanted.
    pub outputs: Vec<NodeKey>,
    /// Nodes of which only state and span are wanted.
    pub spans: Vec<NodeKey>,
}

/// What is known of an ended node.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// The node.
    pub node: NodeKey,
    /// How it ended (or where it is).
    pub state: NodeState,
    /// Its output as JSON text, where it was asked for and there is one. All requests of a batch share it.
    pub output: Option<Arc<str>>,
    /// The span of its last attempt.
    pub span: Option<SpanId>,
    /// The trace of that span, if it is an earlier one than the run has now.
    pub trace: Option<TraceId>,
}

/// What one activation's ending (or parking) changes, all of it or nothing.
///
/// The first row is the fence: unless it flips, nothing else of the commit happens.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The row that flips.
    pub key: ActivationKey,
    /// The state that it must be in.
    pub from: CommitFrom,
    /// What became of the attempt, and so what the row becomes. Shared with whoever exports the attempt once this has
    /// happened.
    pub outcome: Arc<AttemptOutcome>,
    /// Rows that this commit alone decides: successors with one edge, joins that got all their
    /// tokens from this commit, skipped nodes, nodes that were inlined.
    pub rows: Vec<NewRow>,
    /// Tokens for joins that others deliver to as well.
    pub tokens: Vec<JoinTokens>,
    /// What it means for the run.
    pub run: RunChange,
    /// Log rows, in order. Rows about the start of a node or run are the store's own business.
    pub events: Vec<NewEvent>,
}

/// What the row must be for a commit to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFrom {
    /// `running`, under the committing lease, with this claim number.
    Running {
        /// The claim number.
        claim: u32,
    },
    /// `skipping`; whoever comes first.
    Skipping {
        /// Which skip of the row it is.
        token: SkipToken,
    },
}

/// A row that a commit writes.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRow {
    /// What it is.
    pub spec: NodeSpec,
    /// The span of the attempt, on rows that are claimed, parked or ended; unused on others.
    pub span: Option<SpanId>,
    /// What it starts as. In a run that has ended or is to end, open rows start as `cancelled`.
    pub state: NewRowState,
}

/// What a new row starts as.
#[derive(Debug, Clone, PartialEq)]
pub enum NewRowState {
    /// `queued`: for whoever gets the message.
    Queued,
    /// `running` under the committing lease, with claim number 1.
    Claimed,
    /// What became of a node in this commit itself: a pure one that was inlined and has ended or waits, or one that is
    /// skipped. MUST NOT be an outcome after which a new row could not be taken up: only what was claimed is tried
    /// again or deferred.
    Outcome(Arc<AttemptOutcome>),
}

impl From<AttemptOutcome> for NewRowState {
    fn from(outcome: AttemptOutcome) -> Self {
        Self::Outcome(Arc::new(outcome))
    }
}

/// Tokens for a join.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinTokens {
    /// The join.
    pub spec: NodeSpec,
    /// How many tokens it waits for in all.
    pub fan_in: u32,
    /// How many this commit delivers.
    pub arrived: u32,
    /// How many of those are live.
    pub live: u32,
    /// Whether it runs even with no live token (`__end__`).
    pub always: bool,
    /// If this commit delivers the last token and the join is to run: claim it at once for an
    /// attempt with this span.
    pub keep: Option<SpanId>,
}

/// What a commit means for its run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunChange {
    /// It goes on.
    None,
    /// It succeeds, unless it is to be cancelled. `__end__` has rendered this output, JSON text.
    Succeed {
        /// The output.
        output: String,
        /// Log rows that are written only if the run really succeeded.
        events: Vec<NewEvent>,
    },
    /// It fails: sets its cancel request in the same statement. The finisher ends it.
    Fail(Failure),
}

/// A log row that is to be written. Run, tenant and trace are filled in from the run's row.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The node that it is about.
    pub node: Option<NodeKey>,
    /// The repetition of the node.
    pub scope: Option<Scope>,
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// A stable dotted word.
    pub event: &'static str,
    /// What happened, for people.
    pub message: String,
    /// What goes with it, as JSON text.
    pub data: Option<String>,
    /// The span that it belongs to; the run's root span if absent.
    pub span: Option<SpanId>,
}

/// What became of a commit.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// Whether the first row flipped (now, or in a call whose reply was lost). If not, somebody else
    /// owns the row: nothing was written and the worker drops what it had.
    pub flipped: bool,
    /// Rows that this commit made `queued`, `skipping`, `running` or `cancelled`: those of
    /// [`Commit::rows`] that were to be queued or claimed, and those joins that got their last token here.
    pub activated: Vec<Activated>,
    /// The run, if this commit ended it.
    pub ended: Option<EndedRun>,
    /// Whether the run is to be cancelled or has failed: whoever sees this calls
    /// [`super::RecoveryStore::finish_runs`].
    pub finishing: bool,
}

/// A row that a commit made runnable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// The node.
    pub node: NodeKey,
    /// The repetition of it.
    pub scope: Scope,
    /// `queued` (publish it), `running` (it is the caller's), `skipping` (pass its dead tokens on) or `cancelled`.
    pub state: NodeState,
    /// The claim number, if it is the caller's.
    pub claim: u32,
    /// The span to publish it under, as stored on the row.
    pub publish_span: SpanId,
    /// The span of its attempt, if it is the caller's.
    pub span: Option<SpanId>,
}

/// Bytes of values that the answer to one batch carries at most; one request that needs more is answered alone. As much
/// as a batcher sends in one batch: a worker holds an answer whole, and each value in it once more for every request
/// that it is of.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What workers write.
#[async_trait]
pub trait EngineStore: Send + Sync + 'static {
    /// Starts a lease. A process may hold several. A store with a single owner has declared all leases
    /// of earlier processes dead when it was opened; this declares none dead.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn open_lease(&self, lease: &NewLease) -> Result<(), StoreError>;

    /// Proves that the lease lives, with `busy` of its slots in use. Returns when that was heard, by the store's clock, or
    /// `None` if it lives no more.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn heartbeat(
        &self,
        lease: LeaseId,
        busy: u32,
    ) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Those of these runs that have ended or are to end: their work is to stop.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn runs_over(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError>;

    /// Releases rows that the lease holds without its worker knowing (a lost reply), and returns their attempts: those claimed
    /// until `claimed_until` that are not among `held`, unless somebody has locked them. `held` is every activation that
    /// the worker, at a moment after that, holds or has asked for, or asks a commit to keep. This may be a walk past
    /// everything that the lease has ever run.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn release_strays(
        &self,
        lease: LeaseId,
        held: &[ActivationKey],
        claimed_until: DateTime<Utc>,
    ) -> Result<Vec<AbandonedAttempt>, StoreError>;

    /// Ends a lease in good order and releases what it still holds, without suspecting anybody; returns the attempts that
    /// this takes. Repeated after an error, it does not return those again that it had released before. `begun` are the
    /// activations among them whose effect may have happened: their attempt counts, and they are marked as
    /// crashed, so that an unsafe effect is not repeated. The others are as if they had never been claimed.
    ///
    /// A worker closes a lease that it has lost as well, once it can: what nobody took back meanwhile was in no
    /// crash.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn close_lease(
        &self,
        lease: LeaseId,
        begun: &[ActivationKey],
    ) -> Result<Vec<AbandonedAttempt>, StoreError>;

    /// Claims a batch for a lease, which MUST live: a claim that comes later than that misses everything, without
    /// touching it. A claim is won only by a row that is `queued` in a run that is
    /// neither ended nor to end; it grows the claim number, notes the worker of the lease as `host:pid` (as every commit does
    /// that begins an attempt), takes notice of what came from outside, resets the sweeper's back-off, writes
    /// `node.started`, and for the first claim of a run moves that to `running` and writes
    /// `run.started`. At most one row that is suspected of having crashed a worker is claimed, and
    /// only with `take_suspect`; others are deferred for some seconds. No key may occur twice.
    ///
    /// Returns outcomes in order, of as many requests from the first on as the inputs of their runs fit into
    /// [`ANSWER_BYTES_MAX`], the input of each run counted once, but of one at least. The rows of the others are as they
    /// were.
    ///
    /// # Errors
    /// See [`StoreError`]. Repeating a batch whose reply was lost wins the same rows again.
    async fn claim(
        &self,
        lease: LeaseId,
        take_suspect: bool,
        batch: &[ClaimRequest],
    ) -> Result<Vec<Claim>, StoreError>;

    /// Reads what ended nodes have left behind. MUST start after the claim of their successor has
    /// returned, so that it sees all of them. Returns one list for each request, in order; nodes
    /// without a row are left out. Like [`EngineStore::claim`], it answers as many requests from the first on as the
    /// outputs fit, each counted once, but one at least.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn read_upstream(&self, batch: &[ReadRequest]) -> Result<Vec<Vec<Upstream>>, StoreError>;

    /// Applies a batch of commits at once. Returns one outcome for each, in order. After it every
    /// open branch is re-drivable: a crash right behind it strands nothing.
    ///
    /// # Errors
    /// See [`StoreError`]. Repeating a batch whose reply was lost reports `flipped` again.
    async fn commit(&self, lease: LeaseId, batch: &[Commit]) -> Result<Vec<Committed>, StoreError>;
}

/// The kind of `__end__` in rows; no document can name it, and neither log rows nor spans show it.
pub const END_KIND: &str = "end";

/// How long rendering a run's output may take. It is computing only.
const END_TIMEOUT: Duration = Duration::from_secs(60);

impl Commit {
    /// What it may leave `running` under the committing lease: rows that it claims, and joins that are claimed if it
    /// brings their last token.
    pub fn asks_to_keep(&self) -> impl Iterator<Item = (NodeKey, Scope)> {
        let rows = self.rows.iter().filter(|row| row.state == NewRowState::Claimed);
        let joins = self.tokens.iter().filter(|join| join.keep.is_some());
        let specs = rows.map(|row| &row.spec).chain(joins.map(|join| &join.spec));
        specs.map(|spec| (spec.node.clone(), spec.scope.clone()))
    }
}

impl NodeSpec {
    /// What the row of the node at `place` must know; [`crate::domain::graph::Graph::end`] is `__end__`.
    #[must_use]
    pub fn of(plan: &Plan, place: NodeIx, publish_span: SpanId) -> Self {
        let (node, kind, timeout) = match plan.nodes.get(place) {
            Some(node) => (node.key.clone(), node.kind.as_str(), node.timeout),
            None => (NodeKey::from(END_NODE), END_KIND, END_TIMEOUT),
        };
        Self { node, scope: Scope::from(ROOT_SCOPE), kind, timeout, publish_span }
    }
}
