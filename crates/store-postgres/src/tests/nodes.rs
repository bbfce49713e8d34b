//! Several nodes on one database.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use mynah_store::ids::Seq;
use mynah_store::{
    Append, DeviceRegister, JobQuery, Lane, Page, Place, Revocation, Revoked, Span, Store, TeamChange,
    TeamChanged, Watcher,
};
use mynah_store_conformance::kit::{answer, device, due_in, notice, pair, team_id, to_team, uid, with_cid};
use mynah_store_conformance::{Clocks, NOON};

use super::conformance::open;
use super::server::Server;
use crate::retention::Look;
use crate::{Nodes, OpenError, Options, Peer, Postgres};

/// Three nodes of one cluster.
fn nodes() -> Option<[Arc<Postgres>; 3]> {
    Some(nodes_of(&Server::shared()?.url(), &Server::schema()))
}

/// Three nodes on this database.
pub(super) fn nodes_of(url: &str, schema: &str) -> [Arc<Postgres>; 3] {
    [(); 3].map(|()| {
        Arc::new(open(Options {
            schema: schema.to_owned(),
            ..Options::new(url)
        }))
    })
}

pub(super) async fn append(
    node: &Postgres,
    order: Append,
) -> Result<mynah_store::Appended, mynah_store::StoreError> {
    let (done, told) = answer();
    node.append(&mut std::iter::once((Arc::new(order), done)));
    told.await.unwrap()
}

#[tokio::test]
async fn numbers_have_no_gaps_whoever_writes() {
    let Some(nodes) = nodes() else { return };
    let names = ["a", "b", "c", "d"];
    let mut told = Vec::new();
    for round in 0..40 {
        for (number, node) in nodes.iter().enumerate() {
            let mut batch = (0..10).map(|index| {
                let (from, to) = (
                    names[(round + index) % 4],
                    names[(round * 3 + index + number) % 4],
                );
                let (done, outcome) = answer();
                told.push(outcome);
                (Arc::new(pair(from, to)), done)
            });
            node.append(&mut batch);
        }
    }
    let mut seen = HashSet::new();
    let mut heads = std::collections::HashMap::<_, u64>::new();
    for outcome in told {
        let appended = outcome.await.unwrap().unwrap();
        assert!(
            seen.insert((appended.conv, appended.seq)),
            "no number is given twice"
        );
        let head = heads.entry(appended.conv).or_default();
        *head = (*head).max(appended.seq.0);
    }
    assert_eq!(seen.len() as u64, heads.values().sum::<u64>(), "no gaps");
    let page = Page {
        most: 500,
        bytes: 1 << 20,
    };
    for (conv, head) in heads {
        let found = nodes[0]
            .history(conv, None, Span::After(Seq(0)), page)
            .await
            .unwrap();
        assert_eq!(found.head.0, head);
        assert!(
            found
                .messages
                .iter()
                .zip(1..)
                .all(|(message, seq)| message.seq.0 == seq)
        );
    }
}

async fn change(node: &Postgres, order: TeamChange) -> TeamChanged {
    let (done, told) = answer();
    node.change_team(team_id("t"), order, done);
    told.await.unwrap().unwrap()
}

#[tokio::test]
async fn ids_ascend_with_seq_whoever_writes() {
    let Some(nodes) = nodes() else { return };
    let mut last = None;
    for number in 0..300 {
        let appended = append(&nodes[number % 3], pair("a", "b")).await.unwrap();
        assert!(Some(appended.mid) > last, "message {number}");
        last = Some(appended.mid);
    }
    let members = [uid("a"), uid("b")].to_vec();
    let put = TeamChange::Put {
        name: "T".into(),
        members: members[..1].to_vec(),
    };
    change(&nodes[0], put).await;
    let mut last = append(&nodes[0], to_team("a", "t")).await.unwrap().mid;
    for node in nodes.iter().cycle().take(30) {
        for order in [
            TeamChange::Add(members.clone()),
            TeamChange::Remove(members[1..].to_vec()),
        ] {
            let notice = change(node, order).await.notices[0].mid;
            assert!(notice > last);
            last = notice;
        }
    }
}

#[tokio::test]
async fn a_message_that_is_sent_to_two_nodes_is_written_once() {
    let Some(nodes) = nodes() else { return };
    for number in 0..50 {
        let order = with_cid(pair("a", "b"), &number.to_string());
        let (one, other, third) = tokio::join!(
            append(&nodes[0], order.clone()),
            append(&nodes[1], order.clone()),
            append(&nodes[2], order.clone())
        );
        let all = [one.unwrap(), other.unwrap(), third.unwrap()];
        assert_eq!(all.iter().filter(|told| !told.duplicate).count(), 1);
        assert!(
            all.iter()
                .all(|told| told.mid == all[0].mid && told.seq.0 == number + 1)
        );
    }
}

#[tokio::test]
async fn members_are_those_of_the_moment_on_every_node() {
    let Some(nodes) = nodes() else { return };
    let put = |members: &[&str]| TeamChange::Put {
        name: "T".into(),
        members: members.iter().map(|member| uid(member)).collect(),
    };
    for round in 0..10 {
        let members: &[&str] = if round % 2 == 0 {
            &["a", "b"]
        } else {
            &["a", "c", "d"]
        };
        let (done, changed) = answer();
        nodes[round % 3].change_team(team_id("t"), put(members), done);
        changed.await.unwrap().unwrap();
        for node in &nodes {
            let told = append(node, to_team("a", "t")).await.unwrap();
            let found: Vec<_> = told
                .members
                .unwrap()
                .iter()
                .map(|uid| uid.as_str().to_owned())
                .collect();
            assert_eq!(found, members);
        }
    }
}

/// A device that enters while messages are in flight on other nodes misses none that is committed later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_enters_among_messages_misses_none_that_come_later() {
    let Some(nodes) = nodes() else { return };
    for round in 0..30 {
        let to = format!("u{round}");
        let order = |from: usize| Append {
            place: Place::Pair {
                class: mynah_store::ids::PairClass::Plain,
                to: uid(&to),
            },
            ..pair(&format!("f{from}"), "x")
        };
        let mut before = Vec::new();
        for from in 0..6 {
            let node = nodes[from % 3].clone();
            before.push((
                from,
                tokio::spawn({
                    let order = order(from);
                    async move { append(&node, order).await.unwrap() }
                }),
            ));
        }
        let (done, entered) = answer();
        let register = mynah_store::DeviceRegister {
            device: device(&to, "x"),
            named: true,
            urgent: true,
        };
        nodes[round % 3].register_device(register, done);
        entered.await.unwrap().unwrap();
        let late = append(&nodes[(round + 1) % 3], order(7)).await.unwrap();
        for (_, told) in before {
            told.await.unwrap();
        }
        let missed = nodes[0].missed(device(&to, "x"), 500, 500).await.unwrap();
        let position = missed.behind.iter().find(|stretch| stretch.conv == late.conv);
        assert!(
            position.is_some_and(|it| it.after < late.seq),
            "what was sent afterwards is missed"
        );
    }
}

#[tokio::test]
async fn changes_of_settings_and_revocations_reach_the_other_nodes() {
    let Some(nodes) = nodes() else { return };
    let (settings, revoked) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let (keep, keeps) = (settings.clone(), revoked.clone());
    nodes[1].watch(Watcher::Settings(Box::new(move |it| {
        keep.lock().unwrap().push(it.clone())
    })));
    nodes[1].watch(Watcher::Revocations(Box::new(move |it| {
        keeps.lock().unwrap().push(it)
    })));
    for number in 0..10usize {
        let add = move |text: &str| Some(format!("{text}{number}"));
        let (done, changed) = answer();
        nodes[number % 3].change_setting("keys", Box::new(add), done);
        changed.await.unwrap().unwrap();
    }
    let revocation = Revocation {
        what: Revoked::Token("stolen".into()),
        issued_until: 1,
        forget_at: u64::MAX >> 1,
        displaced: None,
    };
    let (done, told) = answer();
    nodes[2].revoke(revocation.clone(), done);
    told.await.unwrap().unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let settings = settings.lock().unwrap();
    let last = settings.last().unwrap();
    assert_eq!(
        (last.name.as_str(), last.version, last.text.as_str()),
        ("keys", 10, "0123456789")
    );
    assert!(settings.windows(2).all(|two| two[0].version < two[1].version));
    assert!(revoked.lock().unwrap().contains(&revocation));
}

#[tokio::test]
async fn a_job_is_claimed_by_one_node_only() {
    let Some(nodes) = nodes() else { return };
    let mut made = HashSet::new();
    for number in 0..50 {
        let told = append(&nodes[0], notice(&format!("u{number}"))).await.unwrap();
        made.insert(told.push.unwrap());
    }
    let query = || JobQuery {
        limit: 7,
        ..due_in(Lane::Normal, 0)
    };
    let mut claimed = Vec::new();
    for _ in 0..4 {
        let (one, two, three) = tokio::join!(
            nodes[0].claim_jobs(query(), 60_000),
            nodes[1].claim_jobs(query(), 60_000),
            nodes[2].claim_jobs(query(), 60_000)
        );
        for found in [one, two, three] {
            claimed.extend(found.unwrap().jobs.into_iter().map(|job| job.id));
        }
    }
    assert_eq!(claimed.len(), 50, "each once");
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_have_the_cursors_of_earlier_acks() {
    let Some([node, ..]) = nodes() else { return };
    let (done, told) = answer();
    node.register_device(
        DeviceRegister {
            device: device("b", "d"),
            named: true,
            urgent: true,
        },
        done,
    );
    told.await.unwrap().unwrap();
    let mut conv = None;
    for _ in 0..200 {
        conv = Some(append(&node, pair("a", "b")).await.unwrap().conv);
    }
    for seq in 1..=200 {
        node.ack(device("b", "d"), conv.unwrap(), Seq(seq), Box::new(drop));
    }
    let page = Page {
        most: 10,
        bytes: 1 << 20,
    };
    let found = node
        .conversations(uid("b"), Some(device("b", "d").device), None, page)
        .await;
    assert_eq!(found.unwrap().conversations[0].cursor, Seq(200));
}

/// A node that says `introduction`, and runs with every other one that does not say the same.
fn peer(run: u8, introduction: &str) -> Option<Peer> {
    let own = introduction.to_owned();
    Some(Peer {
        run: [run; 16],
        introduction: introduction.to_owned(),
        admits: Arc::new(move |other| match other == own {
            true => Err("two nodes say the same".to_owned()),
            false => Ok(()),
        }),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_see_one_another_and_their_ends() {
    let Some(server) = Server::shared() else { return };
    let (url, schema) = (server.url(), Server::schema());
    let options = |peer| Options {
        schema: schema.clone(),
        peer,
        ..Options::new(&url)
    };
    let [one, two, three] = [1, 2, 3].map(|run| open(options(peer(run, &format!("node {run}")))));
    let mut seen = one.nodes();
    let both = |nodes: &Nodes| nodes.running.len() == 2 && nodes.ended.is_empty();
    let nodes = seen.wait_for(both).await.unwrap().clone();
    let mut running = nodes.running;
    running.sort();
    assert_eq!(
        running,
        [([2; 16], "node 2".to_owned()), ([3; 16], "node 3".to_owned())]
    );
    let error = Postgres::open(options(peer(4, "node 3"))).await.err();
    assert!(
        matches!(&error, Some(OpenError::Differs(why)) if why == "two nodes say the same"),
        "{error:?}"
    );
    two.close().await;
    let left = |nodes: &Nodes| nodes.running.len() == 1 && nodes.ended.iter().any(|(run, _)| *run == [2; 16]);
    seen.wait_for(left).await.unwrap();
    // Like a crash: the row stays until the others have not seen a heartbeat for long enough.
    drop(three);
    let died = |nodes: &Nodes| nodes.running.is_empty() && nodes.ended.iter().any(|(run, _)| *run == [3; 16]);
    seen.wait_for(died).await.unwrap();
    // Nothing refuses its successor any more.
    open(options(peer(5, "node 3"))).close().await;
}

#[tokio::test]
async fn messages_age_while_several_nodes_look_in_turn() {
    const KEEP_MS: u64 = 100_000;
    let Some(server) = Server::shared() else { return };
    let (url, schema, clocks) = (server.url(), Server::schema(), Clocks::default());
    let nodes = [(); 3].map(|()| {
        let clocks = clocks.clone();
        open(Options {
            schema: schema.clone(),
            retention_ms: KEEP_MS,
            clock: Some(Arc::new(move || (clocks.day(), clocks.steady()))),
            ..Options::new(&url)
        })
    });
    let old = append(&nodes[0], notice("a")).await.unwrap();
    append(&nodes[0], notice("b")).await.unwrap();
    let page = Page {
        most: 1,
        bytes: 1_000,
    };
    let mut deleted_at = None;
    for look in 0..40u64 {
        clocks.pass_until(NOON + look * 5_000);
        let node = &nodes[look as usize % 3];
        while node.retention.look(true).await.unwrap() != Look::Nothing {}
        let left = node
            .history(old.conv, None, Span::After(Seq(0)), page)
            .await
            .unwrap();
        if left.messages.is_empty() {
            deleted_at = deleted_at.or(Some(look * 5_000));
        }
    }
    let deleted_at = deleted_at.expect("it is deleted");
    // A mark may be as much younger as the interval of two looks of one node.
    assert!(
        (KEEP_MS..=KEEP_MS + 20_000).contains(&deleted_at),
        "after {deleted_at} ms"
    );
}
