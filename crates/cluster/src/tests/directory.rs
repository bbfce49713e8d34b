//! Entries: found, released, refreshed, restored, expired.

use std::time::Duration;

use redis::cmd;

use crate::testing::*;
use crate::*;

fn held(name: &str, order: Order, entry: &Entry) -> Held {
    Held {
        uid: uid(name),
        entry: entry.clone(),
        order,
    }
}

#[tokio::test]
async fn users_are_found_in_the_order_of_the_question() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Multi(5)).await;
    let [one, two] = [Incarnation([1; 16]), Incarnation([2; 16])];
    // More users than one pipeline has commands.
    let uids: Vec<_> = (0..1201).map(|number| uid(&format!("user{number}"))).collect();
    for (number, name) in uids.iter().enumerate().filter(|(number, _)| number % 3 == 0) {
        for node in [one, two] {
            let sid = format!("s{number}-{}", node.0[0]);
            directory
                .claim(name, &entry(node, &sid, &sid, "ios"), &[])
                .await
                .unwrap();
        }
    }
    // A node with two of a user's connections is named once.
    directory
        .claim(&uids[3], &entry(two, "more", "more", "ios"), &[])
        .await
        .unwrap();
    let found = directory.find(&uids).await.unwrap();
    assert_eq!(found.len(), uids.len());
    for (number, found) in found.iter().enumerate() {
        match number % 3 {
            0 => assert_eq!(*found, [one, two]),
            _ => assert!(found.is_empty()),
        }
    }
    assert!(directory.find(&[]).await.unwrap().is_empty());
    assert_eq!(server.sids("user3").await, ["s3-1", "s3-2", "more"]);
}

#[tokio::test]
async fn a_release_removes_one_connection_only() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Multi(5)).await;
    let (alice, node) = (uid("alice"), Incarnation([1; 16]));
    for sid in ["a", "b"] {
        directory
            .claim(&alice, &entry(node, sid, sid, ""), &[])
            .await
            .unwrap();
    }
    let release = async |sid| directory.release(&alice, sid).await.unwrap();
    let expected = |was_there, left| Released { was_there, left };
    assert_eq!(release("c").await, expected(false, 2));
    assert_eq!(release("a").await, expected(true, 1));
    assert_eq!(release("a").await, expected(false, 1));
    assert_eq!(server.sids("alice").await, ["b"]);
    assert_eq!(release("b").await, expected(true, 0));
    // Nothing is left in Redis.
    let left: Vec<String> = server.run(cmd("KEYS").arg("test:u:*")).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn entries_of_dead_nodes_do_not_count() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Multi(2)).await;
    let [live, dead] = [Incarnation([1; 16]), Incarnation([2; 16])];
    let alice = uid("alice");
    for (node, sid) in [(live, "a"), (dead, "b")] {
        directory
            .claim(&alice, &entry(node, sid, sid, ""), &[])
            .await
            .unwrap();
    }
    let claimed = directory
        .claim(&alice, &entry(live, "c", "c", ""), &[dead])
        .await
        .unwrap();
    assert_eq!(claimed.ousted, []);
    assert_eq!(server.sids("alice").await, ["a", "c"]);
}

#[tokio::test]
async fn an_entry_expires_unless_it_is_refreshed() {
    let Some(server) = Server::start().await else {
        return;
    };
    let node = Incarnation::random().unwrap();
    let short = DirectoryConfig {
        life: Duration::from_millis(300),
        ..config(server.address(), node, Policy::Multi(5))
    };
    let short = Directory::start(short);
    let long = directory(&server, Policy::Multi(5)).await;
    connected(short.state()).await;
    let alice = uid("alice");
    short
        .claim(&alice, &entry(node, "a", "a", ""), &[])
        .await
        .unwrap();
    let kept = entry(node, "b", "b", "");
    let order = long.claim(&alice, &kept, &[]).await.unwrap().order;
    // The entry that has expired is removed by whatever changes the record next.
    until("the first entry expires", async || {
        let results = long
            .refresh(&[held("alice", order, &kept)], |_| true)
            .await
            .unwrap();
        assert_eq!(results, [Refreshed::Kept]);
        (server.sids("alice").await == ["b"]).then_some(())
    })
    .await;
    // Without other entries, the key itself expires.
    let bob = uid("bob");
    short.claim(&bob, &entry(node, "a", "a", ""), &[]).await.unwrap();
    until("the key expires", async || {
        server.sids("bob").await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn lost_entries_are_restored_in_the_order_of_their_claims() {
    let Some(server) = Server::start().await else {
        return;
    };
    let [one, two] = [Incarnation([1; 16]), Incarnation([2; 16])];
    let directory = directory(&server, Policy::Multi(3)).await;
    let mut all = Vec::new();
    for number in 0..3 {
        let sid = format!("s{number}");
        let new = entry([one, two][number % 2], &sid, &sid, "");
        let order = directory.claim(&uid("alice"), &new, &[]).await.unwrap().order;
        all.push(held("alice", order, &new));
    }
    () = server.run(&cmd("FLUSHALL")).await;
    assert!(server.sids("alice").await.is_empty());
    // Each node restores its own, the second one first.
    let seconds = directory.refresh(&all[1..2], |_| true).await.unwrap();
    assert_eq!(seconds, [Refreshed::Restored { ousted: vec![] }]);
    let firsts = [all[0].clone(), all[2].clone()];
    directory.refresh(&firsts, |_| true).await.unwrap();
    assert_eq!(server.sids("alice").await, ["s0", "s1", "s2"]);
    let again = directory.refresh(&all, |_| true).await.unwrap();
    assert_eq!(again, [const { Refreshed::Kept }; 3]);
    // New claims come after the restored ones.
    let new = entry(one, "s3", "s3", "");
    let claimed = directory.claim(&uid("alice"), &new, &[]).await.unwrap();
    assert!(claimed.order > all[2].order);
    assert_eq!(&*claimed.ousted[0].entry.sid, "s0");
}

/// The packet about a displacement was lost: the connection learns of it when it is refreshed.
#[tokio::test]
async fn a_connection_that_was_displaced_is_not_restored() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Single).await;
    let node = Incarnation([1; 16]);
    let [first, second] = ["a", "b"].map(|sid| entry(node, sid, sid, ""));
    let first_order = directory.claim(&uid("alice"), &first, &[]).await.unwrap().order;
    let second_order = directory.claim(&uid("alice"), &second, &[]).await.unwrap().order;
    let [first, second] = [
        held("alice", first_order, &first),
        held("alice", second_order, &second),
    ];
    for _ in 0..2 {
        let results = directory
            .refresh(std::slice::from_ref(&first), |_| true)
            .await
            .unwrap();
        let Refreshed::Removed { ousted } = &results[0] else {
            panic!("{results:?}");
        };
        assert_eq!((ousted.len(), ousted[0].why), (1, Why::Displaced));
        assert_eq!(ousted[0].order, first_order);
        assert_eq!(server.sids("alice").await, ["b"]);
        // The same after Redis has lost everything, in either order.
        () = server.run(&cmd("FLUSHALL")).await;
        directory
            .refresh(std::slice::from_ref(&second), |_| true)
            .await
            .unwrap();
    }
    () = server.run(&cmd("FLUSHALL")).await;
    directory.refresh(&[first], |_| true).await.unwrap();
    let results = directory.refresh(&[second], |_| true).await.unwrap();
    let Refreshed::Restored { ousted } = &results[0] else {
        panic!("{results:?}");
    };
    assert_eq!(&*ousted[0].entry.sid, "a");
    assert_eq!(server.sids("alice").await, ["b"]);
}

#[tokio::test]
async fn what_has_ended_is_not_restored() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Single).await;
    let lost = held("alice", Order(5), &entry(Incarnation([1; 16]), "a", "a", ""));
    let results = directory
        .refresh(std::slice::from_ref(&lost), |_| false)
        .await
        .unwrap();
    assert_eq!(results, [Refreshed::Ended]);
    assert!(server.sids("alice").await.is_empty());
    // It ends while it is being restored.
    let asked = std::cell::Cell::new(0);
    let ends = |_: &Held| {
        asked.set(asked.get() + 1);
        asked.get() == 1
    };
    directory.refresh(&[lost], ends).await.unwrap();
    assert_eq!(asked.get(), 2);
    assert!(server.sids("alice").await.is_empty());
}

/// The numbers of claims are times of Redis, as long as its clock is not set back.
#[tokio::test]
async fn a_claim_comes_after_all_others_also_if_the_clock_was_set_back() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Single).await;
    let ahead = 4_000_000_000_000_000;
    let record = format!("mynah1 {ahead}\n");
    () = server.run(cmd("SET").arg("test:u:{alice}").arg(record)).await;
    let new = entry(Incarnation([1; 16]), "a", "a", "");
    for number in 1..4 {
        let claimed = directory.claim(&uid("alice"), &new, &[]).await.unwrap();
        assert_eq!(claimed.order, Order(ahead + number));
    }
    // What is restored counts too.
    let held = held("bob", Order(ahead), &new);
    directory.refresh(&[held], |_| true).await.unwrap();
    let claimed = directory.claim(&uid("bob"), &new, &[]).await.unwrap();
    assert_eq!(claimed.order, Order(ahead + 1));
}

#[tokio::test]
async fn values_of_another_program_are_left_alone() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Single).await;
    let new = entry(Incarnation([1; 16]), "a", "a", "");
    () = server.run(cmd("SET").arg("test:u:{alice}").arg("hello")).await;
    let _: i64 = server.run(cmd("LPUSH").arg("test:u:{bob}").arg("hello")).await;
    directory.claim(&uid("carol"), &new, &[]).await.unwrap();
    for name in ["alice", "bob"] {
        let name = uid(name);
        assert_eq!(directory.claim(&name, &new, &[]).await, Err(Failure::Foreign));
        assert_eq!(directory.release(&name, "a").await, Err(Failure::Foreign));
        let held = held(name.as_str(), Order(1), &new);
        let results = directory.refresh(&[held], |_| true).await.unwrap();
        assert_eq!(results, [Refreshed::Failed(Failure::Foreign)]);
    }
    // The others are found nevertheless.
    let found = directory.find(&["alice", "bob", "carol"].map(uid)).await.unwrap();
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1]);
    let value: String = server.run(cmd("GET").arg("test:u:{alice}")).await;
    assert_eq!(value, "hello");
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Single).await;
    () = server.run(cmd("SCRIPT").arg("FLUSH")).await;
    let new = entry(Incarnation([1; 16]), "a", "a", "");
    let claimed = directory.claim(&uid("alice"), &new, &[]).await.unwrap();
    () = server.run(cmd("SCRIPT").arg("FLUSH")).await;
    let results = directory
        .refresh(&[held("alice", claimed.order, &new)], |_| true)
        .await
        .unwrap();
    assert_eq!(results, [Refreshed::Kept]);
}

#[tokio::test]
async fn an_entry_that_does_not_fit_is_not_sent() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Single).await;
    let bad = entry(Incarnation([1; 16]), "a\tb", "a", "");
    let claimed = directory.claim(&uid("alice"), &bad, &[]).await;
    assert!(matches!(claimed, Err(Failure::Invalid(_))), "{claimed:?}");
}
