//! Power cuts: a file system of its own for each store, in a file, shut down under a running child without a flush.
//!
//! Used by `campaign`. What ext4 has not written to its device when it is shut down is gone after it is mounted again, as
//! after a power cut: that is what its `EXT4_IOC_SHUTDOWN` is for. It needs root, loop devices, `mkfs.ext4` and perl (to call
//! the ioctl without `unsafe` here); elsewhere `stand_in` takes its place.
//!
//! Invariant: a mounted file system is unmounted before its directory is left.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use relive::Error;

/// Enough for a store of a campaign, whose log files RocksDB makes room for beforehand: 96 MiB, sparse.
const IMAGE_BYTES: u64 = 96 << 20;

/// `EXT4_IOC_SHUTDOWN` of the directory named, with `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const SHUTDOWN: &str = r#"open(my $directory, "<", $ARGV[0]) or die "$!\n"; my $flags = pack("L", 2);
defined(ioctl($directory, 0x8004587D, $flags)) or die "$!\n";"#;

/// A file system in a file.
#[derive(Debug)]
pub(super) struct Disk {
    image: PathBuf,
    mount: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// Makes one in a directory, and mounts it there.
    pub(super) fn make(root: &Path) -> relive::Result<Self> {
        let (image, mount) = (root.join("disk.ext4"), root.join("disk"));
        fs::create_dir_all(&mount)?;
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        call(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "nodiscard"]).arg(&image))?;
        let mut disk = Self { image, mount, is_mounted: false };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    /// Cuts its power: from here on nothing reaches it, and everyone who tries gets an error.
    pub(super) fn cut(&self) -> relive::Result<()> {
        call(Command::new("perl").args(["-e", SHUTDOWN]).arg(&self.mount))
    }

    /// The power is back: what was not written is gone, and the journal is replayed.
    pub(super) fn restart(&mut self) -> relive::Result<()> {
        self.unmount()?;
        self.mount()
    }

    fn mount(&mut self) -> relive::Result<()> {
        call(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))?;
        self.is_mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> relive::Result<()> {
        if std::mem::take(&mut self.is_mounted) {
            call(Command::new("umount").arg(&self.mount))?;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What a campaign that failed leaves is still looked at: its image is there.
        let _ = self.unmount();
    }
}

/// Whether power can be cut here; else why not.
///
/// # Errors
/// Never: what fails is the answer.
pub fn can_cut_power(directory: &Path) -> Result<(), String> {
    let root = directory.join("probe");
    let probe = || -> relive::Result<()> {
        fs::create_dir_all(&root)?;
        let mut disk = Disk::make(&root)?;
        disk.cut()?;
        disk.restart()
    };
    let result = probe().map_err(|error| error.to_string());
    let _ = fs::remove_dir_all(&root);
    result
}

/// Runs a command that has to succeed.
pub(super) fn call(command: &mut Command) -> relive::Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        Error::msg(format!("{} cannot be started", command.get_program().display())).caused_by(error)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Error::msg(format!("{} failed: {}", command.get_program().display(), words.trim())))
}
