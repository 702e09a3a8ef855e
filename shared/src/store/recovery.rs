//! What every process does about things that are due or stranded.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StoreError;
use crate::domain::ids::{ActivationKey, CallId, RunId};
use crate::domain::run::{AbandonedAttempt, ClosedSegment, EndedRun};
use crate::domain::tenant::Identity;
use crate::domain::trace::{SpanId, TraceContext, TraceState};

/// Rows that a sweep takes at most. More would keep rows locked for longer than it takes to publish them.
pub const SWEEP_ROWS_MAX: u32 = 500;

/// Open rows that one call of [`RecoveryStore::finish_runs`] cancels at most, shared out evenly among its runs: a
/// fraction of a second, in which nobody else can have them.
pub const CANCEL_ROWS_MAX: u32 = 2_000;

/// Rows of each of so many runs that one call cancels at most.
pub(super) fn cancel_page(runs: usize) -> u32 {
    let runs = u32::try_from(runs).unwrap_or(u32::MAX).max(1);
    (CANCEL_ROWS_MAX / runs).max(1)
}

/// Which due times a sweep reads, by the clock of the store.
///
/// What has been handled leaves traces where it stood: PostgreSQL walks past every index entry of a row that has ended
/// since the oldest snapshot that anybody holds. So whoever sweeps remembers how far all is done, and reads what
/// comes before only now and then, a slice at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DueRange {
    /// Leaves out what was due earlier, but never what has come due in the last [`LATE_COMMIT_MAX`]. `None` leaves
    /// out nothing.
    pub from: Option<DateTime<Utc>>,
    /// Leaves out what was due at this time or later. `None` leaves out nothing that is due now.
    pub before: Option<DateTime<Utc>>,
}

/// For how long a row may come to light whose due time has passed: a statement sets it from the time at which it
/// began, may take 5 s, and then has yet to commit. What takes longer is found by the scan of what came before.
pub const LATE_COMMIT_MAX: Duration = Duration::from_secs(15);

impl DueRange {
    /// All that is due.
    pub const ALL: Self = Self { from: None, before: None };

    /// As little as is safe: what has come due in the last [`LATE_COMMIT_MAX`].
    #[must_use]
    pub fn latest() -> Self {
        Self { from: Some(DateTime::<Utc>::MAX_UTC), before: None }
    }
}

/// How a sweep is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepOptions {
    /// Rows at most, up to [`SWEEP_ROWS_MAX`].
    pub limit: u32,
    /// Whether the broker takes messages at all. If not, rows are left alone: each would need one.
    pub broker_up: bool,
    /// Whether the queue is so deep that the messages of rows which are already queued are in there somewhere. Those
    /// rows are deferred, and published again only the third time, the seventh, the fifteenth and so on, should the
    /// message have been lost. With the pauses in between, a backlog of `n` rows is joined by `n` more messages after 3.5
    /// minutes, by as many again after 22, 62 and 142, give or take a quarter: never by all of it with every sweep.
    pub queue_deep: bool,
    /// A run that has been suspended for longer goes on in a new trace.
    pub trace_wait_max: Duration,
    /// Under which the segments that it closes can be asked for.
    pub call: CallId,
    /// Which due times it reads.
    pub range: DueRange,
}

/// A row whose wake-up is to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct DueWake {
    /// Which row.
    pub key: ActivationKey,
    /// Whose run it is.
    pub identity: Identity,
    /// The span to publish it under: a new one, stored on the row. The span before it may never have
    /// been exported: a row that was claimed inline was not published, and publishers crash.
    pub publisher: TraceContext,
    /// What goes with it.
    pub state: Option<TraceState>,
    /// The parent of that span: the publishing that should have started the run. Absent where the run has gone on in another
    /// trace since then, in which there is none.
    pub parent: Option<SpanId>,
    /// The run's own span in the trace that it has now.
    pub root: SpanId,
    /// The run's workflow.
    pub workflow: Arc<str>,
    /// When it became runnable.
    pub queued_at: DateTime<Utc>,
    /// Whether a message was published for it before, as far as is known: nobody has come for that.
    pub was_published: bool,
}

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sweep {
    /// Rows to publish. Each has been deferred already, so that a crash now costs one more wait and no
    /// two sweepers publish the same row.
    pub wake: Vec<DueWake>,
    /// Due rows that were only deferred, or turned `cancelled`.
    pub deferred: u32,
    /// Runs of which a row turned `cancelled`, because they have ended or are to end: perhaps it was the last that was
    /// open. Each once.
    pub over: Vec<RunId>,
    /// Whether the limit was reached, so that more may be due.
    pub more: bool,
    /// Whether runs went on in new traces: [`RecoveryStore::closed_segments`] returns the old ones.
    pub has_closed: bool,
    /// In how long the next row is due, if that is within the next minute and could be found out.
    pub next_due: Option<Duration>,
    /// What the database's clock showed, where that is not this process's own.
    pub swept_at: Option<DateTime<Utc>>,
    /// Where the next sweep may begin: nothing in the range is left that was due earlier, unless somebody held it.
    /// `None` if that is not known, as when nothing was read.
    pub done_to: Option<DateTime<Utc>>,
}

/// Whose rows a reap takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReapScope {
    /// At least those whose lease was found to have ended in the last minutes: what is to be quick, and mostly costs
    /// little.
    Ended,
    /// At least those that have until a time in the range, which may lie ahead. Those that are past their deadline are
    /// found by this, and those whose lease ended long ago.
    Running(DueRange),
}

impl ReapScope {
    /// Every running row.
    pub const ALL: Self = Self::Running(DueRange::ALL);
}

/// Runs that are to be rechecked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DueRuns {
    /// They are to end: [`RecoveryStore::finish_runs`].
    pub over: Vec<RunId>,
    /// A row of theirs waits for long: [`RecoveryStore::suspend`].
    pub waiting: Vec<RunId>,
    /// As [`Sweep::done_to`].
    pub done_to: Option<DateTime<Utc>>,
}

/// What became of runs that were to end.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// Those that the call ended.
    pub ended: Vec<EndedRun>,
    /// Those of which a page was cancelled, and more is open: to be asked for again.
    pub more: Vec<RunId>,
    /// Those that somebody holds, or something of them that is not running. They stay due.
    pub held: Vec<RunId>,
}

/// An open run as a place in the order of tenants, and of their runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// Whose it is.
    pub organization: String,
    /// Where.
    pub workspace: String,
    /// The run.
    pub id: RunId,
}

/// What came of a look at open runs while no worker lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoWorkerTold {
    /// Runs whose log was told.
    pub told: u32,
    /// The last run that was looked at, if there may be more behind it.
    pub next: Option<OpenRun>,
}

/// What every process does about things that are due or stranded.
#[async_trait]
pub trait RecoveryStore: Send + Sync + 'static {
    /// Handles rows whose `wake_at` has come: `retry` and `waiting` become `queued`; `queued` and
    /// `skipping` are deferred with exponential back-off (30 s, 60 s ... 5 min, with jitter); rows of
    /// runs that have ended or are to end become `cancelled`. Concurrent sweeps skip each other's rows.
    /// With the broker down it MUST NOT read the rows that wait for one: in an outage they are many. It MUST NOT wait for
    /// what somebody holds: a row whose run is held is deferred by a moment.
    ///
    /// A suspended run of which a row is queued is `running` again, with `run.resumed`. If it was suspended for
    /// longer than [`SweepOptions::trace_wait_max`], its present trace is closed in the same step and it gets a new
    /// one, in which the row is published. Nothing of the run works at that moment, so nothing is cut in two.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn sweep(&self, options: SweepOptions) -> Result<Sweep, StoreError>;

    /// The segments that a sweep closed. Whoever swept exports their root spans, once.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn closed_segments(&self, call: CallId) -> Result<Vec<ClosedSegment>, StoreError>;

    /// Has runs end as `timed_out` whose deadline has passed, up to `limit` of them, and says how many deadlines it looked
    /// at. They are due for [`Self::due_runs`] then. MUST NOT wait for what somebody holds.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn expire_runs(&self, limit: u32) -> Result<u32, StoreError>;

    /// Runs that are to be rechecked, up to [`SWEEP_ROWS_MAX`] of them. Each is deferred for some seconds, so that
    /// one that can neither end nor be suspended yet is rechecked. Needs no broker, and does not wait for
    /// [`Self::sweep`].
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn due_runs(&self, limit: u32, range: DueRange) -> Result<DueRuns, StoreError>;

    /// Marks those runs as `suspended`, with `run.suspended`, of which every open row waits, and says how
    /// many. Since when, is when the last of their rows ended or began to wait. Runs of which something else is open
    /// are rechecked later, if something waits, and so are runs of which somebody holds a row. Commits of long waits
    /// make their runs due for this.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn suspend(&self, runs: &[RunId]) -> Result<u64, StoreError>;

    /// Declares leases dead that have missed their heartbeats, and takes back every `running` row
    /// whose lease does not live or that is held past its deadline. The rows become `queued` and due. One whose
    /// second crash in a row this is, without a commit of its own in between, is marked as a suspect; one that was a
    /// suspect already gets a strike if its lease held nothing else when it was declared dead (or, for one that lives,
    /// holds nothing else now). In a run that has ended or is to end they become `cancelled`. The lost attempts are
    /// recorded and returned. What is running under a lease that was closed was claimed too late for anybody to run it:
    /// it is released as if it had never been claimed, and returned too. Leases that ended more than a day ago are deleted. With
    /// [`ReapScope::Ended`] some of the rows MAY be left for [`ReapScope::Running`].
    ///
    /// The caller MUST itself have been in touch with the store for a whole TTL: after an outage of
    /// the store, nobody's heartbeat is fresh.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn reap(&self, limit: u32, scope: ReapScope)
    -> Result<Vec<AbandonedAttempt>, StoreError>;

    /// Where no worker has lived for as long as `waited`, writes `run.no_worker` to the logs of runs that are there for as
    /// long and wait for one: those that are open, neither suspended nor to end. Looks at up to `limit` open runs behind `after`. MUST
    /// tell a log once only, however many ask, until a worker has started since. MUST NOT wait for what somebody holds.
    /// While a worker lives, it is one look-up.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn tell_of_no_worker(
        &self,
        waited: Duration,
        after: Option<&OpenRun>,
        limit: u32,
    ) -> Result<NoWorkerTold, StoreError>;

    /// Ends runs that are to end: cancels what is not running, up to [`CANCEL_ROWS_MAX`] rows, then, in a statement of
    /// its own, ends each run that has nothing open left, with `run.failed` or `run.cancelled`. Returns the runs
    /// that were ended by `call`, so a call whose reply was lost can be repeated under the same id and
    /// reports what the first one did. Idempotent; runs with work still running end when that stops. A crash in the
    /// middle leaves a run that is to end, and due.
    ///
    /// MUST NOT wait for what somebody holds.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn finish_runs(&self, call: CallId, runs: &[RunId]) -> Result<Finished, StoreError>;

    /// Deletes drafts of workflows that have no run and were stored at least so long ago, up to `limit` of them, and says
    /// how many. Their numbers are not given out again. MUST NOT delete one of which a run is accepted at the same moment:
    /// either the draft stays or there is no such version for the run. MUST NOT wait for what somebody holds.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn prune_drafts(&self, unused_for: Duration, limit: u32) -> Result<u32, StoreError>;
}
