//! Users of a node that has ended: what was written to their connections may not have arrived, and that node
//! cannot say so any more.
//!
//! All nodes take over its jobs. Of the nodes that live, the one with the smallest name looks for its users.
//! If that fails, users whose clients never acknowledge and who do not return are not notified of what was
//! written last.

use std::collections::HashSet;

use super::job::{LEASE_MS, claim};
use super::now;
use super::reached::Reached;
use super::worker::Worker;
use crate::ids::Uid;
use crate::store::{JobQuery, JobRecipients, JobsFrom, Lane, StoreError};

/// The maximum number of jobs, and of members of a team, that are read at once.
const AT_ONCE: u32 = 500;

impl Reached {
    /// Returns whether a node has ended since the last call, and if so, whether this node has to look for its
    /// users.
    fn has_lost_nodes(&self) -> Option<bool> {
        let cluster = self.cluster.as_ref()?;
        let peers = cluster.peers();
        let mut searched = self.searched.lock();
        searched.retain(|node| peers.ended.contains_key(node));
        let mut is_new = false;
        for node in peers.ended.keys() {
            is_new |= searched.insert(*node);
        }
        is_new.then(|| peers.live.keys().all(|node| *node > cluster.own()))
    }

    /// Returns those of the users who were connected to a node that has just ended.
    async fn users_of_lost_nodes(&self, uids: &[Uid]) -> Vec<Uid> {
        let Some(cluster) = &self.cluster else {
            return Vec::new();
        };
        let found = cluster.find(uids).await.unwrap_or_default();
        let lost = uids.iter().zip(found).filter(|(_, elsewhere)| elsewhere.returns);
        lost.map(|(uid, _)| uid.clone()).collect()
    }
}

impl Worker {
    /// If a node has ended, takes over its jobs, and makes those due again whose messages were written to its
    /// connections.
    pub(super) async fn take_over(&mut self) -> Result<(), StoreError> {
        let Some(looks_for_users) = self.attempts.reached.has_lost_nodes() else {
            return Ok(());
        };
        // All jobs are read again when the leases of that node have ended.
        self.times.rewind = self.times.rewind.min(now().saturating_add(LEASE_MS));
        match looks_for_users {
            true => self.look_for_users().await,
            false => Ok(()),
        }
    }

    async fn look_for_users(&self) -> Result<(), StoreError> {
        let (store, reached) = (&self.attempts.store, &self.attempts.reached);
        let mut lost = HashSet::new();
        let mut from = JobsFrom::DueSince(u64::MAX);
        loop {
            let query = JobQuery {
                from,
                within_ms: u64::MAX,
                ..JobQuery::due(Lane::Delivered, AT_ONCE)
            };
            let (jobs, _) = claim(&**store, query).await?;
            store.release_jobs(jobs.iter().map(|job| job.id).collect());
            let mut users = HashSet::new();
            for job in &jobs {
                from = JobsFrom::After(job.due, job.id);
                if let JobRecipients::User(uid) = &job.to {
                    users.insert(uid.clone());
                    continue;
                }
                let mut after = None;
                loop {
                    let page = store.members_page(job.conv, job.seq, after, AT_ONCE).await?;
                    let Some(last) = page.last().cloned() else { break };
                    lost.extend(reached.users_of_lost_nodes(&page).await);
                    after = Some(last);
                }
            }
            let users: Vec<_> = users.difference(&lost).cloned().collect();
            lost.extend(reached.users_of_lost_nodes(&users).await);
            if jobs.len() < AT_ONCE as usize {
                break;
            }
        }
        let heard = now().saturating_sub(reached.heartbeat_ms());
        lost.into_iter().for_each(|uid| reached.vanished(uid, heard));
        Ok(())
    }
}
