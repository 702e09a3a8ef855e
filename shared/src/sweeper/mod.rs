//! One sweeper in every process: timers, lost messages, dead workers, runs that are to end, drafts that
//! nobody uses. There is no leader; sweepers skip each other's rows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::drafts::DraftPruning;
use self::full_scan::FullScan;
use self::no_worker::NoWorkerWatch;
use self::queue::QueueMonitor;
use self::segments::Segments;
use self::steps::LostStepsScan;
use self::watermark::Watermark;
use crate::abandoned::export_abandoned;
use crate::broker::Broker;
use crate::dispatch::{Dispatcher, Handover, Producer};
use crate::domain::ids::RunId;
use crate::domain::wakeup::{WakeReason, Wakeup};
use crate::finish::Finisher;
use crate::portions::Portions;
use crate::store::recovery::{
    DueRange, DueRuns, DueWake, ReapScope, RecoveryStore, SWEEP_ROWS_MAX, Sweep, SweepOptions,
};
use crate::store::{StepStore, StoreError};
use crate::telemetry::metrics::{self, Rescue};
use crate::telemetry::{ClockQuestion, RUN_LOG, within};

mod drafts;
mod full_scan;
mod held_steps;
mod no_worker;
mod queue;
mod segments;
mod slices;
mod steps;
#[cfg(test)]
mod tests;
mod timers;
mod watermark;

pub use timers::Timers;

/// The pause between two sweeps when no timer is due sooner. What a sweep repairs is rare, and timers
/// that this process knows of are kept exactly.
const PAUSE: Duration = Duration::from_secs(1);
/// The least pause between two sweeps, however many timers there are: a sweep takes all that is due, so a second one
/// right behind it would cost as much and find as good as nothing.
const PAUSE_MIN: Duration = Duration::from_millis(25);
/// Rounds of a sweep that finds more and more due, until the leases are checked: a second or so each.
const ROUNDS_MAX: u32 = 20;
/// By how much fewer rows a sweep takes after one that took too long.
const ROWS_SHRINK: u32 = 8;
/// The pause between two checks of the leases, at least.
const REAP_PAUSE: Duration = Duration::from_secs(2);
/// How much longer than a check of the leases the pause after it is, at least.
const REAP_PAUSE_FACTOR: u32 = 20;
/// How long one turn of the full scan of running rows goes on starting statements: sweeps come in between.
const FULL_SCAN_TURN: Duration = Duration::from_millis(100);
/// How long this process must have been in touch with the store before it may call others dead.
pub const REAP_AFTER_DEFAULT: Duration = Duration::from_secs(30);

/// What a sweeper works with.
#[derive(Clone)]
pub struct Sweeper {
    /// Where rows are due.
    pub store: Arc<dyn RecoveryStore>,
    /// Where steps may be lost.
    pub steps: Arc<dyn StepStore>,
    /// Asked whether it takes messages.
    pub broker: Arc<dyn Broker>,
    /// Publishes what is due.
    pub dispatcher: Dispatcher,
    /// Ends runs that are to end.
    pub finisher: Finisher,
    /// Timers that this process has set.
    pub timers: Timers,
    /// How long the store must have answered without a break before this sweeper declares leases
    /// dead: at least the longest TTL in use.
    pub reap_after: Duration,
    /// A run that was suspended for longer goes on in a new trace.
    pub trace_wait_max: Duration,
}

/// What a sweeper keeps from one sweep to the next.
struct SweeperState {
    queue: QueueMonitor,
    segments: Segments,
    /// Rows that the next sweep takes at most: fewer after one that took too long, as what each costs depends on its run.
    rows_max: u32,
    /// How far rows are done, and runs.
    rows: Watermark,
    runs: Watermark,
    /// Runs of which everything may wait.
    waiting: Portions,
    /// How far the scan of all running rows has got.
    full_scan: FullScan,
    /// When steps that are lost were last looked for, and those that could not be settled.
    lost_steps: LostStepsScan,
    /// When drafts that nobody uses are deleted.
    drafts: DraftPruning,
    /// When it was looked whether a worker lives, and which runs have been told that none does.
    no_worker: NoWorkerWatch,
}

impl Sweeper {
    /// Sweeps until `shutdown`. An error costs a second, never more.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut state = SweeperState {
            queue: QueueMonitor::new(Arc::clone(&self.broker)),
            segments: Segments::new(),
            rows_max: SWEEP_ROWS_MAX,
            rows: Watermark::default(),
            runs: Watermark::default(),
            waiting: Portions::default(),
            full_scan: FullScan::default(),
            lost_steps: LostStepsScan::default(),
            drafts: DraftPruning::new(),
            no_worker: NoWorkerWatch::new(),
        };
        let mut in_touch_since: Option<Instant> = None;
        let mut reap_at: Option<Instant> = None;
        loop {
            let started = Instant::now();
            let swept = self.sweep(&mut state, &shutdown).await;
            if shutdown.is_cancelled() {
                return;
            }
            let now = Instant::now();
            if swept.in_touch {
                self.prune_drafts(&mut state.drafts).await;
                let since = *in_touch_since.get_or_insert(now);
                let is_due = reap_at.is_none_or(|at| at <= now);
                if is_due && now - since >= self.reap_after {
                    // A lease under which much has ended may be too much: then its rows are found one by one.
                    let ended = self.reap(ReapScope::Ended).await;
                    let pause = REAP_PAUSE.max(now.elapsed() * REAP_PAUSE_FACTOR);
                    let all = self.full_scan(&mut state).await;
                    reap_at = Some(now + pause);
                    for error in [ended.err(), all.err()].into_iter().flatten() {
                        tracing::warn!(%error, "leases could not be checked");
                        // That a scan was too much, or had to wait, says nothing of the store.
                        if !matches!(error, StoreError::TooSlow(_) | StoreError::Locked(_)) {
                            in_touch_since = None;
                        }
                    }
                }
                // Workers that were out of touch as well have not been heard of yet.
                if now - since >= self.reap_after {
                    state.no_worker.tell(&*self.store).await;
                }
            } else {
                in_touch_since = None;
            }
            let latest = if swept.more { now } else { now + PAUSE };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.timers.wait(started + PAUSE_MIN, latest) => {}
            }
        }
    }

    /// Finishes runs and publishes rows, round by round, until no more are due, one of both fails, it was enough for
    /// now, or everything is to stop.
    async fn sweep(&self, state: &mut SweeperState, shutdown: &CancellationToken) -> Swept {
        self.timers.sweep_starts();
        let mut swept = Swept { in_touch: true, more: true };
        for _ in 0..ROUNDS_MAX {
            if shutdown.is_cancelled() {
                break;
            }
            // Neither waits for the other: a backlog that is too much for one statement must not keep runs from ending.
            let runs = self.recheck_due_runs(state).await;
            let rows = self.publish_due(state).await;
            if let Err(error) = &runs {
                tracing::warn!(%error, "runs could not be looked at");
            }
            if let Err(error) = &rows {
                tracing::warn!(%error, "the sweep failed");
            }
            // One statement that found the store out of reach is enough: a sweep makes several, and an outage may begin and
            // end within one.
            let errors = [runs.as_ref().err(), rows.as_ref().err()];
            let is_gone = |error: &StoreError| matches!(error, StoreError::Unavailable(_));
            swept.in_touch = !errors.into_iter().flatten().any(is_gone);
            let (Ok(more_runs), Ok(more_rows)) = (runs, rows) else {
                swept.more = false;
                break;
            };
            swept.more = more_runs || more_rows;
            if !swept.more {
                break;
            }
        }
        swept
    }

    /// Finishes runs that are to end and marks those of which everything waits; says whether more may be due.
    async fn recheck_due_runs(&self, state: &mut SweeperState) -> Result<bool, StoreError> {
        let expired = self.store.expire_runs(SWEEP_ROWS_MAX).await;
        let newest = self.due_runs(state.runs.range()).await;
        match &newest {
            Ok((due, _)) => state.runs.swept(due.done_to),
            Err(StoreError::TooSlow(_)) => state.runs.was_too_much(),
            Err(_) => {}
        }
        let mut scans = vec![newest];
        if let Some(slice) = state.runs.slice() {
            let started = Instant::now();
            let older = self.due_runs(slice).await;
            match &older {
                Ok((_, more)) => state.runs.scanned(started.elapsed(), *more),
                Err(StoreError::TooSlow(_)) => state.runs.slice_was_too_much(),
                Err(_) => {}
            }
            scans.push(older);
        }
        // What fails here must not keep the rest from being done, nor for ever.
        let expired = expired.map(|runs| runs >= SWEEP_ROWS_MAX);
        let mut outcome = both(Ok(state.runs.is_behind()), expired);
        for scan in scans {
            let done = match scan {
                Ok((due, more)) => self.attend_to(due, &state.waiting).await.map(|()| more),
                Err(error) => Err(error),
            };
            outcome = both(outcome, done);
        }
        outcome = both(outcome, self.finisher.go_on().await);
        both(outcome, self.lose_steps(&mut state.lost_steps).await)
    }

    /// Runs that are due, and whether there may be more of them.
    async fn due_runs(&self, range: DueRange) -> Result<(DueRuns, bool), StoreError> {
        let due = self.store.due_runs(SWEEP_ROWS_MAX, range).await?;
        let more = due.over.len() + due.waiting.len() >= SWEEP_ROWS_MAX as usize;
        Ok((due, more))
    }

    async fn attend_to(&self, due: DueRuns, waiting: &Portions) -> Result<(), StoreError> {
        let finished = self.finisher.finish(&due.over).await;
        finished.and(self.suspend(&due.waiting, waiting).await)
    }

    /// Marks runs of which everything waits.
    async fn suspend(&self, runs: &[RunId], portions: &Portions) -> Result<(), StoreError> {
        let ready = portions.ready(runs);
        let mut rest = &ready[..];
        while !rest.is_empty() {
            let (group, others) = rest.split_at(portions.group().min(rest.len()));
            match self.store.suspend(group).await {
                Ok(_) => portions.succeeded(group),
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => match portions.failed(group) {
                    Some(pause) => {
                        tracing::warn!(workflow.execution_id = %group[0], ?pause, %error, "a run cannot be looked at and is left alone for a while");
                    }
                    // Again, fewer at a time.
                    None => continue,
                },
            }
            rest = others;
        }
        Ok(())
    }

    /// Publishes rows that are due; says whether more may be.
    async fn publish_due(&self, state: &mut SweeperState) -> Result<bool, StoreError> {
        let newest = self.publish_due_in(state.rows.range(), state).await;
        match &newest {
            Ok(sweep) => state.rows.swept(sweep.done_to),
            Err(StoreError::TooSlow(_)) => state.rows.was_too_much(),
            Err(_) => {}
        }
        let mut outcome = newest.map(|sweep| {
            self.timers.next_in_store(sweep.next_due);
            sweep.more
        });
        if let Some(slice) = state.rows.slice() {
            let started = Instant::now();
            let older = self.publish_due_in(slice, state).await;
            match &older {
                // With the broker down nothing is read.
                Ok(sweep) if sweep.done_to.is_none() => {}
                Ok(sweep) => state.rows.scanned(started.elapsed(), sweep.more),
                Err(StoreError::TooSlow(_)) => state.rows.slice_was_too_much(),
                Err(_) => {}
            }
            outcome = both(
                outcome,
                older.map(|sweep| sweep.more || sweep.done_to.is_some() && state.rows.is_behind()),
            );
        }
        state.segments.export_closed(&*self.store).await;
        outcome
    }

    async fn publish_due_in(
        &self,
        range: DueRange,
        state: &mut SweeperState,
    ) -> Result<Sweep, StoreError> {
        let queue = state.queue.state().await;
        let options = SweepOptions {
            limit: state.rows_max,
            broker_up: queue.is_up,
            queue_deep: queue.is_deep,
            trace_wait_max: self.trace_wait_max,
            call: state.segments.call(),
            range,
        };
        let clock = ClockQuestion::ask();
        let sweep = self.store.sweep(options).await;
        if let Ok(Sweep { swept_at: Some(at), .. }) = &sweep {
            clock.answered(*at);
        }
        state.rows_max = match &sweep {
            Ok(_) => (state.rows_max * 2).min(SWEEP_ROWS_MAX),
            Err(StoreError::TooSlow(_)) => (state.rows_max / ROWS_SHRINK).max(1),
            Err(_) => state.rows_max,
        };
        let mut sweep = sweep.inspect_err(|_| state.segments.perhaps_closed())?;
        if sweep.has_closed {
            state.segments.closed();
        }
        for due in sweep.wake.drain(..) {
            // Beside a deep queue its message is in there somewhere, and this one is for the case that it is not.
            if due.was_published && !queue.is_deep {
                metrics::rescued(Rescue::MessageLost);
            }
            self.dispatcher.hand_over(repeated(due));
        }
        self.finish_soon(&sweep.over).await;
        Ok(sweep)
    }

    /// Ends runs of which something was cancelled that may have been the last of them: now, and not when they come due
    /// again.
    async fn finish_soon(&self, runs: &[RunId]) {
        if let Err(error) = self.finisher.finish(runs).await {
            tracing::warn!(%error, "runs that are over are ended when they come due");
        }
    }

    /// Goes on with the full scan of running rows, for one turn.
    async fn full_scan(&self, state: &mut SweeperState) -> Result<(), StoreError> {
        let Some(present) = state.runs.done_to().or(state.rows.done_to()) else { return Ok(()) };
        let full_scan = &mut state.full_scan;
        let until = Instant::now() + FULL_SCAN_TURN;
        while Instant::now() < until
            && let Some(slice) = full_scan.slice(present)
        {
            let started = Instant::now();
            match self.reap(ReapScope::Running(slice)).await {
                Ok(taken) => {
                    full_scan.scanned(started.elapsed(), taken >= SWEEP_ROWS_MAX as usize);
                }
                Err(error) => {
                    if matches!(error, StoreError::TooSlow(_)) {
                        full_scan.was_too_much();
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes rows back from dead workers; says how many.
    async fn reap(&self, scope: ReapScope) -> Result<usize, StoreError> {
        let attempts = self.store.reap(SWEEP_ROWS_MAX, scope).await?;
        for attempt in &attempts {
            metrics::rescued(if attempt.is_crash { Rescue::Crashed } else { Rescue::Released });
            if attempt.is_crash {
                let context = attempt.header.trace.context_of(attempt.span);
                within(context, attempt.header.identity.clone(), || {
                    tracing::warn!(target: RUN_LOG, { workflow.execution_id = %attempt.key.run, node.id = %attempt.key.node }, "took a node back from a dead worker");
                });
            }
            export_abandoned(attempt);
        }
        let over = attempts.iter().filter(|attempt| !attempt.is_retried);
        let over: HashSet<_> = over.map(|attempt| attempt.key.run).collect();
        self.finish_soon(&over.into_iter().collect::<Vec<_>>()).await;
        // Their rows are due within a second.
        if !attempts.is_empty() {
            self.timers.due_in(Duration::from_secs(1));
        }
        Ok(attempts.len())
    }
}

/// How a sweep went.
struct Swept {
    /// Whether the store answered.
    in_touch: bool,
    /// Whether more may be due.
    more: bool,
}

/// Whether there is more to do for one of both, or what went wrong first.
fn both(
    one: Result<bool, StoreError>,
    other: Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    Ok(one? | other?)
}

fn repeated(due: DueWake) -> Handover {
    let wakeup = Wakeup {
        key: due.key,
        identity: due.identity,
        reason: WakeReason::Due,
        publisher: Some(due.publisher),
        state: due.state,
        queued_at: Some(SystemTime::from(due.queued_at)),
    };
    // This may be the API's process, and the run a worker's: below the run, the publishing would show as a call of the
    // API by the worker.
    let link = Some(due.publisher.with_span(due.root));
    let producer = Producer { parent: due.parent, link, workflow: due.workflow };
    Handover { wakeups: vec![wakeup], producer: Some(producer) }
}
