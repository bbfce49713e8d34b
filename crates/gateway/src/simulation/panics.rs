//! Detection of panics. tokio and the store catch panics of tasks and callers, so a panic does not end a run
//! by itself.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

thread_local! {
    static SEEN: Cell<bool> = const { Cell::new(false) };
}

/// Watches this thread for panics from now on.
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

/// Returns whether this thread has panicked.
pub(super) fn seen() -> bool {
    SEEN.get()
}

/// Prints the seed if the run itself panics.
pub(super) struct Blame(pub(super) u64);

impl Drop for Blame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {} panicked", self.0);
        }
    }
}
