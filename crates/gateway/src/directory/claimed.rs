//! What the registry knows of the directory of all nodes: the numbers of claims, and which registrations they
//! end.
//!
//! Invariant: a registration ends only because of a claim that came after its own last one.

use std::sync::Arc;

use super::policy::Ousted;
use super::registration::Registration;
use super::registry::{Connection, Registry};
use crate::ids::Uid;

/// A connection that the directory has removed.
pub(crate) struct Removed<'a> {
    pub(crate) uid: &'a Uid,
    /// Why another claim has removed it.
    pub(crate) why: Ousted,
    /// The number of its own claim.
    pub(crate) claim: u64,
}

impl<L> Registry<L> {
    /// Notes the number of a registration's claim, and calls `then` before anything else can happen to the
    /// user's connections. Returns false if the registration has ended.
    pub(crate) fn claimed(
        &self,
        connection: &Arc<Connection<L>>,
        registration: &Arc<Registration>,
        claim: u64,
        then: impl FnOnce(),
    ) -> bool {
        self.with_user(&registration.uid, |lines| {
            let own = lines.iter_mut().find(|line| {
                Arc::ptr_eq(&line.connection, connection) && Arc::ptr_eq(&line.registration, registration)
            });
            let is_there = own.map(|own| own.claim = claim).is_some();
            then();
            is_there
        })
    }

    /// Ends the registration of the connection that `is` names, if it has not claimed again since it was
    /// removed. `early` is called instead if the number of its claim is not known yet. Both are called before
    /// anything else can happen to the user's connections.
    pub(crate) fn oust_claim(
        &self,
        removed: Removed<'_>,
        is: impl Fn(&L) -> bool,
        ousted: impl FnOnce(&L, &Registration),
        early: impl FnOnce(),
    ) {
        self.with_user(removed.uid, |lines| {
            let Some(at) = lines.iter().position(|line| is(&line.connection.link)) else {
                return;
            };
            match lines[at].claim {
                0 => early(),
                last if last > removed.claim => {}
                _ => {
                    let line = lines.remove(at);
                    self.end_ousted(&line, removed.why);
                    ousted(&line.connection.link, &line.registration);
                }
            }
        });
    }

    /// Applies the login policy of a registration to the other connections of this node, because the
    /// directory of all nodes cannot. The claim gets this number. Returns false if the registration has
    /// ended.
    pub(crate) fn displace(
        &self,
        connection: &Arc<Connection<L>>,
        registration: &Arc<Registration>,
        claim: u64,
        mut ousted: impl FnMut(&L, Ousted, &Registration, &Registration),
    ) -> bool {
        self.with_user(&registration.uid, |lines| {
            let own = lines.iter_mut().find(|line| {
                Arc::ptr_eq(&line.connection, connection) && Arc::ptr_eq(&line.registration, registration)
            });
            let Some(own) = own else { return false };
            own.claim = claim;
            self.oust(lines, connection, registration, &mut ousted);
            true
        })
    }

    /// Whether the connection that `is` names still has the registration with this claim.
    pub(crate) fn has_claim(&self, uid: &Uid, claim: u64, is: impl Fn(&L) -> bool) -> bool {
        self.with_lines(uid, |lines| {
            lines
                .iter()
                .any(|line| line.claim == claim && is(&line.connection.link))
        })
    }

    /// Calls `each` for the registrations in a part of the registry that have claimed, with the numbers of
    /// their claims. The parts are numbered from 0; returns false if no part has this number.
    pub(crate) fn claims(&self, part: usize, mut each: impl FnMut(&L, &Registration, u64)) -> bool {
        let Some(shard) = self.shards.get(part) else {
            return false;
        };
        for user in shard.lock().iter() {
            for line in user.lines.iter().filter(|line| line.claim != 0) {
                each(&line.connection.link, &line.registration, line.claim);
            }
        }
        true
    }
}
