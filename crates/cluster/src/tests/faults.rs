//! Redis that dies, hangs, or loses its data.

use redis::cmd;

use crate::testing::*;
use crate::*;

fn alice() -> Entry {
    entry(Incarnation([1; 16]), "a", "a", "")
}

async fn claims(directory: &Directory) -> Result<Claimed, Failure> {
    directory.claim(&uid("alice"), &alice(), &[]).await
}

/// Waits until the number of interruptions is at least this.
async fn interruptions(directory: &Directory, number: u64) {
    let mut interruptions = directory.interruptions();
    let wait = interruptions.wait_for(|counted| *counted >= number);
    let waited = tokio::time::timeout(std::time::Duration::from_secs(60), wait).await;
    waited.expect("an interruption is noticed").unwrap();
}

#[tokio::test]
async fn a_server_that_restarts_empty_is_used_again_and_the_interruption_is_reported() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Single).await;
    let order = claims(&directory).await.unwrap().order;
    assert_eq!(*directory.interruptions().borrow(), 0);
    for round in 1..=3 {
        server.crash();
        let gone = trouble(directory.state(), |trouble| *trouble != Trouble::NotYet).await;
        assert!(
            matches!(
                gone,
                Trouble::Closed | Trouble::NoAnswer | Trouble::Unreachable { .. }
            ),
            "{gone}"
        );
        assert_eq!(claims(&directory).await, Err(Failure::Unavailable));
        server.restart().await;
        connected(directory.state()).await;
        interruptions(&directory, round).await;
        let held = Held {
            uid: uid("alice"),
            entry: alice(),
            order,
        };
        let results = directory.refresh(&[held], |_| true).await.unwrap();
        assert!(matches!(results[0], Refreshed::Restored { .. }), "{results:?}");
        assert_eq!(server.entries("alice").await, [(order, alice())]);
    }
    assert!(claims(&directory).await.unwrap().order > order);
}

#[tokio::test]
async fn emptied_data_is_noticed_by_every_node() {
    let Some(server) = Server::start().await else {
        return;
    };
    let nodes = [
        directory(&server, Policy::Single).await,
        directory(&server, Policy::Single).await,
    ];
    for round in 1..=2 {
        () = server.run(&cmd("FLUSHALL")).await;
        for node in &nodes {
            interruptions(node, round).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_left_and_used_again() {
    let Some(server) = Server::start().await else {
        return;
    };
    let incarnation = Incarnation::random().unwrap();
    let times = Times {
        answer: std::time::Duration::from_millis(300),
        connect: std::time::Duration::from_millis(500),
        ..TIMES
    };
    let config = config(server.address(), incarnation, Policy::Single);
    let directory = Directory::start(DirectoryConfig { times, ..config });
    connected(directory.state()).await;
    claims(&directory).await.unwrap();
    server.hang();
    // The first one may wait in vain, which ends the connection; then commands fail at once.
    until("commands fail at once", async || {
        (claims(&directory).await == Err(Failure::Unavailable)).then_some(())
    })
    .await;
    trouble(directory.state(), |trouble| *trouble == Trouble::NoAnswer).await;
    server.go_on();
    connected(directory.state()).await;
    until("claims work again", async || claims(&directory).await.ok()).await;
    interruptions(&directory, 1).await;
}

/// A connection closes while Redis does not work: its entry does not stay until it expires.
#[tokio::test]
async fn releases_and_claims_without_an_answer_are_released_later() {
    let Some(server) = Server::start().await else {
        return;
    };
    let incarnation = Incarnation::random().unwrap();
    let times = Times {
        answer: std::time::Duration::from_millis(300),
        connect: std::time::Duration::from_millis(500),
        ..TIMES
    };
    let config = config(server.address(), incarnation, Policy::Multi(5));
    let directory = Directory::start(DirectoryConfig { times, ..config });
    connected(directory.state()).await;
    claims(&directory).await.unwrap();
    let [bob, again] = ["b", "c"].map(|sid| entry(incarnation, sid, sid, ""));
    server.hang();
    // Redis has this command, and executes it when it goes on.
    let claimed = directory.claim(&uid("alice"), &bob, &[]).await;
    assert_eq!(claimed, Err(Failure::NoAnswer));
    assert!(directory.release(&uid("alice"), "a").await.is_err());
    assert!(directory.release(&uid("alice"), "c").await.is_err());
    server.go_on();
    connected(directory.state()).await;
    // This connection registers again before the refresh.
    until("it claims", async || {
        directory.claim(&uid("alice"), &again, &[]).await.ok()
    })
    .await;
    until("it refreshes", async || {
        directory.refresh(&[], |_| true).await.ok()
    })
    .await;
    assert_eq!(server.sids("alice").await, ["c"]);
}

#[tokio::test]
async fn memory_that_is_full_is_an_error_that_says_so() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Single).await;
    let order = claims(&directory).await.unwrap().order;
    let limit = |most: u64| {
        let mut limit = cmd("CONFIG");
        limit.arg("SET").arg("maxmemory").arg(most);
        limit
    };
    () = server.run(&limit(1)).await;
    // The regular check of the connection is refused too, and the connection is kept.
    until("a check is refused", async || {
        let info: String = server.run(cmd("INFO").arg("commandstats")).await;
        let set = info.lines().find(|line| line.starts_with("cmdstat_set:"))?;
        (!set.contains("rejected_calls=0")).then_some(())
    })
    .await;
    let refused = claims(&directory).await;
    assert!(
        matches!(&refused, Err(Failure::Refused(why)) if why.contains("OOM")),
        "{refused:?}"
    );
    // What is there can still be found.
    let found = directory.find(&[uid("alice")]).await.unwrap();
    assert_eq!(found, [[alice().node]]);
    assert_eq!(server.entries("alice").await, [(order, alice())]);
    () = server.run(&limit(0)).await;
    claims(&directory).await.unwrap();
}

/// The primary has become a replica, as after a failover behind one address.
#[tokio::test]
async fn a_demoted_server_is_left_until_it_can_be_written_again() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Single).await;
    let (bus, _inbox) = Bus::start(BusConfig {
        address: server.address(),
        name: name(),
        secret: secret(),
        incarnation: Incarnation([1; 16]),
        most_packets: 10,
        most_bytes: 1000,
        times: TIMES,
    });
    until("the bus is healthy", async || bus.healthy_since()).await;
    let mut demote = cmd("REPLICAOF");
    demote.arg("127.0.0.1").arg(free_port());
    () = server.run(&demote).await;
    trouble(directory.state(), |trouble| *trouble == Trouble::Replica).await;
    for state in bus.states() {
        trouble(state, |trouble| *trouble == Trouble::Replica).await;
    }
    assert_eq!(claims(&directory).await, Err(Failure::Unavailable));
    let mut promote = cmd("REPLICAOF");
    promote.arg("NO").arg("ONE");
    () = server.run(&promote).await;
    connected(directory.state()).await;
    claims(&directory).await.unwrap();
    until("the bus is healthy", async || bus.healthy_since()).await;
}
