//! The store, as a simulated node uses it: the real one, stepped by the event loop, with the delays of a
//! disk. Everything that it returns is compared with the truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::hub::Hub;
use super::missed::Least;
use crate::ids::{ConvId, DeviceId, Seq, TeamId, Uid};
use crate::store::follow::{Follow, News, Point, RecordId};
use crate::store::testing::Wrapper;
use crate::store::{
    Append, Appended, Conversations, Device, DeviceRegister, Done, DueJobs, JobQuery, Message, Missed, Page,
    Read, ReadMark, Recall, Recalled, Store, StoreError, StoreFuture, Stretch, TeamChange, TeamChanged,
    forward,
};
use crate::testing::shared::Shared;

/// A store that is checked.
pub(super) struct Watched {
    pub(super) inner: Arc<Shared>,
    pub(super) hub: Hub,
    /// The number of the node that uses it.
    pub(super) node: usize,
    /// The node has crashed: requests of its last tasks are never answered.
    pub(super) dead: Arc<AtomicBool>,
}

impl Watched {
    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Wraps a callback so that its result is checked. The writer calls it back later, so that a read may see
    /// the result first. A node that has crashed is not called back.
    fn watch<T: Send + 'static>(
        &self,
        done: Done<T>,
        look: impl FnOnce(&Hub, &T) + Send + 'static,
    ) -> Done<T> {
        let (hub, node, dead) = (self.hub.clone(), self.node, self.dead.clone());
        Box::new(move |told: Result<T, StoreError>| {
            if let Ok(told) = &told {
                look(&hub, told);
            }
            if !dead.load(Ordering::Relaxed) {
                hub.queue_callback(node, Box::new(move || done(told)));
            }
        })
    }

    /// Gives the store something to write.
    fn write(&self, hand_over: impl FnOnce(&dyn Store)) {
        if !self.is_dead() {
            hand_over(&*self.inner);
            self.hub.commit_soon();
        }
    }

    /// Reads at some moment between the request and the response, and checks the result.
    fn read<'a, T: Send + 'a>(
        &'a self,
        read: impl FnOnce(&'a Shared) -> StoreFuture<'a, T> + Send + 'a,
        check: impl FnOnce(&Hub, &T) + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move {
            self.hub.read_takes().await;
            if self.is_dead() {
                return std::future::pending().await;
            }
            // The store may have to write something before it can read.
            self.hub.commit_soon();
            let found = read(&self.inner).await;
            if let Ok(found) = &found {
                check(&self.hub, found);
            }
            self.hub.read_takes().await;
            found
        })
    }
}

fn unchecked<T>(_: &Hub, _: &T) {}

impl Hub {
    fn judge(&self, verdict: Result<(), String>) {
        if let Err(what) = verdict {
            self.wrong(format!("the store: {what}"));
        }
    }

    fn appended(&self, order: &Append, told: &Appended) {
        let now = self.now();
        let verdict = {
            let mut state = self.lock();
            let verdict = state.truth.appended(order, told, now);
            if let (Some(from), Some(device)) = (&order.from, &order.device)
                && !told.duplicate
            {
                let device = Device {
                    uid: from.clone(),
                    device: device.clone(),
                };
                let floor = state.floor(told.conv, from);
                state.devices.sent(&device, told.conv, told.seq.0, floor);
            }
            verdict
        };
        self.note(format!(
            "stored {} {} {}{}",
            short(told.conv),
            told.seq,
            order.cid.as_ref().map_or("", |cid| cid.as_str()),
            if told.duplicate { " again" } else { "" }
        ));
        self.judge(verdict);
    }
}

/// Returns the first digits of a conversation's id, for messages.
pub(super) fn short(conv: ConvId) -> String {
    conv.to_string()[..6].to_owned()
}

impl Wrapper for Watched {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn forward_write<T: Send + 'static>(&self, done: Done<T>, call: impl FnOnce(&dyn Store, Done<T>)) {
        self.write(|store| call(store, done));
    }

    fn forward_read<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        self.read(|store| call(store), unchecked)
    }
}

impl Store for Watched {
    forward! {
        replay team history release_jobs extend_leases job_counts to_tell revive_jobs finish_jobs members_page
        revoke change_setting watch certain_time epoch healthy close
    }

    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>) {
        let mut watched = messages.map(|(order, done)| {
            let copy = order.clone();
            let done = self.watch(done, move |hub, told| hub.appended(&copy, told));
            (order, done)
        });
        self.write(|store| store.append(&mut watched));
    }

    fn change_team(&self, team: TeamId, change: TeamChange, done: Done<TeamChanged>) {
        let (name, order) = (team.clone(), change.clone());
        let done = self.watch(done, move |hub, told| {
            hub.note(format!("changed {name} ({})", told.notices.len()));
            let verdict = hub.lock().truth.changed(&name, &order, told);
            hub.judge(verdict);
        });
        self.write(|store| store.change_team(team, change, done));
    }

    fn register_device(&self, register: DeviceRegister, done: Done<()>) {
        let copy = register.device.clone();
        let done = self.watch(done, move |hub, ()| {
            let mut state = hub.lock();
            let state = &mut *state;
            state.devices.entered(&copy, || state.truth.heads());
        });
        self.write(|store| store.register_device(register, done));
    }

    fn ack(&self, device: Device, conv: ConvId, seq: Seq, done: Done<Seq>) {
        let copy = device.clone();
        let done = self.watch(done, move |hub, _| {
            hub.note(format!("{} has {} {seq}", copy.device, short(conv)));
            let mut state = hub.lock();
            let seen = state.truth.seen(conv, &copy.uid);
            state.devices.acked(&copy, conv, seq.0.min(seen));
        });
        self.write(|store| store.ack(device, conv, seq, done));
    }

    fn read(&self, read: Read, done: Done<ReadMark>) {
        let order = read.clone();
        let done = self.watch(done, move |hub, told| {
            let verdict = {
                let mut state = hub.lock();
                let seen = state.truth.seen(order.conv, &order.by.uid);
                state.devices.acked(&order.by, order.conv, order.seq.0.min(seen));
                state.truth.was_read(&order, told)
            };
            hub.judge(verdict);
        });
        self.write(|store| store.read(read, done));
    }

    fn recall(&self, recall: Recall, done: Done<Recalled>) {
        let order = recall.clone();
        let done = self.watch(done, move |hub, told| {
            let verdict = hub.lock().truth.recalled(&order, told);
            hub.note(format!(
                "stored {} {} (recall)",
                short(told.appended.conv),
                told.appended.seq
            ));
            hub.judge(verdict);
        });
        self.write(|store| store.recall(recall, done));
    }

    fn missed(&self, device: Device, conversations: u32, behind: u32) -> StoreFuture<'_, Missed> {
        let (copy, hub) = (device.clone(), &self.hub);
        let least = Arc::new(Mutex::new(Least::default()));
        let known = least.clone();
        self.read(
            move |store| {
                // The result contains what was acknowledged before the device registered, and perhaps what it
                // acknowledged since.
                *known.lock() = hub.lock().settled(&device);
                store.missed(device, conversations, behind)
            },
            move |hub, missed| {
                let verdict = hub.lock().check_missed(&copy, &least.lock(), missed);
                hub.judge(verdict);
            },
        )
    }

    fn conversations(
        &self,
        uid: Uid,
        device: Option<DeviceId>,
        after: Option<String>,
        page: Page,
    ) -> StoreFuture<'_, Conversations> {
        let (copy, hub) = (uid.clone(), &self.hub);
        let asks = device.clone().map(|device| Device { uid, device });
        let least = Arc::new(Mutex::new(Least::default()));
        let (whole, known, by) = (after.is_none(), least.clone(), asks.clone());
        self.read(
            move |store| {
                *known.lock() = by.map_or_else(Least::default, |by| hub.lock().cursors(&by));
                store.conversations(copy, device, after, page)
            },
            move |hub, listed| {
                if let Some(asks) = asks {
                    let verdict = hub.lock().check_listed(&asks, &least.lock(), listed, whole);
                    hub.judge(verdict);
                }
            },
        )
    }

    fn unread(&self, uid: Uid) -> StoreFuture<'_, u64> {
        let copy = uid.clone();
        self.read(
            move |store| store.unread(uid),
            move |hub, unread| {
                let due = hub.lock().truth.unread(&copy);
                hub.check(*unread == due, || format!("{unread} unread of {copy}, not {due}"));
            },
        )
    }

    fn claim_jobs(&self, query: JobQuery, lease_ms: u64) -> StoreFuture<'_, DueJobs> {
        // Its times count from now.
        let claimed = self.inner.claim_jobs(query, lease_ms);
        self.read(move |_| claimed, unchecked)
    }
}

impl Follow for Watched {
    fn point(&self) -> StoreFuture<'_, Point> {
        self.read(|store| store.point(), unchecked)
    }

    fn news(&self, since: Point, limit: u32) -> StoreFuture<'_, News> {
        self.read(move |store| store.news(since, limit), unchecked)
    }

    fn messages(&self, stretch: Stretch, page: Page) -> StoreFuture<'_, Vec<(RecordId, Message)>> {
        self.read(move |store| store.messages(stretch, page), unchecked)
    }
}
