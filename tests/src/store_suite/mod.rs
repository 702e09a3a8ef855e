//! The conformance suite of the store: what its contract says, over every implementation.
//!
//! A case is a function that takes a fresh store. The names of all cases are listed in
//! [`crate::store_suite!`], which an implementation instantiates with a function that makes the
//! store, runs the case and cleans up.
#![expect(clippy::unwrap_used, reason = "a case that cannot go on fails, which is its purpose")]

pub mod accept;
pub mod claim;
pub mod commit_join;
pub mod world;

/// Makes a test of every case: `store_suite!(path::to::with_store)`.
#[macro_export]
macro_rules! store_suite {
    ($with_store:path) => {
        $crate::store_suite! { @areas $with_store;
            accept {
                an_accepted_run_is_whole,
                entry_nodes_are_due_for_the_sweeper_later,
                a_repeated_key_finds_the_first_run,
                one_of_two_equal_keys_in_a_batch_wins,
                concurrent_equal_keys_make_one_run,
                a_repeated_batch_is_accepted_again,
                a_stale_version_is_refused,
            }
            claim {
                many_workers_win_each_row_once,
                a_claim_brings_its_run_along,
                a_run_starts_once,
                only_queued_rows_are_won,
                a_repeated_claim_wins_again_without_growing,
                a_doubled_message_wins_once,
                a_claim_in_a_cancelled_run_cancels_the_row,
                claim_numbers_only_grow,
                a_skipping_row_is_shown_and_not_taken,
            }
            commit_join {
                two_parents_that_end_together_fire_their_join_once,
                three_parents_in_batches_decide_by_their_live_tokens,
                a_join_waits_for_its_last_token,
                tokens_of_one_batch_add_up,
                one_commit_may_deliver_several_tokens,
                a_kept_join_is_running_at_once,
                a_dead_join_is_passed_on_once,
                the_end_runs_with_dead_tokens_only,
                a_join_of_a_cancelled_run_is_cancelled,
            }
        }
    };
    (@areas $with_store:path; $($area:ident { $($case:ident,)* })*) => {
        $(mod $area {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    $with_store($crate::store_suite::$area::$case).await;
                }
            )*
        })*
    };
}
