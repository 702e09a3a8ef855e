//! What is seen of a broker by whoever looks into it by hand.

use std::time::Duration;

use skein_shared::broker::rabbitmq::inspect::{Inspector, Obstacle, Trial};
use skein_shared::config::{Amqp, SecretUrl};
use skein_tests::broker_suite::{POOL, batch, eventually, publish};

use super::fixture::{amqp_url, raise_memory_alarm, with_rabbitmq_alone};

/// How long each answer may take: under an alarm that long is waited for one that does not come.
const ANSWER_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_and_what_waits_are_seen_and_nothing_is_taken() {
    with_rabbitmq_alone(async |rabbit| {
        publish(&*rabbit.broker, &batch(POOL, 3)).await;
        let url: SecretUrl = amqp_url().parse().expect("reading one never fails");
        let amqp = Amqp { url: &url, namespace: &rabbit.namespace };
        let inspector = Inspector::new(amqp, ANSWER_MAX).expect("the options are legal");
        let greeting = inspector.greeting().await.expect("a broker for tests");
        assert_eq!(greeting.product, "RabbitMQ");
        let survey = async || {
            let session = inspector.login().await.expect("it lets us in");
            session.survey(POOL).await.expect("it answers")
        };
        for _ in 0..2 {
            let well = survey().await;
            assert_eq!(well.missing, [] as [&str; 0]);
            assert_eq!(well.waiting.map(|waiting| waiting.messages), Some(3), "{well:?}");
            for trial in [&well.declaring, &well.publishing, &well.consuming] {
                assert_eq!(*trial, Trial::Granted, "{well:?}");
            }
            assert!(!well.is_blocked);
        }

        let alarm = raise_memory_alarm().await;
        eventually("the alarm is seen", async || {
            let blocked = survey().await;
            assert_eq!(blocked.consuming, Trial::Granted, "{blocked:?}");
            let late = Trial::Refused(Obstacle::Late(ANSWER_MAX));
            blocked.is_blocked && blocked.publishing == late
        })
        .await;
        drop(alarm);
        eventually("it is over", async || survey().await.publishing == Trial::Granted).await;
    })
    .await;
}
