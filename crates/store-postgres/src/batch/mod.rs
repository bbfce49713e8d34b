//! One transaction of the writer, for as many commands as there are: everything that they need is read with a
//! few statements, the commands are executed in memory one after the other, and what they have changed is
//! written with a few statements.
//!
//! There are three round trips: the heads are locked, in the order of their ids (`load.rs`); what depends on
//! them is read, and cannot change because of the locks; everything is written and committed (`flush.rs`).
//! Invariants: a head is changed only while it is locked, so that the commits of a conversation are in the
//! order of `seq`; values that are not locked (cursors, read positions) can only grow in the meantime.

mod append;
mod flush;
mod load;
mod positions;
mod run;
mod sorted;
mod state;

pub(super) use self::append::{hash, is_in, next};
pub(super) use self::flush::{COMMIT_OF_BATCH, flush, write_messages};
pub(super) use self::load::{LOAD, load};
pub(super) use self::positions::side;
pub(super) use self::run::Outcome;
pub(super) use self::sorted::{Sorted, fitting};
pub(super) use self::state::{Batch, Draft, Head, NewMessage};
