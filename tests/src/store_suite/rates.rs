//! Starts at providers: no two share what one takes.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::store::Store;
use skein_shared::store::steps::RateRequest;

const MINUTE: Duration = Duration::from_secs(60);

fn ask(provider: &str, requests: Option<u32>, per_minute: Option<u64>, tokens: u64) -> RateRequest {
    RateRequest {
        provider: provider.into(),
        requests_per_minute: requests,
        tokens_per_minute: per_minute,
        tokens,
    }
}

/// About as long: what passed between two calls is granted anew.
fn about(start: Option<Duration>, expected: Duration) -> bool {
    start.is_some_and(|start| start <= expected && start + Duration::from_secs(20) > expected)
}

/// Those of a batch get times one behind the other, each provider's its own.
pub async fn starts_of_a_batch_are_spaced(store: Arc<dyn Store>) {
    let batch = [
        ask("one", Some(1), None, 0),
        ask("two", Some(1), None, 0),
        ask("one", Some(1), None, 0),
        ask("free", None, None, 1_000_000),
        ask("one", Some(1), None, 0),
    ];
    let starts = store.grant_starts(&batch).await.unwrap();
    let expected = [0, 0, 1, 0, 2].map(|minutes| Some(MINUTE * minutes));
    assert_eq!(starts, expected);
    let next = store.grant_starts(&batch[..1]).await.unwrap();
    assert!(about(next[0], MINUTE * 3), "{next:?}");
    assert!(store.grant_starts(&[]).await.unwrap().is_empty());
}

/// What a provider takes in a second may come at once.
pub async fn what_a_second_takes_may_come_at_once(store: Arc<dyn Store>) {
    let batch = vec![ask("fast", Some(600), None, 0); 20];
    let starts = store.grant_starts(&batch).await.unwrap();
    let at_once = starts.iter().filter(|start| **start == Some(Duration::ZERO)).count();
    assert_eq!(at_once, 10);
    assert_eq!(starts[19], Some(Duration::from_secs(1)));
}

/// By tokens as well, and by whichever is later.
pub async fn a_large_call_holds_up_those_behind_it(store: Arc<dyn Store>) {
    let large = ask("tokens", Some(60), Some(1_000), 2_000);
    let small = ask("tokens", Some(60), Some(1_000), 1);
    let starts = store.grant_starts(&[large, small.clone(), small]).await.unwrap();
    // Two minutes, less what may come at once.
    let behind = MINUTE * 2 - Duration::from_secs(1);
    assert_eq!(starts, [Some(Duration::ZERO), Some(behind), Some(behind + Duration::from_secs(1))]);
}

/// Nobody waits for more than an hour, and who is turned away takes nothing.
pub async fn a_start_is_at_most_an_hour_ahead(store: Arc<dyn Store>) {
    let batch = vec![ask("slow", Some(1), None, 0); 70];
    let starts = store.grant_starts(&batch).await.unwrap();
    let granted = starts.iter().flatten().count();
    assert_eq!(granted, 61);
    assert!(starts[61..].iter().all(Option::is_none));
    let huge = ask("huge", None, Some(1), u64::MAX);
    let starts = store.grant_starts(&[huge.clone(), huge.clone(), huge]).await.unwrap();
    assert_eq!((starts[0], starts[2]), (Some(Duration::ZERO), None));
}

/// Many processes at once: all times differ.
pub async fn askers_at_once_get_different_times(store: Arc<dyn Store>) {
    let calls = (0..16).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let batch = vec![ask("busy", Some(2), None, 0); 3];
            store.grant_starts(&batch).await.unwrap()
        })
    });
    let mut starts = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        starts.extend(call.await.unwrap().into_iter().flatten());
    }
    starts.sort();
    assert_eq!(starts.len(), 48);
    // Each counts from the moment of its own call.
    assert!(*starts.last().unwrap() > Duration::from_secs(30 * 47 - 20), "{starts:?}");
    for pair in starts.windows(2) {
        assert!(pair[1] - pair[0] > Duration::from_secs(10), "{starts:?}");
    }
}
