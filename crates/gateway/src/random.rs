//! Random numbers that need not be secret. In a simulation they come from its seed.

/// Fills `bytes` with random numbers from the kernel.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(any(test, fuzzing))]
    if seeded::fill(bytes) {
        return Ok(());
    }
    getrandom::fill(bytes)
}

/// Replaces the kernel's random numbers on a thread.
#[cfg(any(test, fuzzing))]
pub(crate) mod seeded {
    use std::cell::RefCell;

    type Source = Box<dyn FnMut(&mut [u8])>;

    thread_local! {
        static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
    }

    /// Makes `source` the source of all random numbers on this thread. With `None` it is the kernel again.
    pub(crate) fn set(source: Option<Source>) {
        SOURCE.with_borrow_mut(|current| *current = source);
    }

    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        SOURCE.with_borrow_mut(|source| source.as_mut().map(|source| source(bytes)).is_some())
    }
}
