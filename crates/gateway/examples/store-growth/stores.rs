//! Makes the same calls to a small and a large store, which differ only in the rest of their contents.

use anyhow::ensure;
use mynah::ids::Seq;
use mynah::store::Append;

use crate::Args;
use crate::ask::{
    ack, conversations, device, history, missed, order, pair, read, recall, register_device, replay, send,
    send_all,
};
use crate::fill::{FEW, OF_FEW, crowd, peer};
use crate::measure::{Opened, compare, cost, heading};

/// Messages in a batch.
const BATCH: usize = 256;

/// Makes the measurements and prints them.
pub(crate) async fn compare_stores(args: &Args, small: &Opened, large: &Opened) -> anyhow::Result<()> {
    let both = [small, large];
    let store = |place: usize| &both[place].store;
    let (user, rounds) = (device(OF_FEW)?, args.rounds);
    heading("call", "small store", "large store");

    compare(
        rounds,
        "conversations, page of 100, with a device",
        async |place| {
            let (got, cost) = cost(conversations(store(place), &user)).await?;
            ensure!(got.conversations.len() == FEW, "it has all its conversations");
            Ok(cost)
        },
    )
    .await?;

    compare(
        rounds,
        "register, missed and replay of 20 messages",
        async |place| {
            let resume = async {
                register_device(store(place), &user).await?;
                let missed = missed(store(place), &user).await?;
                replay(store(place), &user.uid, &missed).await
            };
            let (got, cost) = cost(resume).await?;
            ensure!(got.len() == 20, "the device has missed 20, not {}", got.len());
            Ok(cost)
        },
    )
    .await?;

    let conv = pair(OF_FEW, &peer(OF_FEW, 3))?;
    compare(rounds, "history, 20 messages", async |place| {
        let (got, cost) = cost(history(store(place), conv, &user.uid)).await?;
        ensure!(got.messages.len() == 20, "there are {}", got.messages.len());
        Ok(cost)
    })
    .await?;

    let (bob, conv) = (device("bob")?, pair("ann", "bob")?);
    for place in 0..2 {
        register_device(store(place), &bob).await?;
    }
    let mut number = 0;
    let mut next = || {
        number += 1;
        order("ann", "bob", Some(number))
    };
    compare(rounds, "send in a pair", async |place| {
        Ok(cost(send(store(place), next()?)).await?.1)
    })
    .await?;
    compare(rounds, "recall", async |place| {
        let sent = send(store(place), next()?).await?;
        Ok(cost(recall(store(place), "ann", &sent)).await?.1)
    })
    .await?;
    compare(rounds, "read", async |place| {
        let sent = send(store(place), next()?).await?;
        let (mark, cost) = cost(read(store(place), &bob, conv, sent.seq)).await?;
        ensure!(mark.moved && mark.seq == sent.seq, "the position moves");
        Ok(cost)
    })
    .await?;
    compare(rounds, "ack, written with enter", async |place| {
        let Seq(seq) = send(store(place), next()?).await?.seq;
        Ok(cost(ack(store(place), &bob, conv, Seq(seq))).await?.1)
    })
    .await?;

    let mut random = Random::new();
    let mut anywhere = |place: usize| -> anyhow::Result<Append> {
        let all = both[place].conversations;
        let (from, to) = crowd(random.below(all), all);
        order(&from, &to, None)
    };
    compare(rounds, "send in any pair", async |place| {
        Ok(cost(send(store(place), anywhere(place)?)).await?.1)
    })
    .await?;
    compare(rounds / 5 + 1, "one of 256 in any pairs at once", async |place| {
        let batch = (0..BATCH)
            .map(|_| anywhere(place))
            .collect::<anyhow::Result<_>>()?;
        Ok(cost(send_all(store(place), batch)).await?.1.split(BATCH))
    })
    .await
}

/// A generator of pseudorandom numbers.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
