//! Seeds that once found a fault. They are part of every run.
//!
//! A seed is a particular run only for one version of the simulation: after a change of what the dice decide
//! it is another run. It is kept nevertheless.

use super::must_go_well;

#[test]
fn the_backend_writes_to_a_team_in_the_name_of_a_former_member() {
    for seed in [16, 22] {
        must_go_well(seed);
    }
}

#[test]
fn acknowledged_on_a_stale_connection_while_the_device_comes_back() {
    must_go_well(62);
}

#[test]
fn left_and_came_back_during_a_replay() {
    must_go_well(283);
}

#[test]
fn an_incomplete_replay_with_an_old_leave_in_it() {
    must_go_well(482);
}

#[test]
fn left_and_came_back_before_the_notification() {
    must_go_well(1317);
}
