//! Lets root act as the owner of a data directory.
//!
//! Invariant: while [`Owner`] exists, this thread has no right in the directory that its owner does not have.
//! The files that it makes therefore belong to the owner, as the server needs it, and a link in the directory
//! cannot make root change another file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::process::{getegid, geteuid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

/// While this exists, the thread acts as the owner of a directory.
pub(super) struct Owner {
    /// The ids that the thread had before, if they were changed.
    before: Option<(Uid, Gid)>,
}

impl Owner {
    /// Acts as the owner of `directory` if it belongs to another user and this is root.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let root = (geteuid(), getegid());
        let Ok(owner) = std::fs::metadata(directory) else {
            return Ok(Self { before: None });
        };
        if !root.0.is_root() || owner.uid() == root.0.as_raw() {
            return Ok(Self { before: None });
        }
        let kept = Self { before: Some(root) };
        set_thread_res_gid(None, Some(Gid::from_raw(owner.gid())), None)?;
        set_thread_res_uid(None, Some(Uid::from_raw(owner.uid())), None)?;
        Ok(kept)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.before {
            // Only the effective ids were changed, so that root can take its own back.
            let _ = set_thread_res_uid(None, Some(uid), None);
            let _ = set_thread_res_gid(None, Some(gid), None);
        }
    }
}
