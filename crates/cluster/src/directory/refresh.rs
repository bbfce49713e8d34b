//! Keeps the entries of a node alive, and restores those that Redis has lost.
//!
//! Invariants: an entry is restored only while its connection is registered, also if that ends in the
//! meantime. Restoring applies the login policy in the order of the claims: whichever node restores first,
//! the later claims remain. An entry is gone either because Redis lost it or because a claim has removed it
//! and the packet about that was lost; in the second case it is reported as removed, as long as the
//! connection that has displaced it is there.

use super::entry::Held;
use super::records::{Claim, Claimed, Ousted};
use super::{BATCH, Directory};
use crate::failure::Failure;

/// What a refresh has found for one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// The entry is there and lives on.
    Kept,
    /// The entry was gone and is there again. Messages may have passed this user by: read the record.
    Restored {
        /// The connections with earlier claims that the login policy does not allow beside it.
        ousted: Vec<Ousted>,
    },
    /// The entry is gone because of later claims of the user: the connection must be ended.
    Removed {
        /// The connection itself, and others that were removed together with it.
        ousted: Vec<Ousted>,
    },
    /// The entry was gone, and so is the connection: it was not restored.
    Ended,
    /// Redis has refused it.
    Failed(Failure),
}

impl Directory {
    /// Extends the life of these entries, and restores those that are gone if `is_registered` is still true
    /// for their connection. Repeats releases that were not confirmed. There is a result for each entry.
    ///
    /// Call it for all connections of the node every [`REFRESH_EVERY`](super::REFRESH_EVERY), and at once
    /// after an interruption, one call after the other. It takes a round trip for each 500 entries, and one
    /// more if some of them are gone. A failure ends it: call it again when Redis works again.
    pub async fn refresh(
        &self,
        held: &[Held],
        is_registered: impl Fn(&Held) -> bool,
    ) -> Result<Vec<Refreshed>, Failure> {
        let owed = self.owed.take();
        let owed: Vec<_> = owed.iter().map(|(uid, sid)| (uid, &**sid)).collect();
        self.release_all(&owed).await?;
        let mut results = Vec::with_capacity(held.len());
        for batch in held.chunks(BATCH) {
            let mut gone = Vec::new();
            for (held, touched) in batch.iter().zip(self.records.touch(batch).await?) {
                results.push(match touched {
                    Err(failure) => Refreshed::Failed(failure),
                    Ok(true) => Refreshed::Kept,
                    Ok(false) => {
                        gone.push((results.len(), held));
                        Refreshed::Ended
                    }
                });
            }
            self.restore(gone, &is_registered, &mut results).await?;
        }
        Ok(results)
    }

    /// Restores the entries of `gone`, which names the place of each in `results`.
    async fn restore(
        &self,
        mut gone: Vec<(usize, &Held)>,
        is_registered: &impl Fn(&Held) -> bool,
        results: &mut [Refreshed],
    ) -> Result<(), Failure> {
        gone.retain(|(_, held)| is_registered(held));
        if gone.is_empty() {
            return Ok(());
        }
        let claims = gone.iter().map(|(_, held)| Claim {
            uid: &held.uid,
            entry: &held.entry,
            restores: Some(held.order),
            dead: &[],
        });
        let claims: Vec<_> = claims.collect();
        for ((at, held), claimed) in gone.iter().zip(self.records.claim(&claims).await?) {
            results[*at] = restored(held, claimed);
        }
        // A connection may have ended after the check; its own release was then before the restoring.
        let ended: Vec<_> = gone
            .iter()
            .filter(|(_, held)| !is_registered(held))
            .map(|(_, held)| (&held.uid, &*held.entry.sid))
            .collect();
        if !ended.is_empty() {
            self.release_all(&ended).await?;
        }
        Ok(())
    }
}

fn restored(held: &Held, claimed: Result<Claimed, Failure>) -> Refreshed {
    match claimed {
        Err(failure) => Refreshed::Failed(failure),
        Ok(Claimed { ousted, .. }) => {
            let is_own = |ousted: &Ousted| ousted.entry.sid == held.entry.sid;
            match ousted.iter().any(is_own) {
                true => Refreshed::Removed { ousted },
                false => Refreshed::Restored { ousted },
            }
        }
    }
}
