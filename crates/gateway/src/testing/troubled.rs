//! A store that can be made to wait and to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, Semaphore};

use crate::ids::Uid;
use crate::store::testing::Wrapper;
use crate::store::{
    Append, Appended, Device, Done, Message, Missed, Page, Store, StoreError, StoreFuture, Stretch, forward,
};

/// A store that can be made to wait and to fail.
pub(crate) struct Troubled {
    store: Arc<dyn Store>,
    /// Counting unread messages takes a permit.
    pub(crate) unread: Arc<Semaphore>,
    /// A query for missed messages takes a permit.
    pub(crate) missed: Arc<Semaphore>,
    /// Notified at each query for missed messages.
    pub(crate) missed_asked: Arc<Notify>,
    /// While this is true, writes, replays and the health check fail.
    pub(crate) full: Arc<AtomicBool>,
}

impl Troubled {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            unread: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            missed: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            missed_asked: Arc::default(),
            full: Arc::default(),
        }
    }

    fn trouble(&self) -> Option<StoreError> {
        let full = self.full.load(Ordering::Relaxed);
        full.then(|| StoreError::Unavailable("no space left on the device".into()))
    }
}

impl Wrapper for Troubled {
    fn inner(&self) -> &dyn Store {
        &*self.store
    }

    fn forward_write<T: Send + 'static>(&self, done: Done<T>, call: impl FnOnce(&dyn Store, Done<T>)) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => call(&*self.store, done),
        }
    }
}

impl Store for Troubled {
    forward! {
        change_team register_device ack read recall team history conversations claim_jobs release_jobs
        extend_leases job_counts to_tell revive_jobs finish_jobs members_page revoke change_setting watch
        certain_time epoch close
    }

    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>) {
        match self.trouble() {
            Some(error) => messages.for_each(|(_, done)| done(Err(error.clone()))),
            None => self.store.append(messages),
        }
    }

    fn unread(&self, uid: Uid) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            self.unread.acquire().await.expect("never closed").forget();
            self.store.unread(uid).await
        })
    }

    fn missed(&self, device: Device, conversations: u32, behind: u32) -> StoreFuture<'_, Missed> {
        Box::pin(async move {
            self.missed_asked.notify_one();
            self.missed.acquire().await.expect("never closed").forget();
            self.store.missed(device, conversations, behind).await
        })
    }

    fn replay(&self, uid: Uid, stretches: Vec<Stretch>, page: Page) -> StoreFuture<'_, Vec<Message>> {
        match self.trouble() {
            Some(error) => Box::pin(async { Err(error) }),
            None => self.store.replay(uid, stretches, page),
        }
    }

    fn healthy(&self) -> Result<(), StoreError> {
        self.trouble().map_or_else(|| self.store.healthy(), Err)
    }
}
