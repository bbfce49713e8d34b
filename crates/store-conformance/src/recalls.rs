//! Recalling messages: who may, and what is unread afterwards.

use mynah_store::ids::{Mid, PairClass, Seq};
use mynah_store::{Append, ConvKind, Place, Recall, StoreError, TeamChange};

use crate::kit::{Kit, NOON, Stores, device, notice, pair, recall, to_team, uid, with_cid};

async fn unread(kit: &Kit, user: &str) -> u64 {
    kit.store().unread(uid(user)).await.unwrap()
}

fn code(told: Result<mynah_store::Recalled, StoreError>) -> u16 {
    match told.unwrap_err() {
        StoreError::NotFound(_) => 404,
        StoreError::Forbidden(_) => 403,
        StoreError::Conflict(_) => 409,
        other => panic!("{other}"),
    }
}

pub async fn recalls_are_checked_in_a_fixed_order(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.team("t", &["a", "b"]).await;
    let mid = kit.append(to_team("a", "t")).await.unwrap().mid;
    let nobodys = kit.append(notice("a")).await.unwrap().mid;
    let tells = kit.recall(recall(mid, "a")).await.unwrap().appended;
    assert!(tells.members.is_some() && tells.push.is_none());
    kit.set_clock(NOON + 60_001);
    assert_eq!(code(kit.recall(recall(Mid(uuid::Uuid::nil()), "a")).await), 404);
    assert_eq!(
        code(kit.recall(recall(mid, "b")).await),
        403,
        "another's, before anything else"
    );
    assert_eq!(code(kit.recall(recall(nobodys, "a")).await), 403, "nobody's");
    assert_eq!(
        code(kit.recall(recall(tells.mid, "a")).await),
        403,
        "what tells of it"
    );
    assert_eq!(
        code(kit.recall(recall(mid, "a")).await),
        409,
        "twice, even if it is old"
    );
    let late = kit.append(to_team("a", "t")).await.unwrap().mid;
    kit.set_clock(NOON + 120_001);
    assert!(kit.recall(recall(late, "a")).await.is_ok(), "just in time");
    let late = kit.append(to_team("a", "t")).await.unwrap().mid;
    kit.set_clock(NOON + 180_002);
    assert_eq!(code(kit.recall(recall(late, "a")).await), 403, "too old");
    kit.change("t", TeamChange::Remove(vec![uid("a")])).await.unwrap();
    assert_eq!(
        code(kit.recall(recall(mid, "a")).await),
        403,
        "who has left, before twice"
    );
    kit.change("t", TeamChange::Delete).await.unwrap();
    assert_eq!(
        code(kit.recall(recall(mid, "b")).await),
        404,
        "a closed conversation's"
    );
}

pub async fn recalled_messages_are_unread_for_nobody(stores: &dyn Stores) {
    // From either side, because the two users are counted in separate columns.
    for (from, to) in [("a", "b"), ("b", "a")] {
        let kit = Kit::new(stores);
        let sent = kit.append_all(vec![pair(from, to); 4]).await;
        let mids: Vec<_> = sent.iter().map(|sent| sent.as_ref().unwrap().mid).collect();
        let conv = sent[0].as_ref().unwrap().conv;
        kit.append(pair(to, from)).await.unwrap();
        kit.read(&device(to, "x"), conv, 2).await.unwrap();
        assert_eq!((unread(&kit, from).await, unread(&kit, to).await), (1, 2));
        kit.recall(recall(mids[3], from)).await.unwrap();
        assert_eq!(
            (unread(&kit, from).await, unread(&kit, to).await),
            (1, 1),
            "an unread one"
        );
        kit.recall(recall(mids[0], from)).await.unwrap();
        assert_eq!(
            (unread(&kit, from).await, unread(&kit, to).await),
            (1, 1),
            "a read one"
        );
        kit.read(&device(to, "x"), conv, 4).await.unwrap();
        assert_eq!((unread(&kit, from).await, unread(&kit, to).await), (1, 0));
        kit.append(pair(from, to)).await.unwrap();
        assert_eq!((unread(&kit, from).await, unread(&kit, to).await), (1, 1));
    }
}

pub async fn calls_never_count_as_unread(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let call = Append {
        counts: false,
        ..pair("a", "b")
    };
    let [call, other] = kit
        .append_all(vec![call, pair("a", "b")])
        .await
        .try_into()
        .unwrap();
    kit.recall(recall(call.unwrap().mid, "a")).await.unwrap();
    assert_eq!((unread(&kit, "b").await, other.unwrap().seq), (1, Seq(2)));
}

pub async fn messages_to_oneself_and_notices_can_be_recalled(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let own = kit.append(pair("a", "a")).await.unwrap();
    let told = kit.recall(recall(own.mid, "a")).await.unwrap();
    assert_eq!(told.kind, ConvKind::Pair(PairClass::Plain, uid("a"), uid("a")));
    let by = |from: &str| Append {
        place: Place::Notices(uid("a")),
        ..pair(from, "a")
    };
    for from in ["a", "z"] {
        let sent = kit.append_all(vec![by(from); 2]).await.remove(0).unwrap();
        let told = kit.recall(recall(sent.mid, from)).await.unwrap();
        assert_eq!(
            (told.kind, told.appended.conv),
            (ConvKind::Notices(uid("a")), sent.conv)
        );
    }
    assert_eq!(unread(&kit, "a").await, 1, "the other of z's");
}

pub async fn a_member_who_rejoined_may_recall_earlier_messages(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.team("t", &["a", "b"]).await;
    let sent = kit.append_all(vec![to_team("a", "t"), to_team("b", "t")]).await;
    let [first, _] = sent.try_into().unwrap();
    kit.change("t", TeamChange::Remove(vec![uid("a")])).await.unwrap();
    kit.change("t", TeamChange::Add(vec![uid("a")])).await.unwrap();
    assert_eq!((unread(&kit, "a").await, unread(&kit, "b").await), (0, 1));
    kit.recall(recall(first.unwrap().mid, "a")).await.unwrap();
    assert_eq!((unread(&kit, "a").await, unread(&kit, "b").await), (0, 0));
    kit.append(to_team("a", "t")).await.unwrap();
    assert_eq!((unread(&kit, "a").await, unread(&kit, "b").await), (0, 1));
}

pub async fn a_recalled_message_keeps_its_cid(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let order = with_cid(pair("a", "b"), "c1");
    let sent = kit.append(order.clone()).await.unwrap();
    let later = Recall {
        window_ms: 0,
        ..recall(sent.mid, "a")
    };
    kit.recall(later).await.unwrap();
    let again = kit.append(order).await.unwrap();
    assert!(
        again.duplicate && again.seq == Seq(1),
        "a repeated request brings nothing back"
    );
}

/// The age of a message does not depend on where the clock was set.
pub async fn a_jump_of_the_clock_does_not_change_the_recall_window(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let day = 86_400_000;
    for (first, then) in [(NOON, NOON + day), (NOON + day, NOON), (NOON, NOON - day)] {
        kit.jump(first);
        let sent = kit.append_all(vec![pair("a", "b"); 2]).await;
        let mids: Vec<_> = sent.into_iter().map(|sent| sent.unwrap().mid).collect();
        kit.jump(then);
        assert!(kit.recall(recall(mids[0], "a")).await.is_ok(), "it is new");
        kit.set_clock(then + 60_001);
        assert_eq!(code(kit.recall(recall(mids[1], "a")).await), 403, "it is old");
    }
}
