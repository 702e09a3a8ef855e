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

/// What a delay does until a moment that is `ahead` of the workers' own clock, when the database's is `off` that: whether
/// it waited, and how long after that moment it went on.
async fn delayed(off: TimeDelta, ahead: TimeDelta, first: bool) -> (bool, TimeDelta) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    postgres::with_database(async move |database| {
        let seconds = i32::try_from(off.num_seconds()).unwrap();
        let store: Arc<dyn Store> =
            Arc::new(database.store_with_clock_off_by(seconds).await.unwrap());
        let fleet = Fleet::start(Arc::clone(&store), Arc::new(InProcess::new()), 1);
        let wait =
            json!({ "id": "wait", "type": "delay", "params": { "until": "{{ input.until }}" } });
        let before = json!({ "id": "before", "type": "transform", "params": { "value": 1 } });
        // Behind another node it is inlined into that one's commit.
        let (nodes, edges): (Vec<Value>, Vec<Value>) = match first {
            true => (vec![wait], Vec::new()),
            false => (vec![before, wait], vec![json!({ "from": "before", "to": "wait" })]),
        };
        let document = json!({ "name": "w", "nodes": nodes, "edges": edges });
        let published = fleet.publish(&document).await;
        let until = Utc::now() + ahead;
        let input = json!({ "until": until.to_rfc3339_opts(SecondsFormat::Millis, true) });
        let run = fleet.start_run(&published, &input).await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.summary.state, RunState::Succeeded, "{}", fleet.story(run).await);
        let row = node(&detail, "wait").unwrap();
        let output: Value = serde_json::from_str(row.output.as_deref().unwrap()).unwrap();
        let waited = row.earlier.iter().any(|attempt| attempt.outcome == "waiting");
        let moment: DateTime<Utc> = output["waited_until"].as_str().unwrap().parse().unwrap();
        let late = moment.timestamp_millis() - until.timestamp_millis();
        sender.send((waited, TimeDelta::milliseconds(late))).unwrap();
        fleet.stop().await;
        store.close().await;
    })
    .await;
    receiver.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_until_a_moment_ahead_is_waited_for_by_a_worker_whose_clock_is_fast() {
    for first in [true, false] {
        // By the worker's clock this was a quarter of an hour ago.
        let (waited, late) = delayed(-OFF, TimeDelta::seconds(5) - OFF, first).await;
        assert!(waited, "it did not wait");
        assert!(late >= TimeDelta::zero() && late < OFF / 2, "{late}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_until_a_moment_that_has_passed_is_none_for_a_worker_whose_clock_is_slow() {
    for first in [true, false] {
        // By the worker's clock there are minutes left.
        let (waited, late) = delayed(OFF, OFF / 2, first).await;
        assert!(!waited, "it waited");
        assert_eq!(late, TimeDelta::zero());
    }
}
