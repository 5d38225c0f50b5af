//! Where the socket of a directory is.
//!
//! In the directory, as `engine.sock`, and reached through that as it is held, wherever it is by then. A socket's path has at most 107 bytes: where that is too few, it is under a hashed
//! name in a directory of this user's own, below `XDG_RUNTIME_DIR` or the directory for temporary files.
//!
//! Invariant: server and client find the same place; a directory that others may write to is none.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use relive_storage::HeldDirectory;

const NAME: &str = "engine.sock";

/// Longest path of a socket: 107 bytes on Linux, 103 on others; the smaller one, so that nobody has to ask which.
const PATH_BYTES_MAX: usize = 103;

/// The path of a directory's socket, good as long as that is held. `create`: makes the directory it is in, if it is not there.
///
/// # Errors
/// If there is no directory that only this user may write to.
pub(super) fn socket(directory: &HeldDirectory, create: bool) -> io::Result<PathBuf> {
    // By its path, although the one that it is held by may be shorter: not everybody has that.
    if directory.path().join(NAME).as_os_str().as_bytes().len() <= PATH_BYTES_MAX {
        return Ok(directory.by().join(NAME));
    }
    let user = fs::metadata(directory.by())?.uid();
    let parent = match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| Path::new(directory).is_absolute()) {
        Some(runtime) => PathBuf::from(runtime).join("relive"),
        None => std::env::temp_dir().join(format!("relive-{user}")),
    };
    if create {
        match DirBuilder::new().mode(0o700).create(&parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let metadata = fs::symlink_metadata(&parent)?;
    if !metadata.is_dir() || metadata.uid() != user || metadata.mode() & 0o077 != 0 {
        let why = format!("{} is not a directory that only its user may enter", parent.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let hash = relive_engine::id::InputHash::of(directory.path().as_os_str().as_bytes());
    Ok(parent.join(format!("{hash}.sock")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_too_long_has_a_short_one_that_is_the_same_each_time() {
        let held = |path: &Path| HeldDirectory::open(path).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let short = held(directory.path());
        assert_eq!(socket(&short, true).unwrap(), short.by().join(NAME));
        let long = directory.path().join("d".repeat(120));
        fs::create_dir(&long).unwrap();
        let path = socket(&held(&long), true).unwrap();
        assert!(path.as_os_str().len() <= PATH_BYTES_MAX, "{}", path.display());
        assert_eq!(socket(&held(&long), false).unwrap(), path);
        let other = directory.path().join("e".repeat(120));
        fs::create_dir(&other).unwrap();
        assert_ne!(socket(&held(&other), true).unwrap(), path);
    }
}
