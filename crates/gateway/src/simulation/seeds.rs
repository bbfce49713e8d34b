//! Seeds that once found a fault. They are part of every run.
//!
//! A seed is a particular run only for one version of the simulation: after a change of what the dice decide
//! it is another run. It is kept nevertheless.

use super::run_and_check;

#[test]
fn the_sender_of_a_notice_is_not_shown_the_notices_of_others() {
    run_and_check(16, 2);
    run_and_check(125, 3);
}

#[test]
fn the_backend_writes_to_a_team_in_the_name_of_a_former_member() {
    for seed in [16, 22] {
        run_and_check(seed, 1);
    }
}

#[test]
fn acknowledged_on_a_stale_connection_while_the_device_reconnects() {
    run_and_check(62, 1);
}

#[test]
fn left_and_rejoined_during_a_replay() {
    run_and_check(283, 1);
}

#[test]
fn an_incomplete_replay_with_an_old_leave_in_it() {
    run_and_check(482, 1);
}

#[test]
fn left_and_rejoined_before_the_notification() {
    run_and_check(1317, 1);
}
