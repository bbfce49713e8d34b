//! Closing and opening a store, and the order of its callbacks.

use std::sync::{Arc, Mutex};

use mynah_store::{Appended, Done, StoreError};

use crate::kit::{Kit, Stores, pair, uid};

pub async fn the_epoch_stays_as_long_as_the_history(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let epoch = kit.store().epoch().to_owned();
    assert!(!epoch.is_empty());
    kit.append(pair("a", "b")).await.unwrap();
    kit.reopen().await;
    assert_eq!(kit.store().epoch(), epoch);
    kit.crash().await;
    assert_eq!(
        kit.store().epoch(),
        epoch,
        "a crash loses nothing that was answered"
    );
    assert_ne!(Kit::new(stores).store().epoch(), epoch);
}

pub async fn an_older_copy_gets_a_new_epoch(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    kit.append(pair("a", "b")).await.unwrap();
    let epoch = kit.store().epoch().to_owned();
    let stopped = kit.stop().await;
    kit.keep_copy();
    kit.open(stopped);
    let lost = kit.append(pair("a", "b")).await.unwrap();
    let stopped = kit.stop().await;
    kit.go_back(stopped);
    assert_ne!(
        kit.store().epoch(),
        epoch,
        "clients must learn that messages are gone"
    );
    let again = kit.append(pair("a", "b")).await.unwrap();
    assert_eq!(again.seq, lost.seq);
    assert_ne!(again.mid, lost.mid);
}

pub async fn callbacks_of_a_conversation_are_called_in_order(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..50 {
        let mut batch = (0..20).map(|_| {
            let seen = seen.clone();
            let done = move |told: Result<Appended, _>| seen.lock().unwrap().push(told.unwrap().seq.0);
            (Arc::new(pair("a", "b")), Box::new(done) as Done<_>)
        });
        kit.store().append(&mut batch);
    }
    kit.store().close().await;
    let all: Vec<_> = (1..=1000).collect();
    assert_eq!(*seen.lock().unwrap(), all, "closing commits what was queued");
}

pub async fn a_closed_store_refuses_calls(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.append(pair("a", "b")).await.unwrap();
    kit.store().close().await;
    kit.store().close().await;
    let told = kit.append(pair("a", "b")).await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))));
    let unread = kit.store().unread(uid("a")).await;
    assert!(matches!(unread, Err(StoreError::Unavailable(_))));
    let finished = kit.finish(Vec::new()).await;
    assert!(matches!(finished, Err(StoreError::Unavailable(_))));
}
