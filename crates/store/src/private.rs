//! Files that only their owner may read or write: all files of a data directory, whatever the umask and the
//! mode of the directory.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The mode of these files: only the owner may read and write them.
const MODE: u32 = 0o600;

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(MODE);
    options
}

/// Opens a file to read and write; it is created if it does not exist.
pub fn open(path: &Path) -> io::Result<File> {
    options().create(true).truncate(false).open(path)
}

/// Creates a file, which must not exist yet.
pub fn create(path: &Path) -> io::Result<File> {
    options().create_new(true).open(path)
}

/// Removes the permissions of everybody but the owner from these files of a directory, and logs which files
/// had any.
pub fn tighten(directory: &Path, names: &[&str]) {
    for name in names {
        let path = directory.join(name);
        // A symbolic link may lead to a file that does not belong to Mynah.
        let Some(mode) = std::fs::symlink_metadata(&path)
            .ok()
            .filter(|found| found.is_file())
            .map(|found| found.permissions().mode() & 0o777)
        else {
            continue;
        };
        if mode & !MODE == 0 {
            continue;
        }
        match std::fs::set_permissions(&path, Permissions::from_mode(mode & MODE)) {
            Ok(()) => tracing::warn!(
                "other users of this machine could use {} (mode {mode:o}); its mode is {:o} now",
                path.display(),
                mode & MODE
            ),
            Err(error) => tracing::warn!(
                %error,
                "other users of this machine can use {} (mode {mode:o}); set its mode to 600",
                path.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_access_files() {
        let dir = tempfile::tempdir().unwrap();
        let [made, lax, linked, link] = ["made", "lax", "linked", "link"].map(|name| dir.path().join(name));
        open(&made).unwrap();
        create(&lax).unwrap();
        assert!(create(&lax).is_err(), "it is there already");
        for path in [&lax, &linked] {
            std::fs::write(path, "").unwrap();
            std::fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        }
        std::os::unix::fs::symlink(&linked, &link).unwrap();
        tighten(dir.path(), &["made", "lax", "link", "none"]);
        assert_eq!(
            [&made, &lax, &linked].map(|path| mode(path)),
            [0o600, 0o600, 0o644]
        );
    }
}
