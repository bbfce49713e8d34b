//! The conformance suite for stores: the same cases for each implementation of [`Store`](mynah_store::Store),
//! and a model with which random steps are compared.
//!
//! The tests of a store implement [`Subject`] and [`Stores`], and run each case of [`for_each_case!`] and
//! [`model::check`]. [`faults`] contains stores with deliberate faults: [`find`] returns the case that
//! notices a fault.
//!
//! Only tests use this crate. A case that fails panics.

#![allow(clippy::unwrap_used)] // a failed case is a failed test
#![allow(missing_docs)] // the names of the cases say what they check

pub mod faults;
pub mod kit;
pub mod lifetime;
pub mod messages;
pub mod model;
pub mod positions;
pub mod push_jobs;
pub mod recalls;
pub mod revocations;
mod subject;
pub mod team_changes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

pub use subject::{Clocks, NOON, Setup, Stores, Subject, Wait};

/// Calls the macro `$each` with every case, by module.
#[macro_export]
macro_rules! for_each_case {
    ($each:ident) => {
        $each! {
            lifetime {
                the_epoch_stays_as_long_as_the_history
                an_older_copy_gets_a_new_epoch
                callbacks_of_a_conversation_are_called_in_order
                a_closed_store_refuses_calls
            }
            messages {
                a_conversation_is_the_same_whoever_begins_it
                messages_are_read_as_they_were_written
                history_is_paged_in_both_directions
                a_cid_is_remembered_for_the_window
                times_follow_the_clock_but_do_not_decrease_when_it_is_adjusted
                times_are_correct_again_when_the_clock_is
                a_jump_of_the_clock_does_not_end_the_window_of_a_cid
                one_refused_message_does_not_affect_the_others
                unread_counts_what_others_sent
                conversations_are_paged_newest_first
            }
            model {
                dead_jobs_are_deleted_with_their_team
                devices_are_forgotten_in_order_after_a_crash
            }
            positions {
                a_cursor_only_moves_forward_and_not_beyond_the_head
                strangers_and_closed_conversations_are_refused
                a_read_position_only_moves_forward_and_not_beyond_the_head
                an_own_message_moves_the_cursor_of_a_device_that_had_everything
                a_device_that_registers_has_the_earlier_messages_and_lacks_the_later_ones
                lists_of_missed_messages_are_limited
            }
            push_jobs {
                a_job_is_created_with_its_message_and_survives_a_restart
                senders_are_not_notified_of_their_own_messages
                jobs_wait_in_their_lane_until_they_are_due
                a_claimed_job_is_nobody_elses_until_its_lease_ends
                failed_jobs_are_due_later_and_dead_jobs_never
                the_job_of_a_team_is_handled_in_pages
                jobs_delivered_to_a_dead_connection_are_due_again
                a_call_that_is_revived_is_urgent_again
                users_who_have_acknowledged_or_read_are_not_notified
                nobody_is_notified_of_recalled_or_deleted_messages
                deadlines_of_an_earlier_run_are_limited
                a_job_is_due_at_once_wherever_the_clock_was
            }
            recalls {
                recalls_are_checked_in_a_fixed_order
                recalled_messages_are_unread_for_nobody
                calls_never_count_as_unread
                messages_to_oneself_and_notices_can_be_recalled
                a_member_who_rejoined_may_recall_earlier_messages
                a_recalled_message_keeps_its_cid
                a_jump_of_the_clock_does_not_change_the_recall_window
            }
            revocations {
                revocations_survive_a_restart
                a_repeated_revocation_only_extends_the_first
                revocations_are_forgotten_when_no_token_is_valid
                a_jump_of_the_clock_forgets_no_revocation
                revocations_of_displaced_devices_are_limited_per_user_and_others_stay
            }
            team_changes {
                creating_a_team_sends_no_notices
                replacing_members_sends_a_notice_for_each_difference
                adding_a_member_or_removing_a_stranger_changes_nothing
                the_number_of_members_is_limited
                appended_messages_return_the_members_at_their_commit
                new_members_see_later_messages_only
                a_deleted_team_is_closed_and_its_name_can_be_used_again
                names_that_need_escaping_are_unchanged
                members_who_leave_together_receive_only_their_own_notice
            }
        }
    };
}

/// A case, which is called with the stores to test.
type Case = fn(&'static dyn Stores) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! list {
    ($($module:ident { $($case:ident)* })*) => {
        const CASES: &[(&str, Case)] = &[$($(
            (concat!(stringify!($module), "::", stringify!($case)), |stores| Box::pin($module::$case(stores))),
        )*)*];
    };
}
for_each_case!(list);

/// Returns the first case that these stores fail, with the random steps as the last one; `None` if they pass
/// all of them.
pub fn find(stores: &'static dyn Stores) -> Option<&'static str> {
    let fails = |run: &dyn Fn()| catch_unwind(AssertUnwindSafe(run)).is_err();
    let failed = CASES.iter().find(|(_, case)| {
        fails(&|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(case(stores));
        })
    });
    match failed {
        Some((name, _)) => Some(name),
        None => fails(&|| model::check(stores)).then_some("model"),
    }
}
