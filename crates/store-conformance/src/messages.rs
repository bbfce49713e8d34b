//! Appending and reading messages.

use mynah_store::ids::{ConvId, PairClass, Seq};
use mynah_store::{ConvKind, Place, Span, StoreError};

use crate::kit::{Kit, NOON, Stores, notice, page, pair, team_id, to_team, uid, with_cid};

pub async fn a_conversation_is_the_same_whoever_begins_it(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let first = kit.append(pair("bob", "alice")).await.unwrap();
    let second = kit.append(pair("alice", "bob")).await.unwrap();
    assert_eq!((first.seq, second.seq), (Seq(1), Seq(2)));
    assert_eq!(first.conv, second.conv);
    assert_eq!(
        first.conv,
        ConvId::pair(PairClass::Plain, &uid("alice"), &uid("bob"))
    );
    assert!(second.mid > first.mid);
    assert!(first.push.is_some() && first.members.is_none() && !first.duplicate);

    let mut doctor = pair("alice", "bob");
    doctor.place = Place::Pair {
        class: PairClass::Doctor,
        to: uid("bob"),
    };
    let doctor = kit.append(doctor).await.unwrap();
    assert_ne!(doctor.conv, first.conv);
    assert_eq!(doctor.seq, Seq(1));

    let page = kit
        .store()
        .conversations(uid("alice"), None, None, page(100))
        .await
        .unwrap();
    let kinds: Vec<_> = page.conversations.iter().map(|line| line.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            ConvKind::Pair(PairClass::Doctor, uid("alice"), uid("bob")),
            ConvKind::Pair(PairClass::Plain, uid("alice"), uid("bob")),
        ]
    );
    assert_eq!(page.next, None);
}

pub async fn messages_are_read_as_they_were_written(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let order = with_cid(pair("alice", "bob"), "c1");
    let wrote = kit.append(order.clone()).await.unwrap();
    kit.reopen().await;
    let history = kit
        .store()
        .history(wrote.conv, None, Span::After(Seq(0)), page(10))
        .await
        .unwrap();
    let [message] = history.messages.try_into().unwrap();
    assert_eq!(message.data.get(), order.data.get());
    assert_eq!(
        (message.kind, message.conv, message.seq),
        (3, wrote.conv, wrote.seq)
    );
    assert_eq!(
        (message.mid, message.ts, message.from),
        (wrote.mid, wrote.ts, order.from)
    );
    assert_eq!((message.cid, message.recalled), (order.cid, false));
    assert_eq!((history.head, history.more), (Seq(1), false));
}

pub async fn history_is_paged_in_both_directions(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let orders = vec![pair("a", "b"); 7];
    let conv = kit.append_all(orders).await.remove(6).unwrap().conv;
    let read = async |span, limit| {
        let page = kit.store().history(conv, None, span, page(limit)).await.unwrap();
        let seqs: Vec<_> = page.messages.iter().map(|message| message.seq.0).collect();
        (seqs, page.more)
    };
    assert_eq!(read(Span::After(Seq(0)), 3).await, (vec![1, 2, 3], true));
    assert_eq!(read(Span::After(Seq(4)), 3).await, (vec![5, 6, 7], false));
    assert_eq!(read(Span::After(Seq(u64::MAX)), 3).await, (vec![], false));
    assert_eq!(read(Span::Before(Seq(u64::MAX)), 3).await, (vec![7, 6, 5], true));
    assert_eq!(read(Span::Before(Seq(3)), 2).await, (vec![2, 1], false));
    assert_eq!(read(Span::Before(Seq(0)), 2).await, (vec![], false));
    let missing = kit
        .store()
        .history(ConvId([7; 16]), None, Span::After(Seq(0)), page(1))
        .await;
    assert_eq!(missing.unwrap_err(), StoreError::NotFound("conversation"));
}

pub async fn a_cid_is_remembered_for_the_window(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let order = with_cid(pair("alice", "bob"), "c1");
    // Twice in one transaction, then again, and again after a restart.
    let told = kit.append_all(vec![order.clone(), order.clone()]).await;
    let [first, second] = told.try_into().unwrap();
    let first = first.unwrap();
    kit.reopen().await;
    let third = kit.append(order.clone()).await;
    for again in [second.unwrap(), third.unwrap()] {
        assert!(again.duplicate && again.push.is_none() && again.members.is_none());
        assert_eq!((again.mid, again.seq, again.ts), (first.mid, first.seq, first.ts));
    }
    // With another sender or in another conversation it is another message.
    assert!(
        !kit.append(with_cid(pair("bob", "alice"), "c1"))
            .await
            .unwrap()
            .duplicate
    );
    assert!(
        !kit.append(with_cid(pair("alice", "carol"), "c1"))
            .await
            .unwrap()
            .duplicate
    );
    kit.set_clock(NOON + 1_001);
    assert_eq!(kit.append(order.clone()).await.unwrap().seq, Seq(3));
    assert_eq!(
        kit.append(order).await.unwrap().seq,
        Seq(3),
        "the newer one is remembered now"
    );
}

pub async fn times_follow_the_clock_but_do_not_decrease_when_it_is_adjusted(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let first = kit.append(pair("a", "b")).await.unwrap();
    kit.jump(NOON - 10_000);
    let second = kit.append(pair("a", "b")).await.unwrap();
    kit.reopen().await;
    let third = kit.append(pair("a", "b")).await.unwrap();
    assert_eq!((first.ts, second.ts, third.ts), (NOON, NOON, NOON));
    assert!(first.mid < second.mid && second.mid < third.mid);
    assert_eq!(kit.append(notice("c")).await.unwrap().ts, NOON - 10_000);
}

/// If the clock is a day ahead for a moment, later times are not ahead until that day has passed. The order
/// is that of `seq` and `mid`.
pub async fn times_are_correct_again_when_the_clock_is(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.jump(NOON + 86_400_000);
    let ahead = kit.append(pair("a", "b")).await.unwrap();
    kit.jump(NOON);
    let right = kit.append(pair("a", "b")).await.unwrap();
    assert_eq!((ahead.ts, right.ts), (NOON + 86_400_000, NOON));
    assert!(ahead.seq < right.seq && ahead.mid < right.mid);
}

/// A repeated send is recognised wherever the clock was set in the meantime, but only within the window.
pub async fn a_jump_of_the_clock_does_not_end_the_window_of_a_cid(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let day = 86_400_000;
    for (number, (first, then)) in [(NOON, NOON + 8 * day), (NOON + 8 * day, NOON), (NOON, NOON - day)]
        .into_iter()
        .enumerate()
    {
        let order = with_cid(pair("alice", &format!("bob{number}")), "c1");
        kit.jump(first);
        let sent = kit.append(order.clone()).await.unwrap();
        kit.jump(then);
        let again = kit.append(order.clone()).await.unwrap();
        assert_eq!((again.mid, again.duplicate), (sent.mid, true));
        kit.set_clock(then + 1_001);
        assert!(!kit.append(order).await.unwrap().duplicate);
    }
}

pub async fn one_refused_message_does_not_affect_the_others(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.team("t", &["a"]).await;
    let nobody = mynah_store::Append {
        from: None,
        ..pair("a", "b")
    };
    let orders = vec![
        pair("a", "b"),
        to_team("a", "none"),
        to_team("x", "t"),
        nobody,
        pair("a", "b"),
    ];
    let [one, two, three, four, five] = kit.append_all(orders).await.try_into().unwrap();
    assert_eq!(one.unwrap().seq, Seq(1));
    assert_eq!(two.unwrap_err(), StoreError::NotFound("team"));
    assert!(matches!(three, Err(StoreError::Forbidden(_))));
    assert!(matches!(four, Err(StoreError::Forbidden(_))));
    assert_eq!(five.unwrap().seq, Seq(2));
    assert!(kit.store().healthy().is_ok());
}

pub async fn unread_counts_what_others_sent(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let mut call = pair("a", "b");
    call.counts = false;
    kit.append_all(vec![
        pair("a", "b"),
        pair("a", "b"),
        pair("b", "a"),
        call,
        notice("b"),
    ])
    .await;
    kit.append(pair("b", "b")).await.unwrap();
    assert_eq!(kit.store().unread(uid("a")).await.unwrap(), 1);
    assert_eq!(kit.store().unread(uid("b")).await.unwrap(), 3);
    assert_eq!(kit.store().unread(uid("never seen")).await.unwrap(), 0);
}

pub async fn conversations_are_paged_newest_first(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    for other in ["b", "c", "d", "e"] {
        kit.append(pair("a", other)).await.unwrap();
    }
    kit.team("t", &["a"]).await;
    let first = kit
        .store()
        .conversations(uid("a"), None, None, page(2))
        .await
        .unwrap();
    assert_eq!(first.conversations.len(), 2);
    assert_eq!(
        first.conversations[0].kind,
        ConvKind::Pair(PairClass::Plain, uid("a"), uid("e"))
    );
    assert_eq!(first.conversations[0].last.as_ref().unwrap().seq, Seq(1));
    let second = kit
        .store()
        .conversations(uid("a"), None, first.next, page(2))
        .await
        .unwrap();
    assert_eq!(
        second.conversations[1].kind,
        ConvKind::Pair(PairClass::Plain, uid("a"), uid("b"))
    );
    let third = kit
        .store()
        .conversations(uid("a"), None, second.next, page(2))
        .await
        .unwrap();
    assert_eq!(third.conversations[0].kind, ConvKind::Team(team_id("t")));
    assert!(third.conversations[0].last.is_none() && third.next.is_none());
    for bad in ["", "x", "1", "1.", ".", "1.2.3", "９.1"] {
        let refused = kit
            .store()
            .conversations(uid("a"), None, Some(bad.to_owned()), page(2))
            .await;
        assert!(matches!(refused, Err(StoreError::NotFound(_))), "{bad}");
    }
}
