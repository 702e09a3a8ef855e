//! Answers of very many very small events.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::models::pace::TURN_EVENTS;

#[tokio::test]
async fn an_answer_of_too_many_events_is_given_up() {
    for wire in WireFormat::ALL {
        for event in ["data:{}\n\n", "data:\n\n"] {
            let flood = event.repeat(EVENTS_MAX + 1);
            let error =
                ask(wire, &request(), move |_| streamed(flood.clone())).await.0.unwrap_err();
            let found = (error.code, error.class, error.billing);
            assert_eq!(found, ("answer_too_large", ErrorClass::Cut, Billing::Unknown), "{wire}");
            assert!(error.message.contains(&format!("more than {EVENTS_MAX} events")), "{error}");
        }
        let whole = format!("[{}0]", "0,".repeat(EVENTS_MAX));
        let whole = move |_: &Seen| ([("content-type", "application/json")], whole.clone());
        let error = ask(wire, &request(), whole).await.0.unwrap_err();
        assert!(error.message.contains("events"), "{error}");
    }
}

/// On one thread: what runs beside the reading is counted whenever it has a turn, and looked at by each event.
#[tokio::test]
async fn whoever_shares_the_thread_has_a_turn_within_few_events() {
    const EVENTS: usize = 20_000;
    let event = json!({"choices": [{"delta": {"content": "x"}}]});
    let end = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    let body = format!("{}{}", events(&[event]).repeat(EVENTS), done(&[end]));
    let server = Server::start(move |_| streamed(body.clone())).await;
    let provider = provider(WireFormat::OpenAi, &server.url(""), Arc::new(Unobserved));

    let turns = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let seen = Mutex::new(Vec::with_capacity(EVENTS));
    let see = |_: &str| seen.lock().unwrap().push(turns.load(Ordering::Relaxed));
    let (origin, cancelled) = (origin(), CancellationToken::new());
    let call = Call {
        origin: &origin,
        idempotency_key: "run_node__1",
        first_token_timeout: Duration::from_secs(60),
        timeout: Duration::from_secs(60),
        deltas: Some(&see),
        cancelled: &cancelled,
    };
    provider.model.chat(&request(), &call).await.unwrap();
    other.abort();
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), EVENTS);
    let longest = seen.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
    assert!(longest <= Some(2 * TURN_EVENTS), "{longest:?} events without a turn");
}
