//! What only RabbitMQ can do to us.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel};
use skein_shared::broker::rabbitmq::{RabbitMq, RabbitMqOptions};
use skein_shared::broker::{Broker, Headers, PublishError};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::open_work::QueueDepth;
use skein_tests::broker_suite::{
    self, OTHER_POOL, POOL, batch, depth_becomes, eventually, hear_live, live, outgoing, publish,
    receive,
};
use skein_tests::proxy::Proxy;
use skein_tests::rabbitmq;

use super::fixture::{
    Rabbit, Undo, address, amqp_url, amqp_url_at, connect, rabbitmqctl, raise_memory_alarm,
    with_rabbitmq, with_rabbitmq_alone,
};

/// Sends bytes as some other publisher would.
async fn inject(channel: &Channel, rabbit: &Rabbit, body: &[u8], headers: Headers) {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    let address = rabbit.broker.address(POOL);
    let (exchange, key) = (address.exchange.into(), address.routing_key.into());
    let properties = BasicProperties::default().with_headers(table);
    let published = channel
        .basic_publish(exchange, key, BasicPublishOptions::default(), body, properties)
        .await;
    let confirmed = published.expect("the channel is open").await.expect("the channel stays open");
    assert!(confirmed.is_ack());
}

async fn ready(channel: &Channel, queue: &str) -> u32 {
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let declared = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
    declared.expect("the queue exists").message_count()
}

async fn is_accepted(broker: &dyn Broker, node: &str) -> bool {
    broker.publish(&[outgoing(POOL, node)]).await[0].is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages_are_delivered_and_end_in_the_dead_letter_queue() {
    with_rabbitmq(async |rabbit| {
        depth_becomes(&*rabbit.broker, POOL, 0).await;
        let (_connection, channel) = rabbit.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("a fresh channel");
        let put = async |body: &[u8], headers| inject(&channel, &rabbit, body, headers).await;
        let broker = Arc::clone(&rabbit.broker) as Arc<dyn Broker>;
        broker_suite::malformed_messages_are_delivered_and_can_be_rejected(broker, put).await;
        let dead = format!("{}.dead.v1", rabbit.namespace);
        eventually("four dead letters", async || ready(&channel, &dead).await == 4).await;
        let backlog = rabbit.broker.backlog(&[]).await;
        assert_eq!(backlog, Ok(vec![QueueDepth { queue: dead, ready: 4 }]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_and_publisher_survive_the_loss_of_their_connections() {
    with_rabbitmq(async |rabbit| {
        let broker = &*rabbit.broker;
        let mut consumer = broker.consume(POOL, 10).await;
        let mut listener = broker.listen().await;
        let first = outgoing(POOL, "first");
        publish(broker, std::slice::from_ref(&first)).await;
        let held = receive(&mut *consumer).await;

        assert_eq!(rabbit.close_connections().await, 2);
        let again = receive(&mut *consumer).await;
        assert_eq!(again.wakeup.as_ref(), Ok(&first.wakeup));
        assert!(again.redelivered);
        held.ack().await;
        again.ack().await;

        eventually("a publish is accepted again", async || is_accepted(broker, "second").await)
            .await;
        receive(&mut *consumer).await.ack().await;
        let ended = RunId::generate();
        eventually("an announcement is heard again", async || {
            broker.announce(&[ended]).await;
            let heard = tokio::time::timeout(Duration::from_millis(200), listener.receive()).await;
            heard.is_ok_and(|heard| heard == Some(vec![ended]))
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_everything_fails_quickly_until_there_is_one() {
    with_rabbitmq(async |rabbit| {
        let proxy = Proxy::start(address()).await;
        proxy.cut();
        let late = connect(&rabbit.namespace, &amqp_url_at(proxy.port()));
        let mut consumer = late.consume(POOL, 1).await;
        let started = Instant::now();
        let outcomes = late.publish(&batch(POOL, 3)).await;
        assert_eq!(outcomes.len(), 3);
        for outcome in outcomes {
            assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
        }
        assert!(late.depth(POOL).await.is_err());
        late.announce(&[RunId::generate()]).await;
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

        proxy.mend();
        eventually("the broker is found", async || is_accepted(&*late, "late").await).await;
        receive(&mut *consumer).await.ack().await;

        proxy.cut();
        eventually("the broker is missed", async || late.depth(POOL).await.is_err()).await;
        assert!(!is_accepted(&*late, "lost").await);
        proxy.mend();
        eventually("the broker is found again", async || is_accepted(&*late, "later").await).await;
        receive(&mut *consumer).await.ack().await;
        late.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_an_outage_that_names_no_password() {
    let url = amqp_url().replacen("://guest:guest@", "://guest:hunter2@", 1);
    let broker = RabbitMq::connect(RabbitMqOptions::new(url)).expect("the options are legal");
    let outcomes = broker.publish(&[outgoing(POOL, "a")]).await;
    let [Err(PublishError::Unavailable(reason))] = outcomes.as_slice() else {
        panic!("{outcomes:?}")
    };
    assert!(reason.contains("ACCESS_REFUSED"), "{reason}");
    assert!(!reason.contains("hunter2"), "{reason}");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_unroutable_messages_of_a_batch_are_refused() {
    with_rabbitmq(async |rabbit| {
        let broker = &*rabbit.broker;
        publish(broker, &[outgoing(POOL, "a"), outgoing(OTHER_POOL, "b")]).await;
        let (_connection, channel) = rabbit.channel().await;
        let address = broker.address(POOL);
        let (queue, exchange, key) =
            (address.queue.into(), address.exchange.into(), address.routing_key.into());
        let unbound = channel.queue_unbind(queue, exchange, key, FieldTable::default()).await;
        unbound.expect("it was bound");

        // Every third message has no route, so returns and confirms interleave.
        let pool = |index: usize| if index % 3 == 1 { POOL } else { OTHER_POOL };
        let sent: Vec<_> =
            (0..300).map(|index| outgoing(pool(index), &format!("n{index}"))).collect();
        let outcomes = broker.publish(&sent).await;
        for (outgoing, outcome) in sent.iter().zip(&outcomes) {
            if outgoing.pool == POOL {
                assert!(matches!(outcome, Err(PublishError::Refused(_))), "{outcome:?}");
            } else {
                assert!(outcome.is_ok(), "{outcome:?}");
            }
        }
        depth_becomes(broker, OTHER_POOL, 201).await;

        // The refusal made the publisher look again.
        publish(broker, &sent).await;
        depth_becomes(broker, POOL, 101).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_declared_again_by_publisher_and_consumer() {
    with_rabbitmq(async |rabbit| {
        let broker = &*rabbit.broker;
        let (_connection, channel) = rabbit.channel().await;
        let delete = async || {
            let queue = rabbit.queue(POOL).into();
            channel.queue_delete(queue, QueueDeleteOptions::default()).await.expect("it exists");
        };
        publish(broker, &[outgoing(POOL, "lost")]).await;
        delete().await;
        eventually("the publisher declares it", async || is_accepted(broker, "one").await).await;

        let mut consumer = broker.consume(POOL, 5).await;
        receive(&mut *consumer).await.ack().await;
        for _ in 0..20 {
            delete().await;
            // The broker confirms what was in flight to a queue while it was deleted, so one may get lost.
            eventually("a message comes through", async || {
                if !is_accepted(broker, "two").await {
                    return false;
                }
                let came =
                    tokio::time::timeout(Duration::from_millis(500), consumer.receive()).await;
                let Ok(Some(delivery)) = came else { return false };
                delivery.ack().await;
                true
            })
            .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses() {
    with_rabbitmq(async |rabbit| {
        let broker = &*rabbit.broker;
        depth_becomes(broker, POOL, 0).await;
        let pattern = format!("^{}$", rabbit.queue(POOL).replace('.', r"\."));
        let policy = [
            "set_policy",
            &rabbit.namespace,
            &pattern,
            r#"{"max-length":5}"#,
            "--apply-to",
            "queues",
        ];
        let policy_gone = Undo::with(&["clear_policy", &rabbit.namespace]);
        rabbitmqctl(&policy).await;
        eventually("a publish is refused", async || {
            let outcomes = broker.publish(&batch(POOL, 10)).await;
            outcomes.iter().any(|outcome| matches!(outcome, Err(PublishError::Refused(_))))
        })
        .await;
        drop(policy_gone);
        eventually("there is room again", async || {
            rabbitmq::purge(&rabbit.namespace, &[POOL]).await.expect("the broker is up");
            is_accepted(broker, "room").await
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_memory_alarm_publishing_times_out_and_consuming_goes_on() {
    with_rabbitmq_alone(async |rabbit| {
        let options = RabbitMqOptions {
            namespace: rabbit.namespace.clone(),
            publish_timeout: Duration::from_secs(2),
            ..RabbitMqOptions::new(amqp_url())
        };
        let broker = RabbitMq::connect(options).expect("the options are legal");
        publish(&broker, &batch(POOL, 5)).await;
        // One at a time, so that each delivery proves that the acknowledgement before it went through.
        let mut consumer = broker.consume(POOL, 1).await;
        receive(&mut *consumer).await.ack().await;

        let alarm = raise_memory_alarm().await;
        let bounded = async || {
            let started = Instant::now();
            let outcomes = broker.publish(&batch(POOL, 3)).await;
            assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
            outcomes.iter().all(|outcome| matches!(outcome, Err(PublishError::Unavailable(_))))
        };
        eventually("publishing is blocked", bounded).await;
        let blocked = join_all((0..20).map(|_| bounded())).await;
        assert!(blocked.into_iter().all(|is_unavailable| is_unavailable));
        for _ in 0..4 {
            receive(&mut *consumer).await.ack().await;
        }
        assert!(broker.depth(POOL).await.is_ok());
        drop(alarm);
        eventually("publishing works again", async || is_accepted(&broker, "after").await).await;
        receive(&mut *consumer).await.ack().await;
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcements_reach_other_processes() {
    with_rabbitmq(async |rabbit| {
        let other = connect(&rabbit.namespace, &amqp_url());
        let mut listener = other.listen().await;
        let ended = [RunId::generate(), RunId::generate()];
        rabbit.broker.announce(&ended).await;
        broker_suite::hear(&mut *listener, &ended).await;
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_events_reach_other_processes_and_those_only_where_somebody_listens() {
    with_rabbitmq(async |rabbit| {
        let other = connect(&rabbit.namespace, &amqp_url());
        let (run, ignored) = (RunId::generate(), RunId::generate());
        let mut listener = other.listen_live(run).await;
        let exchange = format!("{}.live.v1", rabbit.namespace);
        let bound = async || {
            let listed =
                rabbitmqctl(&["--quiet", "list_bindings", "source_name", "routing_key"]).await;
            let mut keys: Vec<_> = listed
                .lines()
                .filter_map(|line| Some(line.strip_prefix(&exchange)?.trim().to_owned()))
                .collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!(bound().await, [run.to_string()]);
        for seq in 0..50 {
            assert!(rabbit.broker.publish_live(live(ignored, seq)));
            assert!(rabbit.broker.publish_live(live(run, seq)));
        }
        for seq in 0..50 {
            assert_eq!(*hear_live(&mut listener).await, live(run, seq));
        }
        drop(listener);
        eventually("nothing is bound any more", async || bound().await.is_empty()).await;
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_events_are_heard_again_after_the_loss_of_the_connections() {
    with_rabbitmq(async |rabbit| {
        let broker = &*rabbit.broker;
        let (one, two) = (RunId::generate(), RunId::generate());
        let mut first = broker.listen_live(one).await;
        assert!(broker.publish_live(live(one, 0)));
        assert_eq!(hear_live(&mut first).await.seq, 0);
        assert_eq!(rabbit.close_connections().await, 2);
        let mut second = broker.listen_live(two).await;
        for (run, listener) in [(one, &mut first), (two, &mut second)] {
            let mut seq = 1;
            eventually("it is heard again", async || {
                seq += 1;
                broker.publish_live(live(run, seq));
                let heard =
                    tokio::time::timeout(Duration::from_millis(200), listener.receive()).await;
                heard.is_ok_and(|heard| heard.is_ok())
            })
            .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_memory_alarm_nobody_waits_for_a_live_event() {
    with_rabbitmq_alone(async |rabbit| {
        let broker = &*rabbit.broker;
        let run = RunId::generate();
        let mut listener = broker.listen_live(run).await;
        let alarm = raise_memory_alarm().await;
        let started = Instant::now();
        for seq in 0..10_000 {
            broker.publish_live(live(run, seq));
        }
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        drop(alarm);
        eventually("one is heard again", async || {
            broker.publish_live(live(run, 10_000));
            // Those that were written before the broker said that it takes none have come through, perhaps too many.
            loop {
                let next = tokio::time::timeout(Duration::from_millis(200), listener.receive());
                match next.await {
                    Ok(Ok(event)) if event.seq == 10_000 => return true,
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => {
                        listener = broker.listen_live(run).await;
                        return false;
                    }
                    Err(_) => return false,
                }
            }
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_is_given_up_does_not_disturb_the_next() {
    with_rabbitmq(async |rabbit| {
        let broker = &*rabbit.broker;
        publish(broker, &batch(POOL, 1)).await;
        for _ in 0..20 {
            let dropped =
                tokio::time::timeout(Duration::from_millis(2), broker.publish(&batch(POOL, 500)))
                    .await;
            drop(dropped);
            publish(broker, &batch(OTHER_POOL, 10)).await;
        }
        depth_becomes(broker, OTHER_POOL, 200).await;
    })
    .await;
}
