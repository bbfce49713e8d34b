//! Reads are scheduled fairly between accounts, and skipped if nobody waits for them any more.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use mynah_store::StoreError;
use parking_lot::Mutex;

use super::kit::{Kit, uid};
use crate::reads::{For, READERS};

type Done = Arc<Mutex<Vec<String>>>;

/// Reads that hold this wait until the sender sends one of them something, or is dropped.
type Gate = Arc<Mutex<mpsc::Receiver<()>>>;

fn read(
    kit: &Kit,
    done: &Done,
    (user, name): (&str, String),
    gate: Option<&Gate>,
) -> tokio::task::JoinHandle<Result<(), StoreError>> {
    let (done, gate) = (done.clone(), gate.cloned());
    let read = kit.store.shared.readers.run(For::User(uid(user)), move |_| {
        done.lock().push(name);
        if let Some(gate) = gate {
            // An error means that the sender was dropped.
            let _ = gate.lock().recv();
        }
        Ok(())
    });
    tokio::spawn(read)
}

/// Keeps all readers busy until the sender is dropped. Returns the number of reads that wait for them now.
async fn busy(kit: &Kit) -> (mpsc::Sender<()>, usize) {
    let (release, gate) = gate();
    let begun = Done::default();
    // A busy reader is given one more read before another reader is woken.
    while begun.lock().len() < READERS {
        read(kit, &begun, ("busy", String::new()), Some(&gate));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (release, kit.store.shared.readers.waiting())
}

fn gate() -> (mpsc::Sender<()>, Gate) {
    let (release, gate) = mpsc::channel();
    (release, Arc::new(Mutex::new(gate)))
}

async fn are_done(done: &Done, count: usize) {
    while done.lock().len() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn waiting(kit: &Kit, count: usize) {
    while kit.store.shared.readers.waiting() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn reads_of_other_users_overtake_a_backlog_and_cancelled_ones_are_skipped() {
    let kit = Kit::new();
    let done = Done::default();
    let (release, before) = busy(&kit).await;
    let (step, gate) = gate();
    let greedy: Vec<_> = (0..200)
        .map(|n| read(&kit, &done, ("greedy", format!("greedy {n}")), Some(&gate)))
        .collect();
    waiting(&kit, before + 200).await;
    let other = read(&kit, &done, ("other", "other".to_owned()), None);
    waiting(&kit, before + 201).await;
    for (n, left) in greedy.into_iter().enumerate() {
        if n % 2 == 1 {
            left.abort();
            assert!(left.await.unwrap_err().is_cancelled());
        }
    }
    drop(release);
    // Each reader begins one read of the backlog, and then one of them is free for another read.
    are_done(&done, READERS).await;
    step.send(()).unwrap();
    other.await.unwrap().unwrap();
    drop(step);
    are_done(&done, 101).await;
    let done = done.lock();
    let place = done.iter().position(|name| name == "other").unwrap();
    assert!(place <= READERS, "number {place} of {done:?}");
    assert!(
        !done.iter().any(|name| name == "greedy 1" || name == "greedy 199"),
        "{done:?}"
    );
}

#[tokio::test]
async fn waiting_reads_of_one_user_are_limited() {
    let kit = Kit::new();
    let done = Done::default();
    let (gate, before) = busy(&kit).await;
    let most = 1_024;
    let mut greedy: Vec<_> = (0..most)
        .map(|n| read(&kit, &done, ("greedy", n.to_string()), None))
        .collect();
    waiting(&kit, before + most).await;
    let refused = read(&kit, &done, ("greedy", "one more".to_owned()), None)
        .await
        .unwrap();
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let other = read(&kit, &done, ("other", "other".to_owned()), None);
    // A read that is cancelled makes room for another one.
    greedy.pop().unwrap().abort();
    tokio::task::yield_now().await;
    let late = read(&kit, &done, ("greedy", "late".to_owned()), None);
    waiting(&kit, before + most + 1).await;
    drop(gate);
    late.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
}
