//! Everything at once: claims, commits, sweeps, reaps, cancellations and ends of random graphs, by workers
//! that crash, hang, lose replies and lose messages. When it is calm again, every node has ended once,
//! the way its graph says, and the log shows exactly that.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, CallId, LeaseId, RunId};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::run::{ClosedSegment, EndedRun};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::engine::{Claim, ClaimRequest, Claimed, Commit, CommitFrom, Committed};
use skein_shared::store::recovery::{DueRange, ReapScope, SweepOptions};
use skein_shared::store::runs::{LogRow, RunDetail};
use skein_shared::store::{DatabaseClock, Store, StoreError};
use tokio::time::Instant;

use super::dag::Dag;
use super::world::{SWEEP, World, fail, finish, skip, span, succeed, words};

const RUNS: usize = 50;
const WORKERS: u64 = 5;
/// How long workers misbehave.
const STORM: Duration = Duration::from_millis(2_500);
/// How long it may take until everything has ended, on a slow and busy machine.
const CALM: Duration = Duration::from_secs(60);
/// A worker that hangs for longer than this is dead.
const TTL: Duration = Duration::from_millis(80);

/// What all tasks share.
struct Sky {
    world: World,
    dags: HashMap<RunId, Dag>,
    /// The broker: hints that get lost, doubled and reordered.
    hints: Mutex<VecDeque<ActivationKey>>,
    /// How often a commit said that it made this node succeed.
    succeeded: Mutex<HashMap<ActivationKey, u32>>,
    /// Runs that some call said it ended.
    ended: Mutex<Vec<EndedRun>>,
    /// Segments that some sweep said it closed.
    closed: Mutex<Vec<ClosedSegment>>,
    calm: AtomicBool,
    over: AtomicBool,
}

/// Repeats a call that failed for a passing reason.
macro_rules! patiently {
    ($call:expr) => {
        loop {
            match $call.await {
                Ok(done) => break done,
                Err(error) => check_passing(&error),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
}

/// A deadlock passes too, but is a lock order that we got wrong.
fn check_passing(error: &StoreError) {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    assert!(error.is_retryable() && !cause.contains("deadlock"), "{error}: {cause}");
}

impl Sky {
    fn is_stormy(&self) -> bool {
        !self.calm.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn hint(&self, rng: &mut fastrand::Rng, key: &ActivationKey) {
        let copies = if self.is_stormy() { [0, 1, 1, 1, 1, 1, 1, 2][rng.usize(..8)] } else { 1 };
        let mut hints = self.hints.lock().unwrap();
        for _ in 0..copies {
            if rng.bool() {
                hints.push_front(key.clone());
            } else {
                hints.push_back(key.clone());
            }
        }
    }

    async fn finish(&self, runs: &[RunId]) {
        let ended = patiently!(self.world.store.finish_runs(CallId::generate(), runs));
        self.ended.lock().unwrap().extend(ended.ended);
    }
}

struct Worker {
    sky: Arc<Sky>,
    rng: fastrand::Rng,
    lease: LeaseId,
    /// Rows that this worker's commits left running for it.
    kept: Vec<Claimed>,
}

impl Worker {
    async fn work(mut self) {
        while !self.sky.is_over() {
            let held: Vec<_> = self.kept.iter().map(|claimed| claimed.key.clone()).collect();
            let store = Arc::clone(&self.sky.world.store);
            match patiently!(store.heartbeat(self.lease, 1)) {
                Some(heard) => {
                    patiently!(store.release_strays(self.lease, &held, heard));
                }
                None => self.rise_again().await,
            }
            let mut commits = self.take_hints().await;
            let kept = std::mem::take(&mut self.kept);
            commits.extend(kept.iter().map(|claimed| self.outcome_of(claimed)));
            if self.is_unlucky(0.03) {
                // Killed: what was claimed is left behind.
                self.rise_again().await;
                continue;
            }
            if self.is_unlucky(0.03) {
                // Frozen, and back with what it had, too late or just in time.
                tokio::time::sleep(TTL + TTL / 2).await;
            }
            if commits.is_empty() {
                tokio::time::sleep(Duration::from_millis(3)).await;
                continue;
            }
            self.commit(commits).await;
        }
    }

    fn is_unlucky(&mut self, probability: f64) -> bool {
        self.sky.is_stormy() && self.rng.f64() < probability
    }

    /// A new life under a new lease.
    async fn rise_again(&mut self) {
        self.kept.clear();
        self.lease = self.sky.world.lease_for(TTL).await;
    }

    async fn take_hints(&mut self) -> Vec<Commit> {
        let mut keys = HashSet::new();
        {
            let mut hints = self.sky.hints.lock().unwrap();
            while keys.len() < 8 {
                let Some(key) = hints.pop_front() else { break };
                keys.insert(key);
            }
        }
        if keys.is_empty() {
            return Vec::new();
        }
        let request = |key| ClaimRequest { key, span: span() };
        let batch: Vec<_> = keys.into_iter().map(request).collect();
        let store = Arc::clone(&self.sky.world.store);
        let mut claims = patiently!(store.claim(self.lease, true, &batch));
        if self.is_unlucky(0.1) {
            claims = patiently!(store.claim(self.lease, true, &batch));
        }
        let mut commits = Vec::new();
        let mut apart = None;
        for (request, claim) in batch.iter().zip(claims) {
            match claim {
                Claim::Won(claimed) => commits.push(self.outcome_of(&claimed)),
                Claim::Apart => apart = Some(request),
                Claim::Skip(_) => {
                    let dag = &self.sky.dags[&request.key.run];
                    let rng = &mut self.rng;
                    commits.push(dag.follow(skip(&request.key), true, || rng.u8(..3) == 0));
                }
                Claim::Deferred | Claim::Cancelled | Claim::Missed => {}
            }
        }
        if let Some(request) = apart.filter(|_| commits.is_empty() && self.kept.is_empty()) {
            let request = std::slice::from_ref(request);
            if let Claim::Won(claimed) =
                patiently!(store.claim(self.lease, true, request)).remove(0)
            {
                commits.push(self.outcome_of(&claimed));
            }
        }
        commits
    }

    fn outcome_of(&mut self, claimed: &Claimed) -> Commit {
        let dag = &self.sky.dags[&claimed.key.run];
        let done = succeed(claimed);
        let parked =
            |outcome| Commit { outcome: Arc::new(outcome), events: Vec::new(), ..done.clone() };
        // Some wait for long, so that their run is to be rechecked; the sweepers shorten it.
        let delay = match self.rng.bool() {
            true => Duration::from_millis(self.rng.u64(..30)),
            false => Duration::from_secs(6),
        };
        if self.sky.is_stormy() {
            let error = Failure::new("timeout", "slow");
            match self.rng.u8(..20) {
                0 | 1 => return parked(AttemptOutcome::Retry { input: None, error, delay }),
                2 => {
                    return parked(AttemptOutcome::Waiting {
                        input: None,
                        waiting_for: WaitFor::Time(delay),
                    });
                }
                3 => return parked(AttemptOutcome::Deferred { delay: Duration::ZERO }),
                _ => {}
            }
        }
        if dag.is_end(&claimed.key) {
            finish(claimed, "1")
        } else if dag.fails == Some(dag.node(&claimed.key.node)) {
            fail(claimed)
        } else {
            let rng = &mut self.rng;
            dag.follow(done, false, || rng.u8(..3) == 0)
        }
    }

    async fn commit(&mut self, batch: Vec<Commit>) {
        let store = Arc::clone(&self.sky.world.store);
        let mut outcomes = patiently!(store.commit(self.lease, &batch));
        if self.is_unlucky(0.1) {
            // The reply got lost. Others have gone on meanwhile, so the second one may know of less to do.
            let again = patiently!(store.commit(self.lease, &batch));
            for (commit, (first, again)) in batch.iter().zip(outcomes.iter().zip(&again)) {
                assert!(again.flipped || !first.flipped, "{} was forgotten", commit.key);
                let was_running = |node: &str| {
                    let found = first.activated.iter().find(|row| &*row.node == node);
                    found.is_some_and(|row| row.state == NodeState::Running)
                };
                let running = again.activated.iter().filter(|row| row.state == NodeState::Running);
                assert!(running.clone().all(|row| was_running(&row.node)), "{}", commit.key);
                assert!(again.ended.is_none() || first.ended.is_some());
            }
            // What it does not know of any more (a reaper took it) is not this worker's to go on with.
            for (first, again) in outcomes.iter_mut().zip(again) {
                first.activated = again.activated;
            }
        }
        for (commit, outcome) in batch.into_iter().zip(outcomes) {
            if outcome.flipped {
                self.go_on(commit, outcome).await;
            }
        }
    }

    async fn go_on(&mut self, commit: Commit, outcome: Committed) {
        let run = commit.key.run;
        let is_claimed = matches!(commit.from, CommitFrom::Running { .. });
        if is_claimed && matches!(*commit.outcome, AttemptOutcome::Succeeded { .. }) {
            *self.sky.succeeded.lock().unwrap().entry(commit.key.clone()).or_default() += 1;
        }
        for row in outcome.activated {
            let key = ActivationKey { run, node: row.node, scope: row.scope };
            match row.state {
                NodeState::Running => self.keep(key, row.claim),
                NodeState::Queued | NodeState::Skipping => self.sky.hint(&mut self.rng, &key),
                _ => {}
            }
        }
        self.sky.ended.lock().unwrap().extend(outcome.ended);
        if outcome.finishing && self.rng.bool() {
            self.sky.finish(&[run]).await;
        }
    }

    fn keep(&mut self, key: ActivationKey, claim: u32) {
        // Only key and claim number of it are looked at.
        let now = chrono::Utc::now();
        let header = self.sky.world.header(key.run);
        self.kept.push(Claimed {
            key,
            run: header,
            claim,
            span: span(),
            attempt: 1,
            failures: 0,
            strikes: 0,
            crashes: 0,
            crashed: false,
            suspect: false,
            waited_until: None,
            waited_for: None,
            publish_span: span(),
            queued_at: now,
            started_at: now,
            clock: DatabaseClock::showing(now),
            started_run: false,
        });
    }
}

/// One sweeper of several: publishes what is due, reaps, finishes.
async fn sweep(sky: Arc<Sky>, mut rng: fastrand::Rng) {
    let runs: Vec<_> = sky.dags.keys().copied().collect();
    let store = Arc::clone(&sky.world.store);
    while !sky.is_over() {
        // Back-offs are half a minute and more; a storm has no time for that.
        let some: Vec<_> = runs.iter().copied().filter(|_| rng.u8(..4) == 0).collect();
        patiently!(store.make_due(&some));
        let options = SweepOptions {
            limit: 60,
            queue_deep: sky.is_stormy() && rng.bool(),
            trace_wait_max: if rng.bool() { Duration::ZERO } else { SWEEP.trace_wait_max },
            call: CallId::generate(),
            ..SWEEP
        };
        patiently!(store.suspend(&some));
        let swept = patiently!(store.sweep(options));
        let closed = patiently!(store.closed_segments(options.call));
        sky.closed.lock().unwrap().extend(closed);
        for wake in swept.wake {
            sky.hint(&mut rng, &wake.key);
        }
        patiently!(store.reap(50, ReapScope::ALL));
        let due = patiently!(store.due_runs(60, DueRange::ALL));
        patiently!(store.suspend(&due.waiting));
        sky.finish(&due.over).await;
        tokio::time::sleep(Duration::from_millis(rng.u64(5..25))).await;
    }
}

/// Cancels one run in six, at any moment.
async fn cancel(sky: Arc<Sky>, mut rng: fastrand::Rng) {
    let runs: Vec<_> = sky.dags.keys().copied().filter(|_| rng.u8(..6) == 0).collect();
    for run in &runs {
        tokio::time::sleep(Duration::from_millis(rng.u64(..100))).await;
        let store = &sky.world.store;
        patiently!(store.request_cancel(&sky.world.tenant, *run));
        if rng.bool() {
            sky.finish(&[*run]).await;
        }
    }
}

/// Fifty random graphs.
pub async fn every_node_of_every_run_ends_once_in_a_storm(store: Arc<dyn Store>) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let world = World::new(store).await;
    let mut dags = HashMap::new();
    let mut hints = VecDeque::new();
    for index in 0..RUNS {
        let dag = Dag::random(seed.wrapping_add(index as u64));
        let entries = dag.entries();
        let entries: Vec<_> = entries.iter().map(String::as_str).collect();
        let run = world.accept(&entries).await;
        hints.extend(entries.iter().map(|node| ActivationKey::root(run, *node)));
        dags.insert(run, dag);
    }
    let sky = Arc::new(Sky {
        world,
        dags,
        hints: Mutex::new(hints),
        succeeded: Mutex::default(),
        ended: Mutex::default(),
        closed: Mutex::default(),
        calm: AtomicBool::new(false),
        over: AtomicBool::new(false),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..WORKERS {
        let lease = sky.world.lease_for(TTL).await;
        let rng = fastrand::Rng::with_seed(seed ^ number);
        tasks.spawn(Worker { sky: Arc::clone(&sky), rng, lease, kept: Vec::new() }.work());
    }
    for number in 0..2 {
        tasks.spawn(sweep(Arc::clone(&sky), fastrand::Rng::with_seed(seed ^ (100 + number))));
    }
    tasks.spawn(cancel(Arc::clone(&sky), fastrand::Rng::with_seed(seed ^ 200)));
    wait_for_the_end(&sky, &mut tasks).await;
    println!("{} traces were left behind", sky.closed.lock().unwrap().len());
    assert!(!sky.closed.lock().unwrap().is_empty());
    for (run, dag) in &sky.dags {
        check_run(&sky, *run, dag).await;
    }
}

async fn wait_for_the_end(sky: &Arc<Sky>, tasks: &mut tokio::task::JoinSet<()>) {
    let runs: Vec<_> = sky.dags.keys().copied().collect();
    let start = Instant::now();
    while sky.world.store.ended_runs(&runs).await.unwrap().len() < RUNS {
        sky.calm.store(start.elapsed() > STORM, Ordering::Relaxed);
        assert!(start.elapsed() < CALM, "runs are stuck: {:?}", stuck(sky).await);
        // A task that failed is heard of at once.
        while let Some(done) = tasks.try_join_next() {
            done.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sky.over.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

async fn stuck(sky: &Sky) -> Vec<(RunId, BTreeMap<String, NodeState>)> {
    let mut stuck = Vec::new();
    for run in sky.dags.keys() {
        let detail = sky.world.detail(*run).await;
        if !detail.summary.state.is_terminal() {
            stuck.push((*run, detail.nodes.into_iter().map(|row| (row.node, row.state)).collect()));
        }
    }
    stuck
}

async fn check_run(sky: &Sky, run: RunId, dag: &Dag) {
    let detail = sky.world.detail(run).await;
    let log = sky.world.log_now(run).await;
    let states: BTreeMap<_, _> =
        detail.nodes.iter().map(|row| (row.node.clone(), row.state)).collect();
    let expected = dag.expected();
    let state = detail.summary.state;
    assert_eq!(states.len(), detail.nodes.len(), "a node has two rows");
    for (node, state) in &states {
        assert!(state.is_terminal(), "{run}/{node} is {state}");
        if matches!(state, NodeState::Succeeded | NodeState::Skipped) {
            assert_eq!(Some(state), expected.get(node), "{run}/{node}");
        }
        let count = |event: &str| {
            let about = log.iter().filter(|row| row.node.as_deref() == Some(node));
            about.filter(|row| row.event == event).count() as u32
        };
        let once = |wanted| u32::from(*state == wanted);
        assert_eq!(count("node.succeeded"), once(NodeState::Succeeded), "{run}/{node}");
        assert_eq!(count("node.skipped"), once(NodeState::Skipped), "{run}/{node}");
        assert_eq!(count("node.failed"), once(NodeState::Failed), "{run}/{node}");
        assert_eq!(count("node.cancelled"), once(NodeState::Cancelled), "{run}/{node}");
        let key = ActivationKey::root(run, node.as_str());
        let reported = sky.succeeded.lock().unwrap().get(&key).copied().unwrap_or_default();
        assert_eq!(reported, once(NodeState::Succeeded), "{run}/{node}");
    }
    if state == RunState::Succeeded {
        assert_eq!(states, expected, "{run}");
    }
    let words = words(&log);
    assert_eq!(words[0], "run.accepted");
    assert_eq!(*words.last().unwrap(), format!("run.{state}"));
    let ends = ["run.succeeded", "run.failed", "run.cancelled"];
    assert_eq!(words.iter().filter(|word| ends.contains(word)).count(), 1);
    let ended = sky.ended.lock().unwrap();
    let reports: Vec<_> = ended.iter().filter(|ended| ended.header.id == run).collect();
    assert_eq!(reports.len(), 1, "{run} was said to be ended");
    assert_eq!(reports[0].state, state);
    let fails = dag.fails.filter(|_| state == RunState::Failed).map(|node| format!("n{node}"));
    assert_eq!(
        detail.summary.error.as_ref().and_then(|error| error.node.clone()).as_deref(),
        fails.as_deref()
    );
    assert!(matches!(detail.summary.state, RunState::Succeeded) == detail.output.is_some());
    check_traces(sky, &detail, &log);
}

/// Every span is where its log row says, in a trace of the run; and each trace that was left behind was returned once.
fn check_traces(sky: &Sky, detail: &RunDetail, log: &[LogRow]) {
    let run = detail.summary.id;
    let mut traces: Vec<_> = detail.earlier.iter().map(|segment| segment.trace).collect();
    let closed = sky.closed.lock().unwrap();
    let exported = closed.iter().filter(|closed| closed.header.id == run);
    let mut exported: Vec<_> = exported.map(|closed| closed.header.trace.trace).collect();
    exported.sort_by_key(|trace| traces.iter().position(|known| known == trace));
    assert_eq!(exported, traces, "{run}");
    traces.push(detail.summary.trace.trace);
    assert_eq!(traces.len(), detail.summary.segment as usize, "{run}");
    let mut logged = log.iter().map(|row| row.trace).collect::<Vec<_>>();
    logged.dedup();
    assert_eq!(logged, traces, "{run} goes from trace to trace and never back");
    let started = log.iter().filter(|row| row.event == "node.started");
    let started: HashMap<_, _> = started.map(|row| (row.span, row.trace)).collect();
    for node in &detail.nodes {
        let earlier = node.earlier.iter().map(|attempt| (attempt.span, attempt.trace));
        for (span, trace) in earlier.chain([(node.span, node.trace)]) {
            if let Some(logged) = span.and_then(|span| started.get(&span)) {
                assert_eq!(trace, *logged, "{run}/{}", node.node);
            }
        }
    }
}
