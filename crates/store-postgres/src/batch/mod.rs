//! One transaction of the writer, for as many commands as there are: everything that they need is read with a
//! few statements, the commands are executed in memory one after the other, and what they have changed is
//! written with a few statements.
//!
//! Round trips: the heads are locked, in the order of their ids (`load.rs`); what belongs to them is read,
//! which the lock keeps as it is; everything is written and committed (`flush.rs`). Invariants: a head is
//! changed only while it is locked, so that commits of a conversation are in the order of `seq`; whatever is
//! not locked can only grow meanwhile (cursors, read heads).

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
