//! Compares a small and a large team, conversation and list of conversations in the large store.

use anyhow::{Context, ensure};
use mynah::store::{Device, JobOutcome, Store};

use crate::Args;
use crate::ask::{conversations, device, history, missed, order, pair, read, send, team_order, told, uid};
use crate::fill::{FEW, OF_FEW, OF_MANY};
use crate::measure::{Opened, compare, cost, heading};

/// Makes the measurements and prints them.
pub(crate) async fn compare_things(args: &Args, large: &Opened) -> anyhow::Result<()> {
    teams(args, large).await?;
    lengths(args, large).await?;
    lists(args, large).await
}

async fn teams(args: &Args, Opened { store, .. }: &Opened) -> anyhow::Result<()> {
    heading("in a team", "3 members", &format!("{} members", args.members));
    for (what, push) in [("send", false), ("send with a push job", true)] {
        compare(args.rounds, what, async |place| {
            let team = format!("team-{place}");
            let order = team_order(&format!("member-000001-of-{team}"), &team, push)?;
            let (sent, cost) = cost(send(store, order)).await?;
            if push {
                let finished = vec![(sent.push.context("there is a job")?, JobOutcome::Finished)];
                told(|done| store.finish_jobs(finished, done)).await?;
            }
            Ok(cost)
        })
        .await?;
    }
    Ok(())
}

async fn lengths(args: &Args, Opened { store, .. }: &Opened) -> anyhow::Result<()> {
    let names = [["ann-0", "bob-0"], ["ann-1", "bob-1"]];
    let devices = [device("ann-0")?, device("ann-1")?];
    let convs = [pair("ann-0", "bob-0")?, pair("ann-1", "bob-1")?];
    heading(
        "in a conversation",
        "10 messages",
        &format!("{} messages", args.messages),
    );
    compare(args.rounds, "missed, nothing of it acknowledged", async |place| {
        let (got, cost) = cost(missed(store, &devices[place])).await?;
        let all = [10, args.messages as u64][place];
        ensure!(got.pending == all, "{} are missed", got.pending);
        Ok(cost)
    })
    .await?;
    compare(args.rounds, "send", async |place| {
        let [from, to] = names[place];
        Ok(cost(send(store, order(from, to, None)?)).await?.1)
    })
    .await?;
    compare(args.rounds, "history, page of 100", async |place| {
        Ok(cost(history(store, convs[place], &devices[place].uid)).await?.1)
    })
    .await?;
    compare(args.rounds, "read", async |place| {
        let [to, from] = names[place];
        let sent = send(store, order(from, to, None)?).await?;
        Ok(cost(read(store, &devices[place], convs[place], sent.seq))
            .await?
            .1)
    })
    .await
}

async fn lists(args: &Args, Opened { store, .. }: &Opened) -> anyhow::Result<()> {
    let devices: [Device; 2] = [device(OF_FEW)?, device(OF_MANY)?];
    heading(
        "of a user with",
        &format!("{FEW} conversations"),
        &format!("{} conversations", args.many),
    );
    let rounds = args.rounds / 5 + 1;
    compare(rounds, "missed", async |place| {
        Ok(cost(missed(store, &devices[place])).await?.1)
    })
    .await?;
    compare(rounds, "conversations, page of 100", async |place| {
        Ok(cost(conversations(store, &devices[place])).await?.1)
    })
    .await?;
    compare(rounds, "unread", async |place| {
        let user = uid([OF_FEW, OF_MANY][place])?;
        let sum = async { Ok(store.unread(user).await?) };
        Ok(cost(sum).await?.1)
    })
    .await
}
