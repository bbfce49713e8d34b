//! Panics are wrong wherever they are caught: tokio keeps those of its tasks to itself, the store those of its callers.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

thread_local! {
    static SEEN: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread's panics are seen.
pub(super) fn watch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            SEEN.set(true);
            before(info);
        }));
    });
    SEEN.set(false);
}

/// Whether this thread has panicked.
pub(super) fn seen() -> bool {
    SEEN.get()
}

/// Says which seed it was when the run itself panics.
pub(super) struct Blame(pub(super) u64);

impl Drop for Blame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {} panicked", self.0);
        }
    }
}
