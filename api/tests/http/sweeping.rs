//! What a request wakes is swept for at once.

use std::sync::Arc;
use std::sync::mpsc as threads;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use skein_shared::broker::Broker;
use skein_shared::dispatch::Dispatcher;
use skein_shared::domain::ids::{ActivationKey, CallId, LeaseId, RunId};
use skein_shared::domain::run::{AbandonedAttempt, ClosedSegment};
use skein_shared::finish::Finisher;
use skein_shared::store::recovery::{
    DueRange, DueRuns, Finished, NoWorkerTold, OpenRun, ReapScope, Sweep, SweepOptions,
};
use skein_shared::store::steps::{
    Begun, LostSteps, RateRequest, RecordedStep, StepAnswer, StepIntent, StepWrite,
};
use skein_shared::store::{RecoveryStore, StepStore, StoreError};
use skein_shared::sweeper::{Sweeper, Timers};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::{Client, Parts, Server};
use crate::work::Work;

/// The pause between two sweeps when nobody asks for one.
const PAUSE: Duration = Duration::from_secs(1);
/// By how much the clock is moved on at a time.
const MOMENT: Duration = Duration::from_millis(5);

type Outcome<T> = Result<T, StoreError>;

/// A store in which there is nothing to sweep, and which tells when it was looked for.
struct Nothing {
    swept: mpsc::UnboundedSender<Instant>,
}

#[async_trait]
impl RecoveryStore for Nothing {
    async fn sweep(&self, _: SweepOptions) -> Outcome<Sweep> {
        self.swept.send(Instant::now()).unwrap();
        Ok(Sweep::default())
    }

    async fn closed_segments(&self, _: CallId) -> Outcome<Vec<ClosedSegment>> {
        Ok(Vec::new())
    }

    async fn expire_runs(&self, _: u32) -> Outcome<u32> {
        Ok(0)
    }

    async fn due_runs(&self, _: u32, _: DueRange) -> Outcome<DueRuns> {
        Ok(DueRuns::default())
    }

    async fn suspend(&self, _: &[RunId]) -> Outcome<u64> {
        Ok(0)
    }

    async fn reap(&self, _: u32, _: ReapScope) -> Outcome<Vec<AbandonedAttempt>> {
        Ok(Vec::new())
    }

    async fn tell_of_no_worker(
        &self,
        _: Duration,
        _: Option<&OpenRun>,
        _: u32,
    ) -> Outcome<NoWorkerTold> {
        Ok(NoWorkerTold::default())
    }

    async fn finish_runs(&self, _: CallId, _: &[RunId]) -> Outcome<Finished> {
        Ok(Finished::default())
    }

    async fn prune_drafts(&self, _: Duration, _: u32) -> Outcome<u32> {
        Ok(0)
    }
}

#[async_trait]
impl StepStore for Nothing {
    async fn recorded_steps(&self, _: &ActivationKey) -> Outcome<Vec<RecordedStep>> {
        panic!("no sweeper asks")
    }

    async fn write_steps(&self, _: LeaseId, _: &[StepWrite]) -> Outcome<Vec<StepAnswer>> {
        panic!("no sweeper asks")
    }

    async fn room_for(&self, _: &ActivationKey, _: &StepIntent) -> Outcome<Begun> {
        panic!("no sweeper asks")
    }

    async fn lose_steps(&self, _: Option<&str>) -> Outcome<LostSteps> {
        Ok(LostSteps::default())
    }

    async fn grant_starts(&self, _: &[RateRequest]) -> Outcome<Vec<Option<Duration>>> {
        panic!("no sweeper asks")
    }
}

/// A sweeper, and a clock that stands still unless it is waited for a sweep: however long a request takes, no time goes
/// by.
struct Sweeps {
    swept: mpsc::UnboundedReceiver<Instant>,
    last: Instant,
    stop: CancellationToken,
    /// The clock moves on by itself whenever nobody has anything to do, but not while another thread is at work: one
    /// is until this is dropped.
    _standing: threads::Sender<()>,
}

impl Sweeps {
    /// Starts it and waits for the first one, which nobody has asked for.
    async fn start(broker: &Arc<dyn Broker>, timers: Timers) -> Self {
        let (standing, until) = threads::channel::<()>();
        tokio::task::spawn_blocking(move || until.recv());
        tokio::time::pause();
        let (sender, swept) = mpsc::unbounded_channel();
        let (store, stop) = (Arc::new(Nothing { swept: sender }), CancellationToken::new());
        let sweeper = Sweeper {
            store: store.clone(),
            steps: store.clone(),
            broker: Arc::clone(broker),
            dispatcher: Dispatcher::start(&TaskTracker::new(), Arc::clone(broker), stop.clone()),
            finisher: Finisher::new(store, Arc::clone(broker)),
            timers,
            reap_after: Duration::from_secs(3600),
            trace_wait_max: Duration::from_secs(900),
        };
        tokio::spawn(sweeper.run(stop.clone()));
        let mut sweeps = Self { swept, last: Instant::now(), stop, _standing: standing };
        assert_eq!(sweeps.next().await, Duration::ZERO);
        sweeps
    }

    /// Waits for the next one, and says how much later than the one before it came.
    async fn next(&mut self) -> Duration {
        loop {
            // Whoever has something to do does it first.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            if let Ok(at) = self.swept.try_recv() {
                return at - std::mem::replace(&mut self.last, at);
            }
            tokio::time::advance(MOMENT).await;
        }
    }
}

impl Drop for Sweeps {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A run whose node waits for a decision about its first step, and its path.
async fn asking(server: &Server, ada: &Client) -> String {
    let run = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    Work::begin(&*server.store, &run).await.ask(1).await;
    format!("/v1/runs/{run}")
}

/// Not at the next sweep, which may be a second away: a person watches.
#[tokio::test]
async fn what_a_request_wakes_is_swept_for_at_once() {
    let timers = Timers::default();
    let server = Server::with(Parts { timers: timers.clone(), ..Parts::default() }).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = asking(&server, &ada).await;
    let mut sweeps = Sweeps::start(&server.broker, timers).await;

    let decision = format!("{run}/nodes/add/decision");
    ada.post(&decision, &json!({ "step": 1, "approved": true })).await.expect(204);
    let after_decision = sweeps.next().await;
    ada.post(&format!("{run}/budget"), &json!({ "max_steps": 9 })).await.expect(200);
    let after_budget = sweeps.next().await;
    let budgets = ada.request("PUT", "/v1/budgets").json(&json!({ "day": { "max_usd": 5 } }));
    Client::send(budgets).await.expect(200);
    let after_budgets = sweeps.next().await;
    for waited in [after_decision, after_budget, after_budgets] {
        assert!(waited < PAUSE / 10, "{waited:?}");
    }

    // What changes nothing wakes nobody.
    ada.post(&decision, &json!({ "step": 1, "approved": false })).await.problem(409, "not-pending");
    ada.post(&format!("{run}/budget"), &json!({ "max_steps": -1 })).await.expect(422);
    let unknown = "/v1/runs/00000000-0000-7000-8000-000000000000/budget";
    ada.post(unknown, &json!({ "max_steps": 9 })).await.expect(404);
    assert!(sweeps.next().await >= PAUSE);
}
