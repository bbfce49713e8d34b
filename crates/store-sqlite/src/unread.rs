//! Unread messages of pairs and notices: a number for each user in the conversation's row, and the sum for
//! each user.
//!
//! Invariant: after each commit, such a number equals the result of
//! [`count_sql`](super::conversations::count_sql), and `users.unread` is the sum of these numbers over a
//! user's conversations. Unread messages of teams are counted when they are read, because a message to a team
//! must not write a row for each member.

use mynah_store::ConvKind;
use mynah_store::ids::{ConvId, Uid};

use super::state::State;

/// Returns the side of `uid` in the conversation; `None` for teams, whose members have no side.
pub(super) fn side(kind: &ConvKind, uid: &Uid) -> Option<usize> {
    match kind {
        ConvKind::Pair(_, a, _) => Some(usize::from(uid != a)),
        ConvKind::Notices(_) => Some(0),
        ConvKind::Team(_) => None,
    }
}

/// Sets the number of unread messages of `uid` in a conversation that this transaction has found before.
pub(super) fn set(state: &mut State, conv: ConvId, side: usize, uid: &Uid, unread: u64) {
    let head = state.heads.edit(conv);
    let before = std::mem::replace(&mut head.unread[side], unread);
    state.totals.add(uid, unread as i64 - before as i64);
}

/// Adds `by` to the number.
pub(super) fn change(state: &mut State, conv: ConvId, side: usize, uid: &Uid, by: i64) {
    let now = state.heads.edit(conv).unread[side].saturating_add_signed(by);
    set(state, conv, side, uid, now);
}
