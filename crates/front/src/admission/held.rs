//! Memory that the server holds for one connection. It counts against the limits of the address and of the
//! server.
//!
//! Invariant: the bytes are subtracted again when the [`Held`] is dropped.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Admission;

/// Up to this number, the bytes of a connection are not counted. Nearly every connection stays below it, so
/// that nothing has to be counted for it.
const FREE_BYTES: usize = 4 * 1024;
/// The bytes beyond [`FREE_BYTES`] are counted in steps of this size, so that the shared count rarely
/// changes.
const STEP_BYTES: usize = 16 * 1024;

/// The bytes that are held for one connection.
#[derive(Debug)]
pub struct Held {
    admission: Arc<Admission>,
    address: IpAddr,
    /// The counted bytes: a multiple of [`STEP_BYTES`].
    counted: usize,
}

impl Held {
    /// Creates a count of 0 bytes.
    pub fn new(admission: Arc<Admission>, address: IpAddr) -> Self {
        Self {
            admission,
            address,
            counted: 0,
        }
    }

    /// Whether this number of bytes is not counted at all.
    pub const fn is_free(bytes: usize) -> bool {
        bytes <= FREE_BYTES
    }

    /// Sets the number of bytes that the connection holds. Returns false if that would exceed a limit: the
    /// count does not change, and the caller must not keep the bytes.
    pub fn resize(&mut self, bytes: usize) -> bool {
        let wanted = if Self::is_free(bytes) {
            0
        } else {
            bytes.next_multiple_of(STEP_BYTES)
        };
        let fits = match wanted.checked_sub(self.counted) {
            Some(0) => true,
            Some(more) => self.admission.hold(self.address, more),
            None => {
                self.admission.let_go(self.address, self.counted - wanted);
                true
            }
        };
        if fits {
            self.counted = wanted;
        }
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.resize(0);
    }
}

impl Admission {
    /// The counted bytes that are held for all connections.
    pub fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Adds `bytes` to the count. Returns false, and adds nothing, if that would exceed a limit.
    fn hold(&self, address: IpAddr, bytes: usize) -> bool {
        let (all, most) = (&self.held, self.bounds.bytes);
        if all.fetch_add(bytes, Ordering::Relaxed) + bytes > most && most > 0 {
            all.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        let fits = self.add(
            address,
            |has| &mut has.bytes,
            bytes,
            self.bounds.bytes_per_address,
        );
        if !fits {
            all.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    fn let_go(&self, address: IpAddr, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        if self.bounds.bytes_per_address > 0 {
            self.take(address, |has| &mut has.bytes, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Bounds;

    fn admission(bytes: usize, bytes_per_address: usize) -> Arc<Admission> {
        Arc::new(Admission::new(Bounds {
            bytes,
            bytes_per_address,
            ..Bounds::default()
        }))
    }

    fn held(admission: &Arc<Admission>, address: &str) -> Held {
        Held::new(admission.clone(), address.parse().unwrap())
    }

    #[test]
    fn the_limits_of_an_address_and_of_the_server_hold() {
        let admission = admission(5 * STEP_BYTES, 2 * STEP_BYTES);
        let mut first = held(&admission, "10.0.0.1");
        let mut same = held(&admission, "10.0.0.1");
        assert!(first.resize(FREE_BYTES + 1));
        assert!(same.resize(STEP_BYTES));
        assert!(!same.resize(STEP_BYTES + 1), "the address has two steps");
        assert!(first.resize(FREE_BYTES), "less is always fine");
        assert!(same.resize(2 * STEP_BYTES));
        assert_eq!(admission.held_bytes(), 2 * STEP_BYTES);
        let mut others = [held(&admission, "10.0.0.2"), held(&admission, "10.0.0.3")];
        assert!(others[0].resize(2 * STEP_BYTES));
        assert!(!others[1].resize(2 * STEP_BYTES), "all have five steps");
        assert!(others[1].resize(STEP_BYTES));
        drop((first, same, others));
        assert_eq!((admission.held_bytes(), admission.addresses()), (0, 0));
    }

    #[test]
    fn without_limits_everything_fits() {
        let admission = admission(0, 0);
        let mut held = held(&admission, "::1");
        assert!(held.resize(1 << 40));
        assert_eq!(admission.addresses(), 0);
    }
}
