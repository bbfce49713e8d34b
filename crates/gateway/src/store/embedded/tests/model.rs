//! The store against a plain model: the same random operations on both, the same answers to every question.

mod plain;
mod steps;

use proptest::prelude::*;

use self::plain::Plain;
use self::steps::{Step, UIDS, steps};
use super::kit::{Kit, NOON, page, uid};
use crate::store::{ConvKind, JobOutcome, JobRecipients, Span, Store};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_the_plain_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

async fn run(steps: Vec<Step>) {
    let mut kit = Kit::new();
    let mut plain = Plain::default();
    let mut now = NOON;
    for step in steps {
        match step {
            Step::Append(orders) => {
                let told = kit.append_all(orders.clone()).await;
                for (order, told) in orders.into_iter().zip(told) {
                    plain.append(now, order, told);
                }
            }
            Step::Change(team, change) => {
                let told = kit.change(&team, change.clone()).await;
                plain.change(now, &team, change, told);
            }
            Step::Finish(choice, outcome) => {
                // Only a team's job advances.
                let fits =
                    |job: &plain::Job| job.to.is_none() || !matches!(outcome, JobOutcome::Advanced { .. });
                let jobs: Vec<_> = plain
                    .jobs
                    .iter()
                    .filter(|(_, job)| fits(job))
                    .map(|(id, _)| *id)
                    .collect();
                if let Some(id) = jobs.get(choice % jobs.len().max(1)) {
                    kit.finish(vec![(*id, outcome.clone())]).await.unwrap();
                    let due = kit.store.due_jobs(u64::MAX, Vec::new(), u32::MAX).await.unwrap();
                    plain.finish(*id, &outcome, due.jobs.iter().map(|job| job.id));
                }
            }
            Step::Clock(time) => {
                now = time;
                kit.set_clock(now);
            }
            Step::Reopen => kit.reopen().await,
            Step::Compare => compare(&kit, &plain).await,
        }
    }
    compare(&kit, &plain).await;
}

async fn compare(kit: &Kit, plain: &Plain) {
    for (conv, expected) in &plain.convs {
        let read = kit
            .store
            .history(*conv, None, Span::After(crate::ids::Seq(0)), page(500))
            .await;
        if expected.closed {
            assert!(read.is_err(), "closed");
            continue;
        }
        let read = read.unwrap();
        assert_eq!(read.head.0 as usize, expected.messages.len());
        let found = read.messages.iter().map(plain::Said::from);
        assert_eq!(found.collect::<Vec<_>>(), expected.messages);
    }
    for user in UIDS.map(uid) {
        let mut expected = plain.conversations(&user);
        let mut after = None;
        loop {
            let page = kit
                .store
                .conversations(user.clone(), None, after, page(2))
                .await
                .unwrap();
            for line in page.conversations {
                let (conv, unread) = expected.remove(0);
                let known = &plain.convs[&conv];
                assert_eq!((line.conv, line.unread), (conv, unread), "of {user}");
                assert_eq!(line.read.0 as usize, known.floors[&user]);
                assert_eq!(
                    line.last.as_ref().map(plain::Said::from).as_ref(),
                    known.messages.last()
                );
                if let ConvKind::Team(_) = line.kind {
                    assert!(known.team);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(expected.is_empty(), "{user} misses {expected:?}");
        assert_eq!(kit.store.unread(user.clone()).await.unwrap(), plain.unread(&user));
        for (conv, known) in &plain.convs {
            for seq in [1, known.messages.len() / 2, known.messages.len()] {
                let at = kit
                    .store
                    .unread_at(user.clone(), *conv, crate::ids::Seq(seq as u64))
                    .await
                    .unwrap();
                assert_eq!(at, plain.unread_at(&user, conv, seq), "of {user} at {seq}");
            }
        }
    }
    let due = kit.store.due_jobs(u64::MAX, Vec::new(), u32::MAX).await.unwrap();
    assert_eq!(due.dead, plain.dead);
    let found = due.jobs.iter().map(|job| {
        let to = match &job.to {
            JobRecipients::User(to) => (Some(to.clone()), None),
            JobRecipients::Team(_, after) => (None, after.clone()),
        };
        (
            job.id,
            plain::Job {
                mid: job.message.mid,
                to: to.0,
                after: to.1,
                attempts: job.attempts,
            },
        )
    });
    let found: std::collections::BTreeMap<_, _> = found.collect();
    assert_eq!(found, plain.jobs);
}
