//! Changes of teams: who is told, and what members may do afterwards.

use mynah_store::ids::Seq;
use mynah_store::{Append, Members, Span, StoreError, TeamChange, TeamChanged};

use crate::kit::{Kit, Stores, device, json, page, team_id, to_team, uid, uids};

fn put(name: &str, members: &[&str]) -> TeamChange {
    TeamChange::Put {
        name: name.to_owned(),
        members: uids(members),
    }
}

fn told(changed: &TeamChanged) -> Vec<(u16, String, u64)> {
    changed
        .notices
        .iter()
        .map(|notice| (notice.kind, notice.uid.to_string(), notice.seq.0))
        .collect()
}

pub async fn creating_a_team_sends_no_notices(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let made = kit.change("t", put("Team", &["b", "a", "b"])).await.unwrap();
    assert!(made.created && made.notices.is_empty());
    assert_eq!(*made.team.members, uids(&["a", "b"]));
    kit.reopen().await;
    let read = kit.store().team(team_id("t")).await.unwrap().unwrap();
    assert_eq!((read.name.as_str(), read.conv), ("Team", made.team.conv));
    assert_eq!(read.members, made.team.members);
    assert!(kit.store().team(team_id("u")).await.unwrap().is_none());
}

pub async fn replacing_members_sends_a_notice_for_each_difference(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let made = kit.change("t", put("Team", &["a", "b", "c"])).await.unwrap();
    let changed = kit.change("t", put("New", &["d", "b", "e"])).await.unwrap();
    assert!(!changed.created);
    assert_eq!(
        (changed.team.name.as_str(), changed.team.conv),
        ("New", made.team.conv)
    );
    let expected = [(17, "a", 1), (17, "c", 2), (16, "d", 3), (16, "e", 4)];
    assert_eq!(
        told(&changed),
        expected.map(|(kind, uid, seq)| (kind, uid.to_owned(), seq))
    );
    assert_eq!(changed.notices[2].data.get(), r#"{"team":"t","uid":"d"}"#);
    let history = kit
        .store()
        .history(made.team.conv, None, Span::After(Seq(0)), page(10))
        .await
        .unwrap();
    assert_eq!(history.messages.len(), 4);
    assert!(history.messages.iter().all(|message| message.from.is_none()));
    let nothing = kit.change("t", put("New", &["d", "b", "e"])).await.unwrap();
    assert!(nothing.notices.is_empty());
    assert_eq!(kit.store().team(team_id("t")).await.unwrap().unwrap().name, "New");
}

pub async fn adding_a_member_or_removing_a_stranger_changes_nothing(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.change("t", put("T", &["a", "b"])).await.unwrap();
    let added = kit
        .change("t", TeamChange::Add(uids(&["b", "c", "d", "c"])))
        .await
        .unwrap();
    assert_eq!(told(&added), [(16, "c".to_owned(), 1), (16, "d".to_owned(), 2)]);
    let removed = kit
        .change("t", TeamChange::Remove(uids(&["x", "a", "a"])))
        .await
        .unwrap();
    assert_eq!(told(&removed), [(17, "a".to_owned(), 3)]);
    assert_eq!(*removed.team.members, uids(&["b", "c", "d"]));
    for change in [TeamChange::Add(uids(&["b"])), TeamChange::Remove(uids(&["x"]))] {
        assert!(kit.change("t", change).await.unwrap().notices.is_empty());
    }
    for change in [
        TeamChange::Add(uids(&["b"])),
        TeamChange::Remove(uids(&["b"])),
        TeamChange::Delete,
    ] {
        assert_eq!(
            kit.change("none", change).await.unwrap_err(),
            StoreError::NotFound("team")
        );
    }
}

pub async fn the_number_of_members_is_limited(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let many: Vec<_> = (0..11).map(|number| uid(&format!("u{number}"))).collect();
    let too_many = TeamChange::Put {
        name: "T".into(),
        members: many.clone(),
    };
    let refused = kit.change("t", too_many).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::TooLarge(text) if text.contains("10 members")),
        "{refused}"
    );
    assert!(kit.store().team(team_id("t")).await.unwrap().is_none());
    kit.change(
        "t",
        TeamChange::Put {
            name: "T".into(),
            members: many[..10].to_vec(),
        },
    )
    .await
    .unwrap();
    let refused = kit.change("t", TeamChange::Add(vec![many[10].clone()])).await;
    assert!(matches!(refused, Err(StoreError::TooLarge(_))));
    assert!(
        kit.change("t", TeamChange::Add(many[..10].to_vec()))
            .await
            .is_ok(),
        "they are in already"
    );
}

pub async fn appended_messages_return_the_members_at_their_commit(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let made = kit.change("t", put("T", &["a", "b"])).await.unwrap();
    let [one, two] = kit
        .append_all(vec![to_team("a", "t"); 2])
        .await
        .try_into()
        .unwrap();
    let shared = |members: &Option<Members>| std::sync::Arc::as_ptr(members.as_ref().unwrap());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(shared(&one.members), std::sync::Arc::as_ptr(&made.team.members));
    assert_eq!(shared(&one.members), shared(&two.members));
    kit.change("t", TeamChange::Remove(uids(&["a"]))).await.unwrap();
    assert!(matches!(
        kit.append(to_team("a", "t")).await,
        Err(StoreError::Forbidden(_))
    ));
    let by_api = Append {
        device: None,
        members_only: false,
        ..to_team("a", "t")
    };
    assert_eq!(*kit.append(by_api).await.unwrap().members.unwrap(), uids(&["b"]));
}

pub async fn new_members_see_later_messages_only(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.change("t", put("T", &["a", "b"])).await.unwrap();
    kit.append(to_team("a", "t")).await.unwrap();
    kit.change("t", TeamChange::Add(uids(&["c"]))).await.unwrap();
    let seq = kit.append(to_team("c", "t")).await.unwrap().seq;
    kit.append(to_team("a", "t")).await.unwrap();
    assert_eq!(seq, Seq(3), "after the message and the 16");
    let unread = async |who| kit.store().unread(uid(who)).await.unwrap();
    assert_eq!(
        (unread("a").await, unread("b").await, unread("c").await),
        (1, 3, 1)
    );
    let line = kit
        .store()
        .conversations(uid("c"), None, None, page(10))
        .await
        .unwrap()
        .conversations
        .remove(0);
    assert_eq!((line.read, line.unread, line.head), (Seq(1), 1, Seq(4)));
    // A member who was removed and added again starts anew.
    kit.change("t", TeamChange::Remove(uids(&["c"]))).await.unwrap();
    assert!(
        kit.store()
            .conversations(uid("c"), None, None, page(10))
            .await
            .unwrap()
            .conversations
            .is_empty()
    );
    kit.change("t", TeamChange::Add(uids(&["c"]))).await.unwrap();
    assert_eq!(unread("c").await, 0);
    kit.append(to_team("c", "t")).await.unwrap();
    kit.append(to_team("b", "t")).await.unwrap();
    assert_eq!(
        (unread("a").await, unread("b").await, unread("c").await),
        (3, 4, 1)
    );
}

pub async fn a_deleted_team_is_closed_and_its_name_can_be_used_again(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.change("t", put("T", &["a", "b"])).await.unwrap();
    let old = kit.append(to_team("a", "t")).await.unwrap();
    let deleted = kit.change("t", TeamChange::Delete).await.unwrap();
    assert_eq!(*deleted.team.members, []);
    let told = deleted
        .notices
        .iter()
        .map(|notice| (notice.kind, notice.uid.as_str(), notice.seq.0));
    assert_eq!(told.collect::<Vec<_>>(), [(17, "a", 2), (17, "b", 3)]);
    let closed = kit
        .store()
        .history(old.conv, None, Span::After(Seq(0)), page(10))
        .await;
    assert_eq!(closed.unwrap_err(), StoreError::NotFound("conversation"));
    assert_eq!(
        kit.append(to_team("a", "t")).await.unwrap_err(),
        StoreError::NotFound("team")
    );
    assert_eq!(kit.store().unread(uid("b")).await.unwrap(), 0);
    assert!(kit.store().team(team_id("t")).await.unwrap().is_none());

    let again = kit.change("t", put("T", &["b", "c"])).await.unwrap();
    assert!(again.created);
    assert_ne!(again.team.conv, old.conv);
    assert_eq!(kit.append(to_team("b", "t")).await.unwrap().seq, Seq(1));
    assert!(
        kit.store()
            .members_page(old.conv, old.seq, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn names_that_need_escaping_are_unchanged(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let odd = r#"组"\"#;
    kit.change(odd, put("T", &["a"])).await.unwrap();
    let changed = kit
        .change(odd, TeamChange::Add(uids(&[r#"小"明"#])))
        .await
        .unwrap();
    assert_eq!(
        changed.notices[0].data.get(),
        json(r#"{"team":"组\"\\","uid":"小\"明"}"#).get()
    );
}

pub async fn members_who_leave_together_receive_only_their_own_notice(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.team("t", &["a", "b", "c"]).await;
    let by = device("c", "phone");
    kit.register_device(&by).await;
    kit.append(to_team("a", "t")).await.unwrap();
    let left = TeamChange::Remove(uids(&["b", "c"]));
    kit.change("t", left).await.unwrap();
    kit.append(to_team("a", "t")).await.unwrap();
    let left = kit.store().missed(by.clone(), 10, 10).await.unwrap().left;
    let replayed = kit.store().replay(by.uid, left, page(10)).await.unwrap();
    let told: Vec<_> = replayed.iter().map(|it| (it.seq.0, it.kind == 17)).collect();
    assert_eq!(told, [(1, false), (3, true)]);
}
