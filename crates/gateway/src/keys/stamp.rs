//! Whether a file has changed, without reading it.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::time::UnixMillis;

/// File systems note times in ticks of some milliseconds, some of a second: two changes within this time may look like one.
const TICK_MS: u64 = 2_000;

/// What the system says of a file; another one when it was written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    Absent,
    Unreachable(ErrorKind),
    Present {
        device: u64,
        inode: u64,
        bytes: u64,
        mode: u32,
        /// When it changed last, in nanoseconds: the one time of a file that nobody can set.
        changed: i128,
    },
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(meta) => Self::Present {
                device: meta.dev(),
                inode: meta.ino(),
                bytes: meta.size(),
                mode: meta.mode() & 0o777,
                changed: changed(&meta),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Self::Absent,
            Err(error) => Self::Unreachable(error.kind()),
        }
    }
}

/// Warns of a file with which others may do what `forbidden` (mode bits) names.
pub(super) fn warn_of_mode(stamp: &Stamp, path: &Path, forbidden: u32) {
    if let Stamp::Present { mode, .. } = stamp
        && mode & forbidden != 0
    {
        let path = path.display();
        tracing::warn!("others on this machine can read or change {path} (mode {mode:o}): chmod 600");
    }
}

fn changed(meta: &Metadata) -> i128 {
    i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec())
}

/// Whether every later change will show: none of the files changed so lately that another change might fall into the same tick.
pub(super) fn settled(stamps: &[Stamp], now: UnixMillis) -> bool {
    stamps.iter().all(|stamp| match stamp {
        Stamp::Absent => true,
        Stamp::Unreachable(_) => false,
        Stamp::Present { changed, .. } => changed / 1_000_000 + i128::from(TICK_MS) < i128::from(now),
    })
}
