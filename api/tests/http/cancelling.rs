//! Cancelling runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use skein_shared::domain::ids::{CallId, RunId};
use skein_shared::domain::run::{AbandonedAttempt, ClosedSegment};
use skein_shared::finish::Finisher;
use skein_shared::store::recovery::{
    DueRange, DueRuns, Finished, NoWorkerTold, OpenRun, ReapScope, Sweep, SweepOptions,
};
use skein_shared::store::{RecoveryStore, Store, StoreError};

use crate::harness::{Parts, Server};

#[tokio::test]
async fn a_run_that_nobody_works_at_is_cancelled_at_once() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let id = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{id}/cancel");
    let run = ada.post(&path, &json!({})).await.expect(202);
    assert_eq!((&run["status"], &run["cancelling"]), (&json!("cancelled"), &json!(false)));
    assert_eq!(run["nodes"][0]["status"], "cancelled");

    let before = ada.rows().await;
    let problem = ada.post(&path, &json!({})).await.problem(409, "run-ended");
    assert_eq!(problem["detail"], "the run has ended: cancelled");
    assert_eq!(ada.rows().await, before);

    let log = ada.get(&format!("/v1/runs/{id}/logs")).await.expect(200);
    let events: Vec<_> = log["items"].as_array().unwrap().iter().map(|row| &row["event"]).collect();
    assert!(events.contains(&&json!("run.cancel_requested")), "{events:?}");
    assert!(events.contains(&&json!("run.cancelled")), "{events:?}");
}

#[tokio::test]
async fn a_run_that_is_not_there_cannot_be_cancelled() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let path = "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/cancel";
    ada.post(path, &json!({})).await.problem(404, "run-not-found");
}

type Outcome<T> = Result<T, StoreError>;

/// A store that ends runs as ever, and of whose first answers to that one is lost.
struct LostReply {
    inner: Arc<dyn Store>,
    calls: Mutex<Vec<CallId>>,
    reported: AtomicUsize,
}

#[async_trait]
impl RecoveryStore for LostReply {
    async fn sweep(&self, options: SweepOptions) -> Outcome<Sweep> {
        self.inner.sweep(options).await
    }

    async fn closed_segments(&self, call: CallId) -> Outcome<Vec<ClosedSegment>> {
        self.inner.closed_segments(call).await
    }

    async fn expire_runs(&self, limit: u32) -> Outcome<u32> {
        self.inner.expire_runs(limit).await
    }

    async fn due_runs(&self, limit: u32, range: DueRange) -> Outcome<DueRuns> {
        self.inner.due_runs(limit, range).await
    }

    async fn suspend(&self, runs: &[RunId]) -> Outcome<u64> {
        self.inner.suspend(runs).await
    }

    async fn reap(&self, limit: u32, scope: ReapScope) -> Outcome<Vec<AbandonedAttempt>> {
        self.inner.reap(limit, scope).await
    }

    async fn tell_of_no_worker(
        &self,
        waited: Duration,
        after: Option<&OpenRun>,
        limit: u32,
    ) -> Outcome<NoWorkerTold> {
        self.inner.tell_of_no_worker(waited, after, limit).await
    }

    async fn finish_runs(&self, call: CallId, runs: &[RunId]) -> Outcome<Finished> {
        let finished = self.inner.finish_runs(call, runs).await?;
        let is_first = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(call);
            calls.len() == 1
        };
        if is_first {
            return Err(StoreError::Unavailable("the reply is lost".into()));
        }
        self.reported.fetch_add(finished.ended.len(), Ordering::Relaxed);
        Ok(finished)
    }

    async fn prune_drafts(&self, unused_for: Duration, limit: u32) -> Outcome<u32> {
        self.inner.prune_drafts(unused_for, limit).await
    }
}

/// Nobody else may export the end of the run: its root span would be missing.
#[tokio::test]
async fn a_cancel_whose_reply_is_lost_is_reported_of_by_the_sweeper() {
    let parts = Parts::default();
    let (calls, reported) = (Mutex::default(), AtomicUsize::new(0));
    let store = Arc::new(LostReply { inner: Arc::clone(&parts.store), calls, reported });
    let finisher = Finisher::new(store.clone(), Arc::clone(&parts.broker));
    let server = Server::with(Parts { finisher: Some(finisher.clone()), ..parts }).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let id = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    let run = ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    assert_eq!(run["status"], "cancelled");
    assert_eq!(store.reported.load(Ordering::Relaxed), 0);
    // As the sweeper of the process does.
    finisher.go_on().await.unwrap();
    assert_eq!(store.reported.load(Ordering::Relaxed), 1, "of what a request has ended");
    let calls = store.calls.lock().unwrap().clone();
    assert!(matches!(calls[..], [first, second] if first == second), "{calls:?}");
}
