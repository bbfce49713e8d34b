//! Compares the results of all reading calls with the plain model.

use std::collections::BTreeMap;
use std::time::Duration;

use mynah_store::ids::{ConvId, Seq, Uid};
use mynah_store::{Device, JobRecipients, Message, Position, Span, StoreError, Stretch};

use super::plain::{Job, Plain, Said};
use super::steps::{DEVICES, UIDS};
use crate::kit::{Kit, device, page, uid};

/// The maximum number of attempts until the number of jobs must be correct.
const PATIENCE: usize = 1_000;

/// Compares everything. This also writes what the devices have acknowledged.
pub(super) async fn compare(kit: &Kit, plain: &mut Plain) {
    for conv in plain.made.clone() {
        histories(kit, plain, conv).await;
    }
    for user in UIDS {
        conversations(kit, plain, &uid(user), None).await;
        for name in DEVICES {
            let device = device(user, name);
            conversations(kit, plain, &device.uid, Some(&device)).await;
            plain.settle(&device);
            missed(kit, plain, &device).await;
        }
        unread(kit, plain, &uid(user)).await;
    }
    jobs(kit, plain).await;
}

fn shown(messages: &[Message]) -> Vec<Said> {
    messages.iter().map(Said::from).collect()
}

async fn histories(kit: &Kit, plain: &Plain, conv: ConvId) {
    let known = &plain.convs[&conv];
    let all = page(500);
    for viewer in std::iter::once(None).chain(UIDS.map(uid).map(Some)) {
        let read = kit
            .store()
            .history(conv, viewer.clone(), Span::After(Seq(0)), all);
        let read = match (read.await, &viewer) {
            (Err(StoreError::NotFound(_)), None) if known.closed => continue,
            (Err(StoreError::Forbidden(_)), Some(uid)) if known.closed || !known.seats.contains_key(uid) => {
                continue;
            }
            (read, _) => read.unwrap(),
        };
        assert!(!known.closed, "a closed conversation is read");
        let floor = viewer.as_ref().map_or(0, |uid| known.seats[uid].floor);
        let mut expected = known.shown(floor);
        assert_eq!((read.head.0 as usize, read.more), (known.messages.len(), false));
        assert_eq!(shown(&read.messages), expected, "for {viewer:?}");
        let back = kit
            .store()
            .history(conv, viewer, Span::Before(read.head), page(2));
        let back = back.await.unwrap();
        expected.retain(|said| said.seq < known.messages.len());
        assert_eq!(back.more, expected.len() > 2);
        let expected: Vec<_> = expected.into_iter().rev().take(2).collect();
        assert_eq!(shown(&back.messages), expected);
    }
    for seq in [1, known.messages.len()] {
        let found = kit
            .store()
            .members_page(conv, Seq(seq as u64), None, 100)
            .await
            .unwrap();
        let mut expected: Vec<_> = match known.kind {
            mynah_store::ConvKind::Team(_) if !known.closed => known.seats.iter(),
            _ => Default::default(),
        }
        .filter(|(_, seat)| seat.joined < seq)
        .map(|(uid, _)| uid.clone())
        .collect();
        expected.sort();
        assert_eq!(found, expected);
    }
}

async fn conversations(kit: &Kit, plain: &Plain, uid: &Uid, device: Option<&Device>) {
    let mut expected = plain.conversations(uid).into_iter();
    let mut after = None;
    loop {
        let name = device.map(|device| device.device.clone());
        let page = kit
            .store()
            .conversations(uid.clone(), name, after, page(3))
            .await
            .unwrap();
        for line in page.conversations {
            let conv = expected.next().expect("no more than there are");
            let known = &plain.convs[&conv];
            let seat = known.seats[uid];
            assert_eq!((line.conv, &line.kind), (conv, &known.kind));
            let cursor = device.map_or(0, |device| plain.cursor_of(device, conv));
            assert_eq!(line.head.0 as usize, known.messages.len());
            assert_eq!(
                line.cursor.0 as usize, cursor,
                "cursor of {device:?} in {:?}",
                line.kind
            );
            assert_eq!(line.read.0 as usize, seat.read.max(known.gone));
            assert_eq!(
                line.unread,
                known.unread(uid),
                "unread for {uid} in {:?}",
                line.kind
            );
            let last = line.last.as_ref().map(Said::from);
            assert_eq!(
                last.as_ref(),
                known
                    .shown(seat.floor)
                    .last()
                    .filter(|last| last.seq == known.messages.len())
            );
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(expected.collect::<Vec<_>>(), [], "missing for {uid}");
}

async fn missed(kit: &Kit, plain: &Plain, device: &Device) {
    let convs = plain.conversations(&device.uid);
    let positions = convs.iter().map(|conv| {
        let known = &plain.convs[conv];
        Position {
            conv: *conv,
            head: Seq(known.messages.len() as u64),
            cursor: Seq(plain.cursor_of(device, *conv) as u64),
            read: Seq(known.seats[&device.uid].read.max(known.gone) as u64),
            unread: known.unread(&device.uid),
        }
    });
    let departures = plain.made.iter().filter_map(|conv| {
        let departure = plain.convs[conv].departure(&device.uid)?;
        plain.place(&device.uid, &device.device)?;
        let head = Seq(departure.seq as u64);
        Some(Position {
            conv: *conv,
            head,
            cursor: Seq(plain.cursor_of(device, *conv) as u64).min(head),
            read: head,
            unread: 0,
        })
    });
    let is_behind = |position: &Position| position.cursor < position.head;
    let stretch = |position: &Position| Stretch {
        conv: position.conv,
        after: position.cursor,
        through: position.head,
    };
    let mut concerned: Vec<_> = positions
        .filter(|position| position.unread > 0 || is_behind(position))
        .collect();
    let behind: Vec<_> = concerned.iter().filter(|it| is_behind(it)).map(stretch).collect();
    let mut departures: Vec<_> = departures.filter(is_behind).collect();
    let row = |position: &Position| plain.convs[&position.conv].messages[position.head.0 as usize - 1].row;
    departures.sort_by_key(|position| std::cmp::Reverse(row(position)));
    let left: Vec<_> = departures.iter().map(stretch).collect();
    concerned.extend(departures);
    concerned.sort_by_key(|position| std::cmp::Reverse(row(position)));
    for (most, most_behind) in [(2, 1), (500, 500)] {
        let found = kit
            .store()
            .missed(device.clone(), most as u32, most_behind as u32)
            .await
            .unwrap();
        assert_eq!(found.unread, plain.unread(&device.uid));
        assert_eq!(
            found.conversations,
            concerned[..most.min(concerned.len())],
            "for {device:?}"
        );
        assert_eq!(found.more, concerned.len() > most);
        assert_eq!(found.behind, behind[..most_behind.min(behind.len())]);
        assert_eq!(found.left, left);
        let pending = behind.iter().map(|stretch| stretch.through.0 - stretch.after.0);
        let pending = pending.sum::<u64>();
        if behind.len() > most.max(most_behind) {
            assert!((most_behind as u64 + 1..=pending).contains(&found.pending));
        } else {
            assert_eq!(found.pending, pending);
        }
    }
    replay(kit, plain, &device.uid, behind).await;
    replay(kit, plain, &device.uid, left).await;
    // All messages of all conversations, whoever asks.
    let whole = plain.made.iter().map(|conv| Stretch {
        conv: *conv,
        after: Seq(0),
        through: Seq(u64::MAX),
    });
    replay(kit, plain, &device.uid, whole.collect()).await;
}

async fn replay(kit: &Kit, plain: &Plain, user: &Uid, stretches: Vec<Stretch>) {
    let expected = stretches.iter().flat_map(|stretch| {
        let known = &plain.convs[&stretch.conv];
        let seat = known.seats.get(user).filter(|_| !known.closed);
        let departure = known.departure(user);
        let floor = seat.map(|seat| seat.floor).or(departure.map(|it| it.floor));
        let shown = known.shown(floor.unwrap_or(usize::MAX).max(stretch.after.0 as usize));
        let sees = move |seq| departure.is_none_or(|it| seq <= it.head || seq == it.seq);
        shown.into_iter().filter(move |said| sees(said.seq))
    });
    let expected: Vec<_> = expected.take(500).collect();
    let found = kit
        .store()
        .replay(user.clone(), stretches, page(500))
        .await
        .unwrap();
    assert_eq!(shown(&found), expected, "for {user}");
}

async fn unread(kit: &Kit, plain: &Plain, uid: &Uid) {
    assert_eq!(kit.store().unread(uid.clone()).await.unwrap(), plain.unread(uid));
}

async fn jobs(kit: &Kit, plain: &Plain) {
    let due = kit.all_jobs().await;
    let expected = (due.len() as u64, plain.dead.len() as u64);
    // Dead jobs are deleted with the messages of a deleted team, a little after the team.
    for _ in 0..PATIENCE {
        let counts = kit.store().job_counts().await.unwrap();
        if (counts.waiting, counts.dead) == expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let counts = kit.store().job_counts().await.unwrap();
    assert_eq!((counts.waiting, counts.dead), expected);
    let found = due.iter().map(|job| {
        let to = match &job.to {
            JobRecipients::User(to) => (Some(to.clone()), None),
            JobRecipients::Team(after) => (None, after.clone()),
        };
        let job_found = Job {
            mid: job.mid,
            to: to.0,
            after: to.1,
            attempts: job.attempts,
        };
        (job.id, job_found)
    });
    let found: BTreeMap<_, _> = found.collect();
    assert_eq!(found, plain.jobs);
}
