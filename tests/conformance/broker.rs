//! The broker's suite over RabbitMQ and the in-process queue.

mod fixture;
mod inspect;
mod rabbitmq;

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_shared::broker::Broker;
use skein_shared::broker::in_process::InProcess;
use skein_tests::broker_suite;

use crate::listing::functions_of;

macro_rules! conformance {
    ($($case:ident)*) => {
        /// A case that is written and not listed would never run, and nobody would notice.
        #[test]
        fn every_case_of_the_suite_is_listed() {
            let suite = include_str!("../src/broker_suite.rs");
            let written: BTreeSet<_> = functions_of(suite, "broker: Arc<dyn Broker>").into_iter().collect();
            assert_eq!(written, BTreeSet::from([$(stringify!($case)),*]));
        }

        mod in_process {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    broker_suite::$case(Arc::new(InProcess::new())).await;
                }
            )*
        }

        mod over_rabbitmq {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    fixture::with_rabbitmq(async |rabbit| {
                        broker_suite::$case(rabbit.broker as Arc<dyn Broker>).await;
                    })
                    .await;
                }
            )*
        }
    };
}

conformance! {
    a_batch_arrives_whole_and_unchanged
    each_message_goes_to_one_of_two_consumers
    pools_are_separate
    prefetch_bounds_unsettled_deliveries
    settlements_do_what_they_say
    dropped_deliveries_come_again
    a_stopped_consumer_gives_back_what_it_fetched
    what_is_given_back_without_end_comes_again
    a_dropped_consumer_gives_back_what_it_fetched
    a_cancelled_receive_loses_nothing
    depth_counts_ready_messages
    the_backlog_is_that_of_every_queue_there_is
    an_unsendable_message_is_refused_alone
    a_batch_of_five_thousand_is_accepted
    concurrent_batches_are_all_accepted
    announcements_reach_every_listener
    live_events_reach_those_who_listen_to_their_run_in_order
    live_events_come_as_long_as_anybody_listens
    a_slow_listener_to_live_events_is_dropped_and_may_come_back
    a_live_event_that_is_too_long_is_refused
    a_closed_broker_says_so
}

#[tokio::test]
async fn malformed_messages_are_delivered_and_can_be_rejected_in_process() {
    let broker = InProcess::new();
    let inject = async |body: &[u8], headers| {
        broker.publish_raw(broker_suite::POOL, body, headers).expect("there is room");
    };
    broker_suite::malformed_messages_are_delivered_and_can_be_rejected(
        Arc::new(broker.clone()),
        inject,
    )
    .await;
}
