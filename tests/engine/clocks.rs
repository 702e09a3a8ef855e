//! Workers whose clock is not the database's.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::state::RunState;
use skein_shared::store::Store;
use skein_tests::postgres;

use crate::fleet::{Fleet, node};

/// By how much the clocks differ.
const OFF: TimeDelta = TimeDelta::minutes(15);

/// What a delay does until a moment that is `ahead` by the database's clock, which is `off` the workers' own: whether it
/// waited, the moment, and until when it did.
async fn delayed(
    off: TimeDelta,
    ahead: TimeDelta,
    first: bool,
) -> (bool, DateTime<Utc>, DateTime<Utc>) {
    let (tell, told) = tokio::sync::oneshot::channel();
    postgres::with_database(async move |database| {
        let seconds = i32::try_from(off.num_seconds()).unwrap();
        let store: Arc<dyn Store> =
            Arc::new(database.store_with_clock_off_by(seconds).await.unwrap());
        let fleet = Fleet::start(Arc::clone(&store), Arc::new(InProcess::new()), 1);
        let wait =
            json!({ "id": "wait", "type": "delay", "params": { "until": "{{ input.until }}" } });
        let before = json!({ "id": "before", "type": "transform", "params": { "value": 1 } });
        // Behind another node it rides in that one's commit.
        let (nodes, edges): (Vec<Value>, Vec<Value>) = match first {
            true => (vec![wait], Vec::new()),
            false => (vec![before, wait], vec![json!({ "from": "before", "to": "wait" })]),
        };
        let document = json!({ "name": "w", "nodes": nodes, "edges": edges });
        let published = fleet.publish(&document).await;
        let until = Utc::now() + off + ahead;
        let input = json!({ "until": until.to_rfc3339_opts(SecondsFormat::Millis, true) });
        let run = fleet.start_run(&published, &input).await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.summary.state, RunState::Succeeded, "{}", fleet.story(run).await);
        let row = node(&detail, "wait").unwrap();
        let output: Value = serde_json::from_str(row.output.as_deref().unwrap()).unwrap();
        let waited = row.earlier.iter().any(|attempt| attempt.outcome == "waiting");
        let moment = output["waited_until"].as_str().unwrap().parse().unwrap();
        tell.send((waited, until, moment)).unwrap();
        fleet.stop().await;
        store.close().await;
    })
    .await;
    told.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_until_a_moment_ahead_is_waited_for_by_a_worker_whose_clock_is_fast() {
    for first in [true, false] {
        // By the worker's clock this was a quarter of an hour ago.
        let (waited, until, moment) = delayed(-OFF, TimeDelta::seconds(2), first).await;
        assert!(waited, "it did not wait");
        let late = moment - until;
        assert!(late > -TimeDelta::milliseconds(1) && late < OFF / 2, "{late}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_until_a_moment_that_has_passed_is_none_for_a_worker_whose_clock_is_slow() {
    for first in [true, false] {
        // By the worker's clock there are minutes left.
        let (waited, until, moment) = delayed(OFF, -OFF / 2, first).await;
        assert!(!waited, "it waited");
        assert_eq!(moment.timestamp_millis(), until.timestamp_millis());
    }
}
