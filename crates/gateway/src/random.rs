//! Random numbers that are no secrets. In a simulation they come from its seed.

/// Fills `bytes` from the kernel's source.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(any(test, fuzzing))]
    if seeded::fill(bytes) {
        return Ok(());
    }
    getrandom::fill(bytes)
}

/// What takes the kernel's place on a thread.
#[cfg(any(test, fuzzing))]
pub(crate) mod seeded {
    use std::cell::RefCell;

    type Source = Box<dyn FnMut(&mut [u8])>;

    thread_local! {
        static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
    }

    /// Everything random on this thread comes from `source`; from the kernel again with `None`.
    pub(crate) fn set(source: Option<Source>) {
        SOURCE.with_borrow_mut(|current| *current = source);
    }

    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        SOURCE.with_borrow_mut(|source| source.as_mut().map(|source| source(bytes)).is_some())
    }
}
