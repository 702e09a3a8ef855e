//! The conformance suite of the store: what its contract says, over every implementation.
//!
//! A case is a function that takes a fresh store. The names of all cases are listed in
//! [`crate::store_suite!`], which an implementation instantiates with a function that makes the
//! store, runs the case and cleans up.
#![expect(clippy::unwrap_used, reason = "a case that cannot go on fails, which is its purpose")]

pub mod accept;
pub mod analysis;
pub mod archiving;
pub mod budget_changes;
pub mod budgets;
pub mod claim;
pub mod commit_effects;
pub mod commit_join;
pub mod costs;
pub mod dag;
pub mod data;
pub mod decisions;
pub mod drafts;
pub mod finish;
pub mod fleet;
pub mod isolation;
pub mod keys;
pub mod leases;
pub mod logs;
pub mod monitoring;
pub mod rates;
pub mod recovery;
pub mod retry_wait;
pub mod segments;
pub mod states;
pub mod steps;
pub mod storm;
pub mod traces;
pub mod waits;
pub mod workflows;
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
                a_claim_under_a_lease_that_does_not_live_misses,
                a_skipping_row_is_shown_and_not_taken,
            }
            commit_join {
                two_parents_that_end_together_fire_their_join_once,
                three_parents_in_batches_decide_by_their_live_tokens,
                the_same_skips_by_many_workers_count_once,
                a_join_waits_for_its_last_token,
                tokens_of_one_batch_add_up,
                one_commit_may_deliver_several_tokens,
                a_kept_join_is_running_at_once,
                a_dead_join_is_passed_on_once,
                the_end_runs_with_dead_tokens_only,
                a_join_of_a_cancelled_run_is_cancelled,
            }
            commit_effects {
                a_fenced_commit_writes_nothing,
                a_late_commit_is_fenced_after_a_reap,
                successors_are_written_as_the_commit_says,
                the_log_of_a_run_tells_its_story_in_order,
                a_repeated_commit_reports_what_the_first_did,
                a_repeated_end_reports_the_ended_run,
                a_path_that_one_worker_skips_twice_ends_its_run_once,
                open_rows_of_a_cancelled_run_start_cancelled,
            }
            retry_wait {
                a_retry_is_queued_when_due,
                time_alone_makes_a_retry_due,
                a_wait_does_not_count_as_an_attempt,
                a_wait_of_an_inlined_node_elapses,
                a_released_row_is_due_at_once,
                without_a_broker_rows_are_left_alone,
                a_deep_queue_puts_queued_rows_off,
                a_deep_queue_does_not_hide_a_lost_message,
                a_claim_does_not_wait_for_the_sweeper,
            }
            waits {
                a_wait_for_something_from_outside_is_shown_and_brought_along,
                a_wait_without_a_time_suspends_its_run_and_is_not_swept,
                a_run_past_its_deadline_times_out,
                a_deadline_changes_nothing_about_a_run_that_has_ended_or_is_to_end,
            }
            segments {
                a_run_is_suspended_while_everything_waits,
                a_long_wait_has_its_run_rechecked,
                the_last_node_that_ends_has_its_run_rechecked_at_once,
                a_wait_whose_run_nobody_rechecked_is_rechecked_first,
                a_run_goes_on_in_a_new_trace,
                a_closed_segment_is_returned_to_its_sweep,
                two_waits_that_end_together_open_one_trace,
                a_recheck_and_a_sweep_agree,
                a_suspended_run_is_cancelled,
            }
            leases {
                a_heartbeat_says_whether_the_lease_lives,
                runs_that_are_to_end_are_returned,
                stray_rows_are_released,
                closing_a_lease_releases_its_rows,
                closing_a_lease_marks_what_had_begun,
                the_rows_of_a_dead_lease_are_taken_back,
                a_crashed_attempt_names_what_had_led_to_it,
                kept_rows_of_a_dead_lease_are_taken_back,
                one_crash_makes_nobody_a_suspect,
                a_commit_between_two_crashes_clears_a_row,
                a_crash_in_company_is_no_strike,
                what_was_in_many_crashes_is_claimed_with_nothing_beside_it,
                a_suspect_that_crashes_alone_gets_a_strike,
                one_suspect_at_a_time_is_claimed,
                a_crash_in_a_cancelled_run_ends_the_row,
                opening_a_lease_twice_is_opening_it_once,
            }
            recovery {
                concurrent_sweeps_share_the_rows,
                a_sweep_keeps_to_its_limit,
                a_skipping_row_is_swept,
                a_sweep_cancels_the_rows_of_a_run_that_is_to_end,
                a_run_to_finish_is_deferred,
                a_blocked_join_is_not_swept,
                making_due_touches_the_named_runs_only,
            }
            finish {
                a_failure_asks_for_the_end_of_the_run,
                the_first_failure_is_the_error_of_the_run,
                a_run_that_is_to_end_does_not_succeed,
                cancelling_says_what_it_found,
                only_runs_that_are_to_end_are_finished,
                finishing_cancels_everything_that_waits,
                a_large_run_is_finished_in_pages,
                a_finishing_whose_reply_was_lost_reports_again,
                cancel_and_complete_agree_on_one_end,
                cancel_and_claim_leave_nothing_open,
            }
            fleet {
                workers_are_listed_newest_first,
                a_silent_worker_is_shown_as_dead,
                every_attempt_names_its_worker,
                earlier_attempts_name_theirs,
                the_name_of_a_host_is_cut,
                a_run_says_that_no_worker_lives,
                a_log_is_told_once_that_no_worker_lives,
                only_runs_that_wait_for_a_worker_are_told,
                a_backlog_is_told_in_pages,
            }
            states {
                every_event_in_every_state_does_what_the_table_says,
                a_dead_last_token_does_not_starve_a_live_join,
                an_ended_row_keeps_what_it_ended_with,
            }
            logs {
                a_log_is_read_in_pages,
                a_follower_sees_every_row_once_and_in_order,
                a_log_row_is_kept_whole,
                a_log_is_filtered,
                a_filtered_log_reads_a_part_at_a_time,
                runs_are_listed_newest_first,
                runs_are_filtered,
                runs_in_one_state_are_listed_in_pages,
                runs_in_several_states_are_listed_in_pages,
                runs_are_found_by_their_trace,
                a_listing_reads_a_part_at_a_time,
            }
            workflows {
                publishing_adds_a_version_only_when_there_is_news,
                concurrent_publishers_get_consecutive_numbers,
                listings_are_paged,
                a_document_is_kept_byte_by_byte,
                migrating_again_changes_nothing,
            }
            drafts {
                a_draft_is_not_the_latest_version,
                a_draft_of_what_is_there_adds_nothing,
                publishing_promotes_a_draft_above_the_latest_version,
                a_workflow_may_have_drafts_alone,
                a_run_is_of_the_version_that_was_named,
                a_repeated_key_finds_the_run_of_a_draft,
                unused_drafts_are_pruned,
                a_workflow_without_anything_is_not_there,
                a_document_that_is_drafted_and_published_at_once_is_one_version,
                drafts_and_versions_at_once_get_consecutive_numbers,
                a_draft_is_started_or_pruned,
            }
            archiving {
                no_run_of_an_archived_workflow_is_accepted,
                a_workflow_stays_archived_until_it_is_unarchived,
                a_run_goes_on_when_its_workflow_is_archived,
                a_workflow_is_archived_by_its_tenant,
                archiving_beside_starts_lets_none_through,
            }
            keys {
                a_key_never_moves_to_another_tenant,
                a_key_is_made_once_and_found,
                an_ensured_key_has_all_scopes,
                keys_are_listed_in_pages,
                keys_are_their_organizations,
                a_revoked_key_stays_revoked,
                the_last_admin_key_is_not_revoked,
                concurrent_revocations_leave_an_admin,
                a_key_expires,
                whether_anybody_is_let_in_is_known,
                the_use_of_a_key_is_noted_once_a_minute,
                an_organization_has_a_limited_number_of_keys,
            }
            isolation {
                strangers_find_nothing,
                strangers_cannot_run_a_workflow,
                names_and_keys_do_not_collide,
            }
            data {
                json_survives_byte_by_byte,
                large_outputs_survive,
                many_outputs_are_read_at_once,
                an_answer_to_reads_has_a_limit_in_bytes,
                an_answer_to_claims_has_a_limit_in_bytes,
                what_a_run_shows_is_bounded,
                attempts_that_a_run_shows_are_bounded,
                failures_survive,
                a_batch_is_applied_whole_or_not_at_all,
                empty_batches_are_fine,
            }
            steps {
                an_intent_is_there_before_its_result,
                a_write_is_fenced_by_lease_and_claim,
                a_repeated_write_answers_the_same,
                a_write_keeps_the_node_with_its_worker,
                a_refused_step_is_tried_again,
                steps_of_a_lost_attempt_are_lost_when_the_next_begins,
                steps_of_a_dead_worker_are_lost,
                what_still_runs_is_not_lost,
                a_finished_step_is_not_begun_again,
                events_are_written_once,
                a_step_waits_for_its_decision,
                awkward_texts_survive,
                what_is_too_large_is_refused_whole,
                a_journal_that_is_too_large_is_not_read,
                a_batcher_finds_the_write_that_cannot_be_held,
            }
            budgets {
                the_store_judges_as_the_rule_says,
                every_resource_is_limited,
                a_model_without_a_price_is_not_called_under_a_limit_of_money,
                a_call_is_charged_what_it_came_to,
                a_call_is_settled_at_the_price_of_what_was_counted,
                counts_that_cannot_be_break_no_sum,
                a_step_counts_once_however_often_it_is_tried,
                a_batch_is_never_granted_more_than_fits,
                a_budget_holds_in_a_storm,
                of_two_at_once_one_is_granted,
                what_is_lost_is_paid_in_full,
                a_budget_is_warned_of_once,
                a_warning_says_how_much_of_a_budget_is_spent,
                a_refusal_says_what_becomes_of_the_node,
            }
            budget_changes {
                a_changed_budget_wakes_what_waits_for_it,
                changes_of_a_budget_at_once_all_hold,
                a_limit_that_is_lifted_stops_nothing,
                a_budget_of_an_ended_run_stays,
                a_budget_of_an_organization_wakes_its_nodes,
                a_budget_that_is_set_later_counts_what_was_spent,
            }
            decisions {
                a_decision_wakes_its_node,
                a_decision_about_something_else_is_refused,
                of_two_decisions_at_once_one_is_recorded,
                a_decision_that_races_the_wait_is_not_missed,
                a_step_that_waits_is_denied_with_the_end_of_its_run,
            }
            costs {
                steps_of_a_run_are_listed,
                costs_are_summed_up,
                sums_of_costs_end_at_the_largest_number,
                all_sums_are_the_same,
            }
            analysis {
                runs_of_a_time_are_read_in_pages,
                a_run_is_read_with_its_end_and_its_cost,
                what_a_run_has_done_is_read_attempt_by_attempt,
                a_run_of_several_segments_is_read_as_one,
                as_many_runs_are_read_as_rows_are_enough_for,
                of_a_run_with_very_many_activations_some_are_read,
                documents_are_read_of_versions_of_ones_own,
                costs_of_models_are_summed_up_with_the_dearest_run,
                strangers_look_back_at_nothing,
            }
            rates {
                starts_of_a_batch_are_spaced,
                what_a_second_takes_may_come_at_once,
                a_large_call_holds_up_those_behind_it,
                a_start_is_at_most_an_hour_ahead,
                askers_at_once_get_different_times,
            }
            monitoring {
                a_duty_has_one_holder_at_a_time,
                a_duty_passes_on_with_the_end_of_its_term,
                of_many_that_ask_at_once_one_has_the_duty,
                open_rows_of_everybody_are_counted_by_their_states,
                what_has_ended_is_not_counted,
                the_oldest_that_waits_for_a_worker_is_told,
                timers_that_nobody_acted_on_are_overdue,
                workers_count_as_long_as_their_leases_live,
                counting_stops_at_its_limit,
            }
            traces {
                what_led_to_a_run_is_kept,
                every_attempt_is_kept_once,
                a_failure_is_kept_with_its_attempt,
                everything_is_in_the_trace_that_it_was_in,
                a_step_is_kept_when_it_is_over,
                a_lost_step_is_kept_and_awkward_parameters_are_passed_over,
                an_agents_attempts_have_the_sums_of_its_calls,
                strangers_find_no_spans,
            }
            storm {
                every_node_of_every_run_ends_once_in_a_storm,
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
