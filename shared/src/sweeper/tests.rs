//! When the sweeper does what. The clock is tokio's, which stands still until everybody waits for it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::drafts;
use super::held_steps::HELD_MAX;
use super::queue::QueueMonitor;
use super::{PAUSE, PAUSE_MIN, ROUNDS_MAX, Sweeper, Timers, no_worker};
use crate::broker::Broker;
use crate::broker::in_process::InProcess;
use crate::dispatch::Dispatcher;
use crate::domain::ids::{ActivationKey, CallId, LeaseId, RunId, VersionId};
use crate::domain::run::{AbandonedAttempt, ClosedSegment, RunHeader, RunTrace};
use crate::domain::tenant::Identity;
use crate::domain::trace::{SpanId, TraceId};
use crate::finish::Finisher;
use crate::store::recovery::{
    DueRange, DueRuns, Finished, NoWorkerTold, OpenRun, ReapScope, RecoveryStore, Sweep,
    SweepOptions,
};
use crate::store::steps::{
    Begun, LostSteps, RateRequest, RecordedStep, StepAnswer, StepIntent, StepWrite,
};
use crate::store::{StepStore, StoreError};

type Script = Box<dyn Fn(u32) -> Result<Sweep, StoreError> + Send + Sync>;

/// A store that notes when it is asked for what, and answers sweeps by a script.
struct Noted {
    script: Script,
    started: Instant,
    sweeps: Mutex<Vec<Duration>>,
    calls: Mutex<Vec<CallId>>,
    limits: Mutex<Vec<u32>>,
    /// After how many sweeps, and for which.
    asked_for: Mutex<Vec<(usize, CallId)>>,
    scans_for_runs: AtomicU32,
    lost_answers: AtomicU32,
    reaped_after: Mutex<Vec<usize>>,
    reaps: Mutex<Vec<ReapScope>>,
    /// Whether a scan of running rows takes too long.
    patrols_are_slow: AtomicBool,
    /// Runs that are to end, and those over which a statement takes too long.
    over: Mutex<Vec<RunId>>,
    too_large: Mutex<Vec<RunId>>,
    finishings: AtomicU32,
    scans_for_steps: AtomicU32,
    /// The last runs of pages of which no worker takes care, the last page first; and when was asked for what is behind
    /// which.
    untold: Mutex<Vec<RunId>>,
    told_behind: Mutex<Vec<(Duration, Option<RunId>)>>,
    /// What is taken back from dead workers, once.
    lost: Mutex<Vec<AbandonedAttempt>>,
    /// Runs of which somebody holds something, and when a run was ended that nobody does.
    busy_runs: Mutex<Vec<RunId>>,
    ended: Mutex<Vec<(Duration, RunId)>>,
    /// Organizations whose totals somebody holds, and when was waited for which.
    held: Mutex<Vec<String>>,
    waited_for: Mutex<Vec<(Duration, String)>>,
    /// When drafts were pruned, and how many there are.
    prunings: Mutex<Vec<Duration>>,
    drafts: AtomicU32,
}

/// An organization whose totals are held for longer than anybody waits.
const LOCKED: &str = "locked";

impl Noted {
    fn new(script: impl Fn(u32) -> Result<Sweep, StoreError> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            started: Instant::now(),
            sweeps: Mutex::default(),
            calls: Mutex::default(),
            limits: Mutex::default(),
            asked_for: Mutex::default(),
            scans_for_runs: AtomicU32::new(0),
            lost_answers: AtomicU32::new(0),
            reaped_after: Mutex::default(),
            reaps: Mutex::default(),
            patrols_are_slow: AtomicBool::new(false),
            over: Mutex::default(),
            too_large: Mutex::default(),
            finishings: AtomicU32::new(0),
            scans_for_steps: AtomicU32::new(0),
            untold: Mutex::default(),
            told_behind: Mutex::default(),
            lost: Mutex::default(),
            busy_runs: Mutex::default(),
            ended: Mutex::default(),
            held: Mutex::default(),
            waited_for: Mutex::default(),
            prunings: Mutex::default(),
            drafts: AtomicU32::new(0),
        })
    }

    fn sweeps(&self) -> Vec<Duration> {
        self.sweeps.lock().unwrap().clone()
    }
}

#[async_trait]
impl RecoveryStore for Noted {
    async fn sweep(&self, options: SweepOptions) -> Result<Sweep, StoreError> {
        self.limits.lock().unwrap().push(options.limit);
        self.calls.lock().unwrap().push(options.call);
        let mut sweeps = self.sweeps.lock().unwrap();
        sweeps.push(self.started.elapsed());
        (self.script)(u32::try_from(sweeps.len()).unwrap())
    }

    async fn closed_segments(&self, call: CallId) -> Result<Vec<ClosedSegment>, StoreError> {
        let sweeps = self.sweeps.lock().unwrap().len();
        self.asked_for.lock().unwrap().push((sweeps, call));
        match self.lost_answers.swap(0, Ordering::Relaxed) {
            0 => Ok(Vec::new()),
            _ => Err(StoreError::Unavailable("no reply".into())),
        }
    }

    async fn expire_runs(&self, _: u32) -> Result<u32, StoreError> {
        Ok(0)
    }

    async fn due_runs(&self, _: u32, _: DueRange) -> Result<DueRuns, StoreError> {
        self.scans_for_runs.fetch_add(1, Ordering::Relaxed);
        Ok(DueRuns { over: self.over.lock().unwrap().clone(), ..DueRuns::default() })
    }

    async fn suspend(&self, _: &[RunId]) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn reap(&self, _: u32, scope: ReapScope) -> Result<Vec<AbandonedAttempt>, StoreError> {
        self.reaped_after.lock().unwrap().push(self.sweeps.lock().unwrap().len());
        self.reaps.lock().unwrap().push(scope);
        match scope {
            ReapScope::Running(_) if self.patrols_are_slow.load(Ordering::Relaxed) => {
                Err(StoreError::TooSlow("canceling statement due to timeout".into()))
            }
            _ => Ok(std::mem::take(&mut self.lost.lock().unwrap())),
        }
    }

    async fn tell_of_no_worker(
        &self,
        _: Duration,
        after: Option<&OpenRun>,
        _: u32,
    ) -> Result<NoWorkerTold, StoreError> {
        let mut asked = self.told_behind.lock().unwrap();
        asked.push((self.started.elapsed(), after.map(|after| after.id)));
        let pages = self.untold.lock().unwrap().pop();
        let open_run = |id| OpenRun { organization: "a".into(), workspace: "b".into(), id };
        Ok(NoWorkerTold { told: 1, next: pages.map(open_run) })
    }

    async fn finish_runs(&self, _: CallId, runs: &[RunId]) -> Result<Finished, StoreError> {
        self.finishings.fetch_add(1, Ordering::Relaxed);
        if runs.iter().any(|run| self.too_large.lock().unwrap().contains(run)) {
            return Err(StoreError::TooSlow("canceling statement due to timeout".into()));
        }
        self.over.lock().unwrap().retain(|run| !runs.contains(run));
        let busy = self.busy_runs.lock().unwrap();
        let (held, ended): (Vec<_>, Vec<_>) =
            runs.iter().copied().partition(|run| busy.contains(run));
        self.ended.lock().unwrap().extend(ended.iter().map(|run| (self.started.elapsed(), *run)));
        Ok(Finished { held, ..Finished::default() })
    }

    async fn prune_drafts(&self, unused_for: Duration, limit: u32) -> Result<u32, StoreError> {
        assert_eq!(unused_for, Duration::from_secs(7 * 86_400));
        self.prunings.lock().unwrap().push(self.started.elapsed());
        let drafts = self.drafts.load(Ordering::Relaxed);
        let pruned = drafts.min(limit);
        self.drafts.store(drafts - pruned, Ordering::Relaxed);
        // The first answer is lost.
        match self.prunings.lock().unwrap().len() {
            1 => Err(StoreError::TooSlow("canceling statement due to timeout".into())),
            _ => Ok(pruned),
        }
    }
}

#[async_trait]
impl StepStore for Noted {
    async fn recorded_steps(&self, _: &ActivationKey) -> Result<Vec<RecordedStep>, StoreError> {
        panic!("no sweeper asks")
    }

    async fn write_steps(
        &self,
        _: LeaseId,
        _: &[StepWrite],
    ) -> Result<Vec<StepAnswer>, StoreError> {
        panic!("no sweeper asks")
    }

    async fn room_for(&self, _: &ActivationKey, _: &StepIntent) -> Result<Begun, StoreError> {
        panic!("no sweeper asks")
    }

    async fn lose_steps(&self, waits_for: Option<&str>) -> Result<LostSteps, StoreError> {
        let Some(organization) = waits_for else {
            self.scans_for_steps.fetch_add(1, Ordering::Relaxed);
            let held = self.held.lock().unwrap().clone();
            return Ok(LostSteps { held, ..LostSteps::default() });
        };
        self.waited_for.lock().unwrap().push((self.started.elapsed(), organization.to_owned()));
        if organization == LOCKED {
            return Err(StoreError::Locked("canceling statement due to lock timeout".into()));
        }
        self.held.lock().unwrap().retain(|held| held != organization);
        Ok(LostSteps::default())
    }

    async fn grant_starts(&self, _: &[RateRequest]) -> Result<Vec<Option<Duration>>, StoreError> {
        panic!("no sweeper asks")
    }
}

/// Lets a sweeper work over `store` for as long as `meanwhile` takes.
async fn sweep_during(store: &Arc<Noted>, timers: &Timers, meanwhile: impl Future<Output = ()>) {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let broker: Arc<dyn Broker> = Arc::new(InProcess::new());
    let sweeper = Sweeper {
        store: store.clone(),
        steps: store.clone(),
        broker: Arc::clone(&broker),
        dispatcher: Dispatcher::start(&tasks, Arc::clone(&broker), stop.clone()),
        finisher: Finisher::new(store.clone(), broker),
        timers: timers.clone(),
        reap_after: Duration::ZERO,
        trace_wait_max: Duration::from_secs(900),
    };
    tokio::select! {
        () = sweeper.run(stop.clone()) => panic!("it stopped by itself"),
        () = meanwhile => {}
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_this_process_is_kept_to_the_millisecond() {
    let (store, timers) = (Noted::new(|_| Ok(Sweep::default())), Timers::default());
    // The nearest is not the only one that is kept.
    for millis in [400, 300, 500] {
        timers.due_in(Duration::from_millis(millis));
    }
    sweep_during(&store, &timers, tokio::time::sleep(Duration::from_millis(600))).await;
    assert_eq!(store.sweeps(), [0, 300, 400, 500].map(Duration::from_millis));
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_another_process_is_left_to_that_one_first() {
    let swept = Sweep { next_due: Some(Duration::from_millis(200)), ..Sweep::default() };
    let (store, timers) = (Noted::new(move |_| Ok(swept.clone())), Timers::default());
    sweep_during(&store, &timers, tokio::time::sleep(Duration::from_millis(550))).await;
    let [_, second, ..] = store.sweeps()[..] else { panic!("it did not sweep again") };
    let expected = Duration::from_millis(300)..=Duration::from_millis(501);
    assert!(expected.contains(&second), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn sweeps_keep_apart_however_many_timers_there_are() {
    let (store, timers) = (Noted::new(|_| Ok(Sweep::default())), Timers::default());
    let many = async {
        for _ in 0..1_000 {
            timers.due_in(Duration::ZERO);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    sweep_during(&store, &timers, many).await;
    let sweeps = store.sweeps();
    assert!(sweeps.len() > 20, "{sweeps:?}");
    assert!(sweeps.windows(2).all(|pair| pair[1] - pair[0] >= PAUSE_MIN), "{sweeps:?}");
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_swept_keep_nobody_from_finishing_and_reaping() {
    let broken = |_| Err(StoreError::TooSlow("canceling statement due to timeout".into()));
    let (store, timers) = (Noted::new(broken), Timers::default());
    sweep_during(&store, &timers, tokio::time::sleep(10 * PAUSE)).await;
    assert!(store.scans_for_runs.load(Ordering::Relaxed) >= 10);
    assert!(store.scans_for_steps.load(Ordering::Relaxed) >= 10, "steps that are lost");
    assert!(store.reaped_after.lock().unwrap().len() >= 4);
}

/// The root span of a segment is exported by whoever closed it, also when the reply to that was lost.
#[tokio::test(start_paused = true)]
async fn sweeps_that_may_have_closed_segments_are_asked_for() {
    let script = |sweeps| match sweeps {
        2 => Ok(Sweep { has_closed: true, ..Sweep::default() }),
        5 => Err(StoreError::Unavailable("no reply".into())),
        _ => Ok(Sweep::default()),
    };
    let (store, timers) = (Noted::new(script), Timers::default());
    // The first answer is lost as well.
    store.lost_answers.store(1, Ordering::Relaxed);
    sweep_during(&store, &timers, tokio::time::sleep(30 * PAUSE)).await;
    let calls = store.calls.lock().unwrap().clone();
    let asked = store.asked_for.lock().unwrap().clone();
    // The second sweep closed some; the fifth may have been at work for another ten seconds.
    assert_eq!(asked, [(2, calls[1]), (3, calls[1]), (15, calls[4])]);
    assert_eq!(calls[1], calls[0], "a call lasts until it is exported");
    assert_eq!(calls[2], calls[1]);
    assert!(calls[3] != calls[2] && calls[15] != calls[4], "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_backlog_lets_leases_be_checked_in_between() {
    let endless = |_| Ok(Sweep { more: true, ..Sweep::default() });
    let (store, timers) = (Noted::new(endless), Timers::default());
    sweep_during(&store, &timers, tokio::time::sleep(PAUSE_MIN)).await;
    assert_eq!(store.reaped_after.lock().unwrap().first(), Some(&(ROUNDS_MAX as usize)));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_long_sweep() {
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let store = Noted::new(move |sweeps| {
        if sweeps == 3 {
            stopping.cancel();
        }
        Ok(Sweep { more: true, ..Sweep::default() })
    });
    let broker: Arc<dyn Broker> = Arc::new(InProcess::new());
    let tasks = TaskTracker::new();
    let sweeper = Sweeper {
        store: store.clone(),
        steps: store.clone(),
        broker: Arc::clone(&broker),
        dispatcher: Dispatcher::start(&tasks, Arc::clone(&broker), stop.clone()),
        finisher: Finisher::new(store.clone(), broker),
        timers: Timers::default(),
        reap_after: Duration::ZERO,
        trace_wait_max: Duration::from_secs(900),
    };
    sweeper.run(stop).await;
    assert_eq!(store.sweeps().len(), 3);
}

/// Not when it comes due again: what was cancelled may have been the last of it.
#[tokio::test(start_paused = true)]
async fn a_run_is_ended_with_the_sweep_that_cancelled_something_of_it() {
    let run = RunId::generate();
    let script = move |sweeps| {
        let over = if sweeps == 2 { vec![run] } else { Vec::new() };
        Ok(Sweep { over, ..Sweep::default() })
    };
    let (store, timers) = (Noted::new(script), Timers::default());
    sweep_during(&store, &timers, tokio::time::sleep(3 * PAUSE)).await;
    assert_eq!(*store.ended.lock().unwrap(), [(PAUSE, run)]);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_ended_with_the_last_of_it_that_a_dead_worker_held() {
    let (store, timers) = (Noted::new(|_| Ok(Sweep::default())), Timers::default());
    let (over, going_on) = (lost_attempt(false), lost_attempt(true));
    let run = over.key.run;
    *store.lost.lock().unwrap() = vec![over, going_on];
    sweep_during(&store, &timers, tokio::time::sleep(3 * PAUSE)).await;
    assert_eq!(*store.ended.lock().unwrap(), [(Duration::ZERO, run)]);
}

/// An attempt that was taken back from a dead worker.
fn lost_attempt(is_retried: bool) -> AbandonedAttempt {
    let run = RunId::generate();
    let header = RunHeader {
        id: run,
        identity: Identity::new("acme", "main", "ann"),
        version_id: VersionId::generate(),
        workflow: "digest".into(),
        version: 1,
        input: "{}".into(),
        step_mode: false,
        node_count: 1,
        edge_count: 0,
        trace: RunTrace {
            trace: TraceId([1; 16]),
            publish: SpanId([1; 8]),
            root: SpanId([2; 8]),
            flags: 0,
            state: None,
        },
        created_at: DateTime::UNIX_EPOCH,
    };
    AbandonedAttempt {
        key: ActivationKey::root(run, "a"),
        header,
        kind: "http".into(),
        attempt: 1,
        span: SpanId([3; 8]),
        started_at: DateTime::UNIX_EPOCH,
        ended_at: DateTime::UNIX_EPOCH,
        is_crash: true,
        is_retried,
        upstream: Vec::new(),
    }
}

/// A statement is mostly over by the next round, and the run need not wait until it comes due.
#[tokio::test(start_paused = true)]
async fn a_run_of_which_somebody_holds_something_is_ended_a_round_later() {
    let run = RunId::generate();
    let script = move |sweeps| {
        let over = if sweeps == 1 { vec![run] } else { Vec::new() };
        Ok(Sweep { over, ..Sweep::default() })
    };
    let (store, timers) = (Noted::new(script), Timers::default());
    store.busy_runs.lock().unwrap().push(run);
    let meanwhile = async {
        tokio::time::sleep(3 * PAUSE).await;
        let asked = store.finishings.load(Ordering::Relaxed);
        assert!((6..=12).contains(&asked), "asked {asked} times in three rounds");
        assert_eq!(*store.ended.lock().unwrap(), []);
        store.busy_runs.lock().unwrap().clear();
        tokio::time::sleep(2 * PAUSE).await;
    };
    sweep_during(&store, &timers, meanwhile).await;
    let ended = store.ended.lock().unwrap().clone();
    assert!(matches!(ended[..], [(at, it)] if it == run && at <= 5 * PAUSE), "{ended:?}");
}

/// A page a second, and from the beginning again a while after the last one.
#[tokio::test(start_paused = true)]
async fn runs_that_nobody_works_at_are_told_page_by_page() {
    let (store, timers) = (Noted::new(|_| Ok(Sweep::default())), Timers::default());
    let (first, second) = (RunId::generate(), RunId::generate());
    *store.untold.lock().unwrap() = vec![second, first];
    let meanwhile = tokio::time::sleep(2 * no_worker::PAUSE + 5 * no_worker::PAGE_PAUSE);
    sweep_during(&store, &timers, meanwhile).await;
    let told = store.told_behind.lock().unwrap().clone();
    let behind: Vec<_> = told.iter().map(|(_, run)| *run).collect();
    assert_eq!(behind, [None, Some(first), Some(second), None], "{told:?}");
    assert!(told[0].0 >= no_worker::PAUSE, "workers may come a moment later: {told:?}");
    let pauses: Vec<_> = told.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let round = PAUSE * 2;
    assert!(pauses[0] <= no_worker::PAGE_PAUSE + round, "{told:?}");
    assert!((no_worker::PAUSE..=no_worker::PAUSE + round).contains(&pauses[2]), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_broker_is_asked_for_its_depth_once_a_second() {
    let broker = Arc::new(InProcess::new());
    let mut queue = QueueMonitor::new(broker.clone());
    assert!(queue.state().await.is_up);
    broker.close().await;
    assert!(queue.state().await.is_up, "the answer of before holds");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!queue.state().await.is_up);
}

/// Those that cannot be ended keep nobody else from ending, and are asked for ever more rarely.
#[tokio::test(start_paused = true)]
async fn runs_that_are_too_large_keep_no_others_from_ending() {
    let (store, timers) = (Noted::new(|_| Ok(Sweep::default())), Timers::default());
    let runs: Vec<_> = (0..400).map(|_| RunId::generate()).collect();
    let too_large = vec![runs[0], runs[133], runs[399]];
    store.over.lock().unwrap().clone_from(&runs);
    store.too_large.lock().unwrap().clone_from(&too_large);
    let late = RunId::generate();
    let meanwhile = async {
        tokio::time::sleep(10 * PAUSE).await;
        assert_eq!(*store.over.lock().unwrap(), too_large);
        store.over.lock().unwrap().push(late);
        tokio::time::sleep(2 * PAUSE).await;
        assert_eq!(*store.over.lock().unwrap(), too_large, "a later one has ended as well");
        let before = store.finishings.load(Ordering::Relaxed);
        tokio::time::sleep(600 * PAUSE).await;
        let asked = store.finishings.load(Ordering::Relaxed) - before;
        assert!((3..60).contains(&asked), "asked {asked} times in ten minutes");
        store.too_large.lock().unwrap().clear();
        tokio::time::sleep(400 * PAUSE).await;
        assert_eq!(
            *store.over.lock().unwrap(),
            [],
            "the last thing that was wrong with them is over"
        );
    };
    sweep_during(&store, &timers, meanwhile).await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_takes_too_long_takes_fewer_rows() {
    let script = |sweeps| match sweeps {
        1..=4 => Err(StoreError::TooSlow("canceling statement due to timeout".into())),
        _ => Ok(Sweep::default()),
    };
    let (store, timers) = (Noted::new(script), Timers::default());
    sweep_during(&store, &timers, tokio::time::sleep(15 * PAUSE)).await;
    let expected = [500, 62, 7, 1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 500];
    assert_eq!(store.limits.lock().unwrap()[..expected.len()], expected);
}

/// To scan a slice of the running rows may take too long while somebody holds a snapshot. Workers that die are found
/// all the same.
#[tokio::test(start_paused = true)]
async fn running_rows_that_are_too_many_keep_no_dead_worker_from_being_found() {
    let (store, timers) = (Noted::new(|_| Ok(done_to_1970())), Timers::default());
    store.patrols_are_slow.store(true, Ordering::Relaxed);
    sweep_during(&store, &timers, tokio::time::sleep(100 * PAUSE)).await;
    let reaps = store.reaps.lock().unwrap();
    let ended = reaps.iter().filter(|scope| **scope == ReapScope::Ended).count();
    assert_eq!((reaps.len() - ended, ended >= 45), (4, true), "{reaps:?}");
    let slices: Vec<_> = reaps.iter().filter_map(slice).collect();
    let lengths = slices.iter().map(|slice| slice.before.unwrap() - slice.from.unwrap());
    assert!(lengths.is_sorted_by(|one, next| next < one), "each is shorter: {slices:?}");
}

fn done_to_1970() -> Sweep {
    Sweep { done_to: Some(DateTime::UNIX_EPOCH), ..Sweep::default() }
}

fn slice(scope: &ReapScope) -> Option<DueRange> {
    match scope {
        ReapScope::Running(range) => Some(*range),
        ReapScope::Ended => None,
    }
}

/// No deadline is between two slices, neither a past one nor one that lies ahead.
#[tokio::test(start_paused = true)]
async fn every_running_row_is_scanned_now_and_then() {
    let (store, timers) = (Noted::new(|_| Ok(done_to_1970())), Timers::default());
    sweep_during(&store, &timers, tokio::time::sleep(100 * PAUSE)).await;
    let slices: Vec<_> = store.reaps.lock().unwrap().iter().filter_map(slice).collect();
    let scans: Vec<_> = slices.split_inclusive(|slice| slice.before.is_none()).collect();
    assert_eq!(scans.len(), 4, "a look every half a minute: {slices:?}");
    for scan in scans {
        let mut scan = scan.to_vec();
        scan.sort_by_key(|slice| (slice.from.is_some(), slice.from));
        assert_eq!((scan[0].from, scan[scan.len() - 1].before), (None, None), "{scan:?}");
        assert!(scan.len() > 10, "not all at once: {scan:?}");
        assert!(scan.windows(2).all(|pair| pair[0].before == pair[1].from), "{scan:?}");
    }
}

/// However busy an organization is: after a while a sweep waits its turn, one organization at a time, and one whose totals
/// somebody keeps stands in nobody's way.
#[tokio::test(start_paused = true)]
async fn steps_whose_totals_are_always_held_are_waited_for_in_turn() {
    let (store, timers) = (Noted::new(|_| Ok(Sweep::default())), Timers::default());
    *store.held.lock().unwrap() = [LOCKED, "busy", "other"].map(str::to_owned).to_vec();
    sweep_during(&store, &timers, tokio::time::sleep(HELD_MAX - PAUSE_MIN)).await;
    assert!(store.waited_for.lock().unwrap().is_empty(), "not before it is too long");
    let (store, timers) = (Noted::new(|_| Ok(Sweep::default())), Timers::default());
    *store.held.lock().unwrap() = [LOCKED, "busy", "other"].map(str::to_owned).to_vec();
    sweep_during(&store, &timers, tokio::time::sleep(2 * HELD_MAX + 3 * PAUSE)).await;
    let waited = store.waited_for.lock().unwrap().clone();
    let whose: Vec<_> = waited.iter().map(|(_, organization)| organization.as_str()).collect();
    assert_eq!(whose, ["busy", LOCKED, "other", LOCKED]);
    assert!(waited[2].0 <= HELD_MAX + 3 * PAUSE, "{waited:?}");
    assert_eq!(*store.held.lock().unwrap(), [LOCKED]);
    assert!(store.sweeps().len() >= 10, "and everything else goes on");
}

/// Slowly, and page by page while there are more than one takes.
#[tokio::test(start_paused = true)]
async fn drafts_that_nobody_uses_go_now_and_then() {
    let (store, timers) = (Noted::new(|_| Ok(Sweep::default())), Timers::default());
    store.drafts.store(4 * drafts::PAGE + 1, Ordering::Relaxed);
    sweep_during(&store, &timers, tokio::time::sleep(3 * drafts::PAUSE)).await;
    let at = store.prunings.lock().unwrap().clone();
    let [first, second, third, fourth, fifth, last] = at[..] else { panic!("{at:?}") };
    assert!(first <= Duration::from_secs(61), "{first:?}");
    let pauses = [second - first, third - second, fourth - third, fifth - fourth, last - fifth];
    for pause in [pauses[0], pauses[4]] {
        assert!((drafts::PAUSE..drafts::PAUSE + 2 * PAUSE).contains(&pause), "{pauses:?}");
    }
    assert!(pauses[1..4].iter().all(|pause| *pause <= 2 * PAUSE), "{pauses:?}");
    assert_eq!(store.drafts.load(Ordering::Relaxed), 0);
}
