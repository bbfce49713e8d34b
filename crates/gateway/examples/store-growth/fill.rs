//! Fills the stores: many conversations that are not read later, and among them those that are measured.

use std::path::Path;
use std::time::Instant;

use mynah::ids::TeamId;
use mynah::store::embedded::{Durability, Embedded, Options};
use mynah::store::{Append, Store, TeamChange};

use crate::Args;
use crate::ask::{device, order, register_device, send_all, told, uid};

/// Conversations of the first measured user, the same number in both stores.
pub(crate) const FEW: usize = 50;
/// Messages in each conversation of the two measured users.
const EACH: usize = 20;
/// The share of these conversations in which the user's device has missed a message: 20 of 50.
const BEHIND: (usize, usize) = (2, 5);
/// Messages in one call, which the store writes in one transaction.
const BATCH: usize = 4_096;

/// The user with 50 conversations.
pub(crate) const OF_FEW: &str = "few";
/// The user with many conversations.
pub(crate) const OF_MANY: &str = "many";

/// Returns the two users of one of `all` conversations that are not measured. Each user has ten of them.
pub(crate) fn crowd(number: usize, all: usize) -> (String, String) {
    let users = all.div_ceil(10).max(32);
    let name = |user: usize| format!("user-{:07}", user % users);
    (name(number), name(number + 1 + number / users))
}

/// Returns the other user in a conversation of a measured user.
pub(crate) fn peer(user: &str, number: usize) -> String {
    format!("peer-{number:05}-of-{user}")
}

/// Fills both stores, and prints how long this took and how large they are.
pub(crate) async fn both(args: &Args, path: &Path) -> anyhow::Result<()> {
    for (name, conversations) in [("small", args.small), ("large", args.large)] {
        let began = Instant::now();
        let directory = path.join(name);
        let store = Embedded::open(Options {
            durability: Durability::Process,
            ..Options::new(&directory)
        })?;
        let mut filler = Filler {
            store: &store,
            cids: !args.no_cids,
            waiting: Vec::new(),
            sent: 0,
        };
        let is_large = name == "large";
        filler
            .conversations(conversations, if is_large { args.many } else { 0 })
            .await?;
        if is_large {
            filler.extremes(args).await?;
        }
        let sent = filler.sent;
        store.close().await;
        let size = std::fs::metadata(directory.join("mynah.db"))?.len();
        println!(
            "{name}: {sent} messages in {:.0} s, {:.0} MB, {:.0} bytes/message",
            began.elapsed().as_secs_f64(),
            size as f64 / 1e6,
            size as f64 / sent as f64
        );
    }
    Ok(())
}

struct Filler<'a> {
    store: &'a Embedded,
    cids: bool,
    waiting: Vec<Append>,
    sent: usize,
}

impl Filler<'_> {
    /// Writes all conversations, with those of the measured users among them, and leaves some messages of
    /// these unacknowledged.
    async fn conversations(&mut self, all: usize, many: usize) -> anyhow::Result<()> {
        for number in 0..all {
            let (from, to) = crowd(number, all);
            self.message(&from, &to).await?;
            for (user, count) in [(OF_FEW, FEW), (OF_MANY, many)] {
                // They are spread evenly, the first one at the very beginning.
                for conversation in (number * count).div_ceil(all)..((number + 1) * count).div_ceil(all) {
                    let peer = peer(user, conversation);
                    for message in 0..EACH {
                        let (from, to) = if message % 2 == 0 {
                            (&*peer, user)
                        } else {
                            (user, &*peer)
                        };
                        self.message(from, to).await?;
                    }
                }
            }
        }
        self.flush().await?;
        for (user, count) in [(OF_FEW, FEW), (OF_MANY, many)] {
            register_device(self.store, &device(user)?).await?;
            for conversation in (0..count).filter(|number| number % BEHIND.1 < BEHIND.0) {
                self.message(&peer(user, conversation), user).await?;
            }
        }
        self.flush().await
    }

    /// Writes a team of 3 and a large one, a short and a long conversation. Their devices have acknowledged
    /// nothing.
    async fn extremes(&mut self, args: &Args) -> anyhow::Result<()> {
        for (team, members) in [("team-0", 3), ("team-1", args.members)] {
            let members = (0..members)
                .map(|number| uid(&format!("member-{number:06}-of-{team}")))
                .collect::<anyhow::Result<_>>()?;
            let name = team.to_owned();
            let put = TeamChange::Put { name, members };
            let team = TeamId::new(team)?;
            told(|done| self.store.change_team(team, put, done)).await?;
        }
        for (names, messages) in [(["ann-0", "bob-0"], 10), (["ann-1", "bob-1"], args.messages)] {
            register_device(self.store, &device(names[0])?).await?;
            for message in 0..messages {
                self.message(names[message % 2], names[(message + 1) % 2]).await?;
            }
            self.flush().await?;
        }
        Ok(())
    }

    async fn message(&mut self, from: &str, to: &str) -> anyhow::Result<()> {
        self.waiting
            .push(order(from, to, self.cids.then_some(self.sent))?);
        self.sent += 1;
        if self.waiting.len() == BATCH {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        send_all(self.store, std::mem::take(&mut self.waiting)).await
    }
}
