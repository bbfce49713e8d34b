//! For tests: stores that wrap another one, and change only some of its calls.

use crate::{Done, Store, StoreFuture};

/// A store that wraps another one. [`forward!`](crate::forward) writes the methods of [`Store`] that it does
/// not change.
pub trait Wrapper: Store + Sized {
    /// The wrapped store.
    fn inner(&self) -> &dyn Store;

    /// Forwards a call that writes.
    fn forward_write<T: Send + 'static>(&self, done: Done<T>, call: impl FnOnce(&dyn Store, Done<T>)) {
        call(self.inner(), done);
    }

    /// Forwards a call that reads.
    fn forward_read<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        call(self.inner())
    }
}

/// Writes these methods of [`Store`] for a [`Wrapper`].
#[macro_export]
macro_rules! forward {
    ($($method:ident)*) => {
        $($crate::forward!(@ $method);)*
    };
    (@ change_team) => {
        $crate::forward!(@w change_team(
            team: $crate::ids::TeamId, change: $crate::TeamChange
        ) $crate::TeamChanged);
    };
    (@ register_device) => { $crate::forward!(@w register_device(register: $crate::DeviceRegister) ()); };
    (@ ack) => {
        $crate::forward!(@w ack(
            device: $crate::Device, conv: $crate::ids::ConvId, seq: $crate::ids::Seq
        ) $crate::ids::Seq);
    };
    (@ read) => { $crate::forward!(@w read(read: $crate::Read) $crate::ReadMark); };
    (@ recall) => { $crate::forward!(@w recall(recall: $crate::Recall) $crate::Recalled); };
    (@ revive_jobs) => { $crate::forward!(@w revive_jobs(uid: $crate::ids::Uid, within_ms: u64) ()); };
    (@ finish_jobs) => {
        $crate::forward!(@w finish_jobs(
            outcomes: Vec<($crate::JobId, $crate::JobOutcome)>
        ) ());
    };
    (@ revoke) => { $crate::forward!(@w revoke(revocation: $crate::Revocation) ()); };
    (@ missed) => {
        $crate::forward!(@r missed(
            device: $crate::Device, conversations: u32, behind: u32
        ) $crate::Missed);
    };
    (@ replay) => {
        $crate::forward!(@r replay(
            uid: $crate::ids::Uid, stretches: Vec<$crate::Stretch>, page: $crate::Page
        ) Vec<$crate::Message>);
    };
    (@ team) => { $crate::forward!(@r team(team: $crate::ids::TeamId) Option<$crate::Team>); };
    (@ history) => {
        $crate::forward!(@r history(
            conv: $crate::ids::ConvId, viewer: Option<$crate::ids::Uid>, span: $crate::Span, page: $crate::Page
        ) $crate::History);
    };
    (@ conversations) => {
        $crate::forward!(@r conversations(
            uid: $crate::ids::Uid, device: Option<$crate::ids::DeviceId>, after: Option<String>, page: $crate::Page
        ) $crate::Conversations);
    };
    (@ unread) => { $crate::forward!(@r unread(uid: $crate::ids::Uid) u64); };
    (@ claim_jobs) => {
        $crate::forward!(@r claim_jobs(
            query: $crate::JobQuery, lease_ms: u64
        ) $crate::DueJobs);
    };
    (@ job_counts) => { $crate::forward!(@r job_counts() $crate::JobCounts); };
    (@ to_tell) => {
        $crate::forward!(@r to_tell(
            uid: $crate::ids::Uid, conv: $crate::ids::ConvId, seq: $crate::ids::Seq
        ) $crate::ToTell);
    };
    (@ members_page) => {
        $crate::forward!(@r members_page(
            conv: $crate::ids::ConvId, seq: $crate::ids::Seq, after: Option<$crate::ids::Uid>, limit: u32
        ) Vec<$crate::ids::Uid>);
    };
    (@ release_jobs) => { $crate::forward!(@s release_jobs(jobs: Vec<$crate::JobId>)); };
    (@ extend_leases) => { $crate::forward!(@s extend_leases(lease_ms: u64)); };
    (@ watch) => { $crate::forward!(@s watch(watcher: $crate::Watcher)); };
    (@ certain_time) => { $crate::forward!(@s certain_time() -> $crate::UnixMillis); };
    (@ epoch) => { $crate::forward!(@s epoch() -> &str); };
    (@ healthy) => { $crate::forward!(@s healthy() -> Result<(), $crate::StoreError>); };
    (@ change_setting) => {
        $crate::forward!(@s change_setting(name: &str, change: $crate::SettingChange, done: $crate::Done<()>));
    };
    (@ close) => {
        $crate::forward!(@s close() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>);
    };
    (@w $method:ident($($name:ident: $type:ty),*) $result:ty) => {
        fn $method(&self, $($name: $type,)* done: $crate::Done<$result>) {
            $crate::testing::Wrapper::forward_write(self, done, |store, done| store.$method($($name,)* done));
        }
    };
    (@r $method:ident($($name:ident: $type:ty),*) $result:ty) => {
        fn $method(&self, $($name: $type),*) -> $crate::StoreFuture<'_, $result> {
            $crate::testing::Wrapper::forward_read(self, move |store| store.$method($($name),*))
        }
    };
    (@s $method:ident($($name:ident: $type:ty),*) $(-> $result:ty)?) => {
        fn $method(&self, $($name: $type),*) $(-> $result)? {
            $crate::testing::Wrapper::inner(self).$method($($name),*)
        }
    };
}
