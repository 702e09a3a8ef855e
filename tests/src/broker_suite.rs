//! What every broker must do. Each case takes a broker with empty pools [`POOL`] and [`OTHER_POOL`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use skein_shared::broker::{
    Broker, Consumer, Delivery, Headers, LISTENER_EVENTS_MAX, LIVE_TEXT_BYTES_MAX, Listener,
    LiveEnd, LiveEvent, LiveKind, LiveListener, Outgoing, PublishError,
};
use skein_shared::domain::ids::{ActivationKey, RunId};
use skein_shared::domain::open_work::QueueDepth;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::TraceContext;
use skein_shared::domain::wakeup::{WakeReason, Wakeup};
use tokio::time::{Instant, timeout};

/// The pool that most cases use.
pub const POOL: &str = "default";
/// A second pool.
pub const OTHER_POOL: &str = "other";
/// How long something that must happen may take, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing must happen before it counts as never.
const QUIET: Duration = Duration::from_millis(300);
/// How often a condition is polled that nothing signals.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// A wake-up of a fresh run.
#[must_use]
pub fn outgoing(pool: &str, node: &str) -> Outgoing {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    Outgoing {
        pool: pool.to_owned(),
        wakeup: Wakeup {
            key: ActivationKey::root(RunId::generate(), node),
            identity: Identity::new("acme", "main", "ann"),
            reason: WakeReason::Start,
            publisher: TraceContext::from_traceparent(PARENT).ok(),
            state: None,
            queued_at: None,
        },
        headers: Headers::from([("traceparent".to_owned(), PARENT.to_owned())]),
    }
}

/// A batch of `count` wake-ups.
#[must_use]
pub fn batch(pool: &str, count: usize) -> Vec<Outgoing> {
    (0..count).map(|index| outgoing(pool, &format!("node-{index}"))).collect()
}

/// Publishes a batch, all of which must be accepted. With no binding made yet that is the broker's
/// first job, so it may be unreachable for a moment.
pub async fn publish(broker: &dyn Broker, batch: &[Outgoing]) {
    for outcome in broker.publish(batch).await {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

/// The next delivery, which must come.
pub async fn receive(consumer: &mut dyn Consumer) -> Delivery {
    let received = timeout(PATIENCE, consumer.receive()).await;
    received.expect("a delivery should come").expect("the broker is open")
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "it should come to this: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits until as many messages are ready.
pub async fn depth_becomes(broker: &dyn Broker, pool: &str, expected: u64) {
    let what = format!("{expected} ready messages");
    eventually(&what, async || broker.depth(pool).await == Ok(expected)).await;
}

fn key(delivery: &Delivery) -> ActivationKey {
    delivery.wakeup.as_ref().expect("it is well-formed").key.clone()
}

fn keys(batch: &[Outgoing]) -> BTreeSet<ActivationKey> {
    batch.iter().map(|outgoing| outgoing.wakeup.key.clone()).collect()
}

/// All fields and headers of a batch arrive as they were sent.
pub async fn a_batch_arrives_whole_and_unchanged(broker: Arc<dyn Broker>) {
    let mut sent = batch(POOL, 20);
    for (index, outgoing) in sent.iter_mut().enumerate() {
        let millis = 1_700_000_000_000 + index as u64;
        let wakeup = &mut outgoing.wakeup;
        wakeup.key.scope = format!("{index}/0/17").into();
        wakeup.identity = Identity::new(format!("org-{index}"), "wörk", "ann \"the\" user");
        wakeup.reason = [WakeReason::Start, WakeReason::Next, WakeReason::Due][index % 3];
        wakeup.queued_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
        let state = format!("vendor={index}").parse();
        outgoing.wakeup.state = Some(state.expect("it is one"));
        outgoing.headers.insert("x-note".to_owned(), "schöne Grüße".to_owned());
    }
    let untraced = sent.last_mut().expect("there are twenty");
    untraced.headers.clear();
    (untraced.wakeup.publisher, untraced.wakeup.state) = (None, None);

    publish(&*broker, &sent).await;
    let mut consumer = broker.consume(POOL, 50).await;
    let mut expected: BTreeMap<_, _> =
        sent.into_iter().map(|outgoing| (outgoing.wakeup.key.clone(), outgoing)).collect();
    while !expected.is_empty() {
        let delivery = receive(&mut *consumer).await;
        let outgoing = expected.remove(&key(&delivery)).expect("sent, and delivered once");
        assert_eq!(delivery.wakeup.as_ref(), Ok(&outgoing.wakeup));
        for (name, value) in &outgoing.headers {
            assert_eq!(delivery.headers.get(name), Some(value), "{name}");
        }
        assert_eq!(
            delivery.headers.contains_key("traceparent"),
            outgoing.wakeup.publisher.is_some()
        );
        assert!(!delivery.redelivered);
        assert!(delivery.body_bytes > 0);
        delivery.ack().await;
    }
    depth_becomes(&*broker, POOL, 0).await;
}

/// Two consumers share a pool; nothing is delivered twice.
pub async fn each_message_goes_to_one_of_two_consumers(broker: Arc<dyn Broker>) {
    let sent = batch(POOL, 60);
    let (mut left, mut right) = (broker.consume(POOL, 5).await, broker.consume(POOL, 5).await);
    publish(&*broker, &sent).await;
    let mut expected = keys(&sent);
    let mut taken = [0, 0];
    while !expected.is_empty() {
        let (delivery, side) = tokio::select! {
            delivery = receive(&mut *left) => (delivery, 0),
            delivery = receive(&mut *right) => (delivery, 1),
        };
        assert!(expected.remove(&key(&delivery)), "delivered twice");
        taken[side] += 1;
        delivery.ack().await;
    }
    assert!(taken.iter().all(|&count| count > 0), "{taken:?}");
    depth_becomes(&*broker, POOL, 0).await;
}

/// What is published to one pool is not seen in another.
pub async fn pools_are_separate(broker: Arc<dyn Broker>) {
    let (here, there) = (batch(POOL, 3), batch(OTHER_POOL, 2));
    publish(&*broker, &[here.clone(), there.clone()].concat()).await;
    for (pool, sent) in [(POOL, here), (OTHER_POOL, there)] {
        depth_becomes(&*broker, pool, sent.len() as u64).await;
        let mut consumer = broker.consume(pool, 10).await;
        let mut received = BTreeSet::new();
        for _ in &sent {
            let delivery = receive(&mut *consumer).await;
            received.insert(key(&delivery));
            delivery.ack().await;
        }
        assert_eq!(received, keys(&sent));
    }
}

/// A consumer holds no more unsettled deliveries than it asked for, and settling makes room.
pub async fn prefetch_bounds_unsettled_deliveries(broker: Arc<dyn Broker>) {
    publish(&*broker, &batch(POOL, 10)).await;
    let mut consumer = broker.consume(POOL, 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(receive(&mut *consumer).await);
    }
    depth_becomes(&*broker, POOL, 7).await;
    assert!(timeout(QUIET, consumer.receive()).await.is_err(), "a fourth delivery came");
    held.remove(0).ack().await;
    held.push(receive(&mut *consumer).await);
    assert!(timeout(QUIET, consumer.receive()).await.is_err(), "another delivery came");
    depth_becomes(&*broker, POOL, 6).await;
}

/// Acknowledged and rejected messages are gone, requeued ones come again and say so.
pub async fn settlements_do_what_they_say(broker: Arc<dyn Broker>) {
    let sent = batch(POOL, 3);
    publish(&*broker, &sent).await;
    let mut consumer = broker.consume(POOL, 10).await;
    let (acked, requeued, rejected) = (&sent[0], &sent[1], &sent[2]);
    let mut deliveries = Vec::new();
    for _ in &sent {
        deliveries.push(receive(&mut *consumer).await);
    }
    for delivery in deliveries {
        let key = key(&delivery);
        if key == acked.wakeup.key {
            delivery.ack().await;
        } else if key == rejected.wakeup.key {
            delivery.reject().await;
        } else {
            delivery.requeue().await;
        }
    }
    let again = receive(&mut *consumer).await;
    assert_eq!(again.wakeup.as_ref(), Ok(&requeued.wakeup));
    assert!(again.redelivered);
    again.ack().await;
    assert!(timeout(QUIET, consumer.receive()).await.is_err(), "a settled message came back");
    consumer.stop().await;
    depth_becomes(&*broker, POOL, 0).await;
}

/// A delivery that is dropped, as by a task that panicked, occupies no slot for ever.
pub async fn dropped_deliveries_come_again(broker: Arc<dyn Broker>) {
    let sent = outgoing(POOL, "dropped");
    publish(&*broker, std::slice::from_ref(&sent)).await;
    let mut consumer = broker.consume(POOL, 1).await;
    for round in 0..3 {
        let delivery = receive(&mut *consumer).await;
        assert_eq!(delivery.wakeup.as_ref(), Ok(&sent.wakeup));
        assert_eq!(delivery.redelivered, round > 0);
        drop(delivery);
    }
    receive(&mut *consumer).await.ack().await;
}

/// A consumer that stops gives back what it did not hand out, and what it did can still be settled.
pub async fn a_stopped_consumer_gives_back_what_it_fetched(broker: Arc<dyn Broker>) {
    let sent = batch(POOL, 10);
    publish(&*broker, &sent).await;
    let mut consumer = broker.consume(POOL, 8).await;
    let (settled, dropped) = (receive(&mut *consumer).await, receive(&mut *consumer).await);
    consumer.stop().await;
    depth_becomes(&*broker, POOL, 8).await;
    let settled_key = key(&settled);
    settled.ack().await;
    drop(dropped);
    depth_becomes(&*broker, POOL, 9).await;

    let mut successor = broker.consume(POOL, 20).await;
    let mut expected = keys(&sent);
    assert!(expected.remove(&settled_key));
    while !expected.is_empty() {
        let delivery = receive(&mut *successor).await;
        assert!(expected.remove(&key(&delivery)), "it was settled before");
        delivery.ack().await;
    }
    depth_becomes(&*broker, POOL, 0).await;
}

/// A message that is given back again and again, received or not, is not used up by that.
pub async fn what_is_given_back_without_end_comes_again(broker: Arc<dyn Broker>) {
    // More than any limit on deliveries that a broker here knows.
    const ROUNDS: usize = 130;
    let sent = batch(POOL, 3);
    publish(&*broker, &sent).await;
    for _ in 0..ROUNDS {
        let mut consumer = broker.consume(POOL, 3).await;
        let received = receive(&mut *consumer).await;
        consumer.stop().await;
        received.requeue().await;
        depth_becomes(&*broker, POOL, 3).await;
    }
    let mut consumer = broker.consume(POOL, 3).await;
    let mut expected: BTreeMap<_, _> =
        sent.into_iter().map(|outgoing| (outgoing.wakeup.key.clone(), outgoing)).collect();
    while !expected.is_empty() {
        let delivery = receive(&mut *consumer).await;
        let outgoing = expected.remove(&key(&delivery)).expect("delivered once");
        assert_eq!(delivery.wakeup.as_ref(), Ok(&outgoing.wakeup));
        for (name, value) in &outgoing.headers {
            assert_eq!(delivery.headers.get(name), Some(value), "{name}");
        }
        delivery.ack().await;
    }
    depth_becomes(&*broker, POOL, 0).await;
}

/// A consumer that is dropped without a word gives back what it fetched as well.
pub async fn a_dropped_consumer_gives_back_what_it_fetched(broker: Arc<dyn Broker>) {
    let sent = batch(POOL, 5);
    publish(&*broker, &sent).await;
    let mut consumer = broker.consume(POOL, 5).await;
    drop(receive(&mut *consumer).await);
    drop(consumer);
    depth_becomes(&*broker, POOL, 5).await;
}

/// Giving up waiting loses neither a message nor a slot in the window.
pub async fn a_cancelled_receive_loses_nothing(broker: Arc<dyn Broker>) {
    let sent = batch(POOL, 40);
    let mut consumer = broker.consume(POOL, 2).await;
    let publisher = Arc::clone(&broker);
    let publishing = tokio::spawn({
        let sent = sent.clone();
        async move {
            for outgoing in &sent {
                publish(&*publisher, std::slice::from_ref(outgoing)).await;
            }
        }
    });
    let mut expected = keys(&sent);
    let deadline = Instant::now() + PATIENCE;
    while !expected.is_empty() {
        assert!(Instant::now() < deadline, "{} are missing", expected.len());
        if let Ok(delivery) = timeout(Duration::from_millis(1), consumer.receive()).await {
            let delivery = delivery.expect("the broker is open");
            assert!(expected.remove(&key(&delivery)), "delivered twice");
            delivery.ack().await;
        }
    }
    publishing.await.expect("all were accepted");
}

/// Depth counts ready messages only.
pub async fn depth_counts_ready_messages(broker: Arc<dyn Broker>) {
    depth_becomes(&*broker, POOL, 0).await;
    publish(&*broker, &batch(POOL, 7)).await;
    depth_becomes(&*broker, POOL, 7).await;
    let mut consumer = broker.consume(POOL, 1).await;
    receive(&mut *consumer).await.ack().await;
    let held = receive(&mut *consumer).await;
    depth_becomes(&*broker, POOL, 5).await;
    held.ack().await;
    for _ in 0..5 {
        receive(&mut *consumer).await.ack().await;
    }
    depth_becomes(&*broker, POOL, 0).await;
}

/// What is ready in each queue that there is. One that is missing is not made by whoever only looks, and keeps no others
/// from being counted.
pub async fn the_backlog_is_that_of_every_queue_there_is(broker: Arc<dyn Broker>) {
    const MISSING: &str = "missing";
    publish(&*broker, &batch(POOL, 3)).await;
    publish(&*broker, &batch(OTHER_POOL, 1)).await;
    depth_becomes(&*broker, POOL, 3).await;
    depth_becomes(&*broker, OTHER_POOL, 1).await;
    let work = [(POOL, 3), (OTHER_POOL, 1)].map(|(pool, ready)| {
        let queue = broker.address(pool).queue;
        QueueDepth { queue, ready }
    });
    for _ in 0..2 {
        let backlog = broker.backlog(&[MISSING, POOL, OTHER_POOL]).await.expect("it is there");
        assert_eq!(backlog[..2], work);
        // Dead letters come last, where there are any.
        let others: Vec<_> =
            backlog[2..].iter().map(|it| (it.queue.ends_with(".dead.v1"), it.ready)).collect();
        assert!(others.is_empty() || others == [(true, 0)], "{backlog:?}");
    }
}

/// Bytes that are no wake-up are delivered as such and can be rejected; the next message is not held up.
pub async fn malformed_messages_are_delivered_and_can_be_rejected(
    broker: Arc<dyn Broker>,
    inject: impl AsyncFn(&[u8], Headers),
) {
    let good = outgoing(POOL, "good");
    let later = br#"{"v":2,"what":"a later version"}"#;
    for body in [b"not json".as_slice(), b"", later, &[b'x'; 10_000]] {
        inject(body, Headers::from([("x-note".to_owned(), "odd".to_owned())])).await;
    }
    publish(&*broker, std::slice::from_ref(&good)).await;
    let mut consumer = broker.consume(POOL, 1).await;
    let (mut malformed, mut well_formed) = (0, 0);
    while malformed + well_formed < 5 {
        let delivery = receive(&mut *consumer).await;
        if let Ok(wakeup) = &delivery.wakeup {
            assert_eq!(wakeup, &good.wakeup);
            well_formed += 1;
            delivery.ack().await;
        } else {
            assert_eq!(delivery.headers.get("x-note").map(String::as_str), Some("odd"));
            malformed += 1;
            delivery.reject().await;
        }
    }
    assert_eq!((malformed, well_formed), (4, 1));
    assert!(timeout(QUIET, consumer.receive()).await.is_err(), "a rejected message came back");
}

/// A message that cannot be sent is refused, and the others of its batch are not.
pub async fn an_unsendable_message_is_refused_alone(broker: Arc<dyn Broker>) {
    let sent =
        [outgoing(POOL, "first"), outgoing(POOL, &"n".repeat(1_000)), outgoing(POOL, "last")];
    let outcomes = broker.publish(&sent).await;
    assert!(outcomes[0].is_ok(), "{:?}", outcomes[0]);
    assert!(matches!(outcomes[1], Err(PublishError::Refused(_))), "{:?}", outcomes[1]);
    assert!(outcomes[2].is_ok(), "{:?}", outcomes[2]);
    assert_eq!(outcomes.len(), 3);
    assert!(broker.publish(&[]).await.is_empty());
    depth_becomes(&*broker, POOL, 2).await;
}

/// Thousands in one batch are all accepted.
pub async fn a_batch_of_five_thousand_is_accepted(broker: Arc<dyn Broker>) {
    publish(&*broker, &batch(POOL, 5_000)).await;
    depth_becomes(&*broker, POOL, 5_000).await;
}

/// Batches that are published at the same time do not mix up their outcomes or messages.
pub async fn concurrent_batches_are_all_accepted(broker: Arc<dyn Broker>) {
    let batches: Vec<_> = (0..12).map(|_| batch(POOL, 50)).collect();
    join_all(batches.iter().map(|batch| publish(&*broker, batch))).await;
    let mut expected: BTreeSet<_> = batches.iter().flat_map(|batch| keys(batch)).collect();
    let mut consumer = broker.consume(POOL, 100).await;
    while !expected.is_empty() {
        let delivery = receive(&mut *consumer).await;
        assert!(expected.remove(&key(&delivery)), "delivered twice");
        delivery.ack().await;
    }
}

/// Waits for announcements until all of `expected` were heard.
pub async fn hear(listener: &mut dyn Listener, expected: &[RunId]) {
    let mut missing: BTreeSet<_> = expected.iter().copied().collect();
    while !missing.is_empty() {
        let heard =
            timeout(PATIENCE, listener.receive()).await.expect("an announcement should come");
        for run in heard.expect("the broker is open") {
            missing.remove(&run);
        }
    }
}

/// Every listener hears every announcement, also a long one.
pub async fn announcements_reach_every_listener(broker: Arc<dyn Broker>) {
    let (mut one, mut two) = (broker.listen().await, broker.listen().await);
    let ended: Vec<_> = (0..1_200).map(|_| RunId::generate()).collect();
    broker.announce(&ended).await;
    broker.announce(&[]).await;
    hear(&mut *one, &ended).await;
    hear(&mut *two, &ended).await;
}

/// A live event of a run.
#[must_use]
pub fn live(run: RunId, seq: u64) -> LiveEvent {
    LiveEvent {
        run,
        node: "write".into(),
        scope: "3/0".into(),
        step: 2,
        seq,
        kind: LiveKind::Delta,
        text: format!("wörd {seq}\n"),
    }
}

/// The next live event, which must come.
pub async fn hear_live(listener: &mut LiveListener) -> Arc<LiveEvent> {
    let heard = timeout(PATIENCE, listener.receive()).await.expect("a live event should come");
    heard.expect("the listener keeps up")
}

/// Those who listen to a run hear all of it, unchanged and in order, and nothing of others.
pub async fn live_events_reach_those_who_listen_to_their_run_in_order(broker: Arc<dyn Broker>) {
    const EVENTS: u64 = 200;
    let (run, other) = (RunId::generate(), RunId::generate());
    let (mut one, mut two) = (broker.listen_live(run).await, broker.listen_live(run).await);
    let mut apart = broker.listen_live(other).await;
    for seq in 0..EVENTS {
        assert!(broker.publish_live(live(run, seq)));
        assert!(broker.publish_live(live(RunId::generate(), seq)));
    }
    assert!(broker.publish_live(live(other, 7)));
    for seq in 0..EVENTS {
        assert_eq!(*hear_live(&mut one).await, live(run, seq));
        assert_eq!(*hear_live(&mut two).await, live(run, seq));
    }
    assert_eq!(*hear_live(&mut apart).await, live(other, 7));
}

/// As long as anybody listens to a run its events come, whoever else comes and goes.
pub async fn live_events_come_as_long_as_anybody_listens(broker: Arc<dyn Broker>) {
    let run = RunId::generate();
    let mut stays = broker.listen_live(run).await;
    for seq in 0..20 {
        let mut passes = broker.listen_live(run).await;
        assert!(broker.publish_live(live(run, seq)));
        assert_eq!(*hear_live(&mut passes).await, live(run, seq));
        drop(passes);
        assert_eq!(*hear_live(&mut stays).await, live(run, seq));
    }
    drop(stays);
    let mut again = broker.listen_live(run).await;
    assert!(broker.publish_live(live(run, 20)));
    assert_eq!(*hear_live(&mut again).await, live(run, 20));
}

/// A listener that does not keep up is dropped after what it had room for; it holds up nobody, and may come back.
pub async fn a_slow_listener_to_live_events_is_dropped_and_may_come_back(broker: Arc<dyn Broker>) {
    let run = RunId::generate();
    let (mut slow, mut quick) = (broker.listen_live(run).await, broker.listen_live(run).await);
    let events = LISTENER_EVENTS_MAX as u64 + 50;
    for seq in 0..events {
        assert!(broker.publish_live(live(run, seq)));
        assert_eq!(hear_live(&mut quick).await.seq, seq);
    }
    for seq in 0..LISTENER_EVENTS_MAX as u64 {
        assert_eq!(hear_live(&mut slow).await.seq, seq);
    }
    let end = timeout(PATIENCE, slow.receive()).await.expect("it is dropped");
    assert_eq!(end, Err(LiveEnd::TooSlow));
    let mut back = broker.listen_live(run).await;
    assert!(broker.publish_live(live(run, events)));
    assert_eq!(hear_live(&mut back).await.seq, events);
}

/// A text that is too long is refused, and the next event comes with the gap that it leaves.
pub async fn a_live_event_that_is_too_long_is_refused(broker: Arc<dyn Broker>) {
    let run = RunId::generate();
    let mut listener = broker.listen_live(run).await;
    // The longest, in the characters that take most.
    let longest = LiveEvent { text: "\u{1}".repeat(LIVE_TEXT_BYTES_MAX), ..live(run, 0) };
    let longer = LiveEvent { text: "x".repeat(LIVE_TEXT_BYTES_MAX + 1), ..live(run, 1) };
    assert!(broker.publish_live(longest.clone()));
    assert!(!broker.publish_live(longer));
    assert!(broker.publish_live(live(run, 2)));
    assert_eq!(*hear_live(&mut listener).await, longest);
    assert_eq!(hear_live(&mut listener).await.seq, 2);
}

/// A closed broker says so, to everybody, at once, and closing again is fine.
pub async fn a_closed_broker_says_so(broker: Arc<dyn Broker>) {
    publish(&*broker, &batch(POOL, 2)).await;
    let mut consumer = broker.consume(POOL, 1).await;
    let mut listener = broker.listen().await;
    let mut live_listener = broker.listen_live(RunId::generate()).await;
    let held = receive(&mut *consumer).await;
    broker.close().await;
    broker.close().await;
    let after = async {
        let outcomes = broker.publish(&batch(POOL, 2)).await;
        assert_eq!(outcomes.len(), 2);
        for outcome in outcomes {
            assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
        }
        assert!(consumer.receive().await.is_none());
        assert!(listener.receive().await.is_none());
        assert!(broker.consume(POOL, 1).await.receive().await.is_none());
        assert!(broker.listen().await.receive().await.is_none());
        assert!(broker.depth(POOL).await.is_err());
        assert!(broker.backlog(&[POOL]).await.is_err());
        broker.announce(&[RunId::generate()]).await;
        assert_eq!(live_listener.receive().await, Err(LiveEnd::Closed));
        let mut late = broker.listen_live(RunId::generate()).await;
        assert_eq!(late.receive().await, Err(LiveEnd::Closed));
        assert!(!broker.publish_live(live(RunId::generate(), 0)));
        held.ack().await;
    };
    timeout(PATIENCE, after).await.expect("nothing waits for a closed broker");
}
