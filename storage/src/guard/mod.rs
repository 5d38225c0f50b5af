//! Guards what was acknowledged: RocksDB by itself opens with records of its log missing, and says nothing.
//!
//! Called by `rocks` before RocksDB opens the logs, and after each commit. Names no RocksDB: it reads files.
//!
//! Three parts: a walk over the frames of logs and of the MANIFEST (`frames`), which of the latter counts (`manifest`), and
//! a mark of how far they were synced (`high_water`). Damage that a crash explains, above the mark, is cut off, so that
//! RocksDB never meets it; every other one is an error.
//!
//! Invariant: whatever was acknowledged as durable while the mark could be written is either there or named as missing.

mod blobs;
mod frames;
mod high_water;
mod manifest;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::directory::access;
use crate::held::{Names, times};
use crate::planted::{Planted, planted};
use crate::{Durability, Error, ErrorKind};
pub(crate) use blobs::DamagedBlob;
use frames::{Cause, Walk};
use high_water::{HighWater, Mark};
use manifest::Manifest;

/// Follows the live log of an open store.
#[derive(Debug)]
pub(crate) struct Guard {
    logs: PathBuf,
    high_water: HighWater,
    live: Option<Live>,
    /// `None` until RocksDB has opened.
    manifest: Option<Manifest>,
    /// When the live log was written to last, if that is known, by its file system's clock.
    written: Option<i64>,
}

/// The log that RocksDB appends to.
#[derive(Debug)]
struct Live {
    number: u64,
    file: File,
    names: Names,
    path: PathBuf,
    /// Its length after the last commit.
    bytes: u64,
}

/// The end of a log that is not to be seen by RocksDB.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    path: PathBuf,
    whole_bytes: u64,
    /// Whether RocksDB would pass over it by itself.
    harmless: bool,
}

/// Checks the logs of a store for somebody who only reads, and changes nothing. An end that RocksDB would not pass over
/// is an error then: it reads some for ever.
pub(crate) fn check(directory: &Path, logs: &Path) -> Result<(), Error> {
    match inspect(directory, logs)?.into_iter().find(|cut| !cut.harmless) {
        None => Ok(()),
        Some(cut) => Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "a crash left it unfinished from byte {} on: open the store for writing once, which cuts that off",
                cut.whole_bytes
            ),
        )
        .at(&cut.path)),
    }
}

impl Guard {
    /// Checks the logs in the directory `logs` of the store `directory`, and cuts off what a crash left unfinished.
    pub(crate) fn open(directory: &Path, logs: &Path) -> Result<Self, Error> {
        for cut in inspect(directory, logs)? {
            OpenOptions::new()
                .write(true)
                .open(&cut.path)
                .and_then(|file| {
                    file.set_len(cut.whole_bytes)?;
                    file.sync_all()
                })
                .map_err(|error| access(&cut.path, "its torn end cannot be cut off", error))?;
        }
        Ok(Self {
            logs: logs.to_owned(),
            high_water: HighWater::open(directory)?,
            live: None,
            manifest: None,
            written: None,
        })
    }

    /// Takes note that RocksDB has opened: what the logs held it has moved to tables, and its MANIFEST is a new one. From
    /// here on that counts.
    pub(crate) fn opened(&mut self) -> Result<(), Error> {
        let manifest = Manifest::open(&self.logs)?;
        let log = logs(&self.logs)?.last().map_or(0, |(newest, _)| *newest);
        self.high_water.set(Mark { log, bytes: 0, manifest: manifest.number, manifest_bytes: manifest.bytes })?;
        self.manifest = Some(manifest);
        Ok(())
    }

    /// Takes note of a commit that wrote something, right after it: finds the log that has grown, and moves the mark to
    /// its end if that is synced.
    ///
    /// A batch goes to one log. So if the log that was live has not grown, a new one has taken its place; and only then
    /// is the directory read.
    pub(crate) fn committed(&mut self, durability: Durability) -> Result<(), Error> {
        let metadata = match &self.live {
            Some(live) => Some(live.file.metadata().map_err(|error| access(&live.path, "cannot be read", error))?),
            None => None,
        };
        self.written = metadata.as_ref().and_then(times).map(|(written, _)| written);
        let live = match (self.live.take(), metadata) {
            (Some(live), Some(metadata)) if metadata.len() > live.bytes => {
                // One that is not written to any more may go: its rows are in tables.
                if live.names.are_gone(&metadata) {
                    return Err(removed(&live.path));
                }
                Live { bytes: metadata.len(), ..live }
            }
            _ => {
                // Where all files were removed, a new log is there, and nothing else.
                self.check()?;
                self.newest()?
            }
        };
        let (log, bytes) = (live.number, live.bytes);
        self.live = Some(live);
        match durability {
            // A later sync takes these bytes with it; until then nobody was promised them.
            Durability::Buffered => Ok(()),
            Durability::Sync => {
                let (manifest, manifest_bytes) = match &mut self.manifest {
                    Some(manifest) => {
                        manifest.follow(&self.logs)?;
                        (manifest.number, manifest.bytes)
                    }
                    None => (0, 0),
                };
                self.high_water.set(Mark { log, bytes, manifest, manifest_bytes })
            }
        }
    }

    /// When the log was written to that was live before the last commit, by its file system's clock; now, if it still is.
    pub(crate) fn written(&self) -> Option<i64> {
        self.written
    }

    /// An error if the list of the database's files was removed: one that is whole is always there.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.manifest.as_ref().map_or(Ok(()), |manifest| manifest.check(&self.logs))
    }

    /// The newest log that holds anything: RocksDB may have made the next one beforehand.
    fn newest(&self) -> Result<Live, Error> {
        for (number, path) in logs(&self.logs)?.into_iter().rev() {
            let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
            match opened {
                Ok((metadata, _)) if metadata.len() == 0 => {}
                Ok((metadata, file)) => {
                    return Ok(Live { number, file, names: Names::of(&metadata), path, bytes: metadata.len() });
                }
                Err(error) => return Err(access(&path, "cannot be opened", error)),
            }
        }
        let message = "no log holds what was just written, so files in here were removed while the store was open: restore \
                       the store from a copy";
        Err(Error::new(ErrorKind::Displaced, message).at(&self.logs))
    }
}

/// That a file that is needed has no name any more.
fn removed(path: &Path) -> Error {
    let message = "it was removed while the store was open, with what was written to it: restore the store from a copy";
    Error::new(ErrorKind::Displaced, message).at(path)
}

/// Decides what is to be cut off, or that something acknowledged is damaged or missing.
fn inspect(directory: &Path, database: &Path) -> Result<Vec<Cut>, Error> {
    if planted(Planted::IgnoredGuard) {
        return Ok(Vec::new());
    }
    let mark = high_water::read(directory)?.filter(|_| !planted(Planted::CutBelowMark)).unwrap_or_default();
    let (mut cuts, moved_on) = inspect_manifest(&mark, database)?;
    let logs = logs(database)?;
    let is_gone = logs.iter().all(|(number, _)| *number != mark.log);
    // RocksDB removes a log whose rows are in tables, and says so in its MANIFEST first.
    if mark.bytes > 0 && is_gone && (!moved_on || logs.last().is_none_or(|(newest, _)| *newest < mark.log)) {
        let path = database.join(format!("{:06}.log", mark.log));
        let message = format!("it is missing, with {} acknowledged bytes: restore the store from a copy", mark.bytes);
        return Err(Error::new(ErrorKind::Corrupt, message).at(&path));
    }
    let mut is_cut = false;
    for (number, path) in logs {
        // Only a reader may see that one is gone: the owner deletes what it no longer needs.
        let Some((bytes, walk)) = walked(&path)? else { continue };
        let acknowledged = match number.cmp(&mark.log) {
            std::cmp::Ordering::Less => bytes,
            std::cmp::Ordering::Equal => mark.bytes,
            std::cmp::Ordering::Greater => 0,
        };
        // Behind a cut there must be nothing: what follows in a later log would leave a hole.
        let (whole_bytes, harmless) = match judged(&path, &walk, bytes, acknowledged)? {
            _ if is_cut => (0, bytes == 0),
            judged => judged,
        };
        if whole_bytes < bytes {
            is_cut = true;
            cuts.push(Cut { path, whole_bytes, harmless });
        }
    }
    Ok(cuts)
}

/// The same for the MANIFEST. The second value says whether it has grown, or been replaced, since the mark was set.
fn inspect_manifest(mark: &Mark, database: &Path) -> Result<(Vec<Cut>, bool), Error> {
    let Some((number, path)) = manifest::current(database)? else { return Ok((Vec::new(), false)) };
    if number < mark.manifest {
        let message = format!(
            "it names MANIFEST {number}, and {} has counted since: restore the store from a copy",
            mark.manifest
        );
        return Err(Error::new(ErrorKind::Corrupt, message).at(&database.join("CURRENT")));
    }
    let Some((bytes, walk)) = walked(&path)? else {
        let message = "it is missing, and lists what the store holds: restore the store from a copy";
        return Err(Error::new(ErrorKind::Corrupt, message).at(&path));
    };
    let synced = if number == mark.manifest { mark.manifest_bytes } else { 0 };
    let (whole_bytes, harmless) = judged(&path, &walk, bytes, synced)?;
    if whole_bytes == 0 {
        let message = "nothing in it is whole, and it lists what the store holds: restore the store from a copy";
        return Err(Error::new(ErrorKind::Corrupt, message).at(&path));
    }
    let cut = (whole_bytes < bytes).then_some(Cut { path, whole_bytes, harmless });
    Ok((cut.into_iter().collect(), number > mark.manifest || whole_bytes > synced))
}

/// Walks over a file as long as it is now: behind that an owner may be writing. `None` if it is gone.
fn walked(path: &Path) -> Result<Option<(u64, Walk)>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(access(path, "cannot be opened", error)),
    };
    file.metadata()
        .and_then(|metadata| Ok(Some((metadata.len(), frames::walk(file.take(metadata.len()))?))))
        .map_err(|error| access(path, "cannot be read", error))
}

/// How much of a file stays, and whether RocksDB would pass over the rest by itself; an error if more is wrong than a
/// crash explains.
fn judged(path: &Path, walk: &Walk, bytes: u64, acknowledged: u64) -> Result<(u64, bool), Error> {
    if let Some(message) = verdict(walk, bytes, acknowledged) {
        return Err(Error::new(ErrorKind::Corrupt, message).at(path));
    }
    Ok(match &walk.damage {
        Some(damage) => (walk.whole_bytes, damage.cause == Cause::CutShort),
        None => (bytes, true),
    })
}

/// What is wrong with a file of which so many bytes were acknowledged; `None` if nothing is that a crash does not
/// explain.
fn verdict(walk: &Walk, bytes: u64, acknowledged: u64) -> Option<String> {
    match &walk.damage {
        Some(damage) if walk.whole_bytes < acknowledged => Some(format!(
            "the record at byte {} is damaged ({}), and all up to byte {acknowledged} was acknowledged as durable: \
             restore the store from a copy",
            damage.at, damage.what
        )),
        Some(damage) if damage.cause == Cause::Changed => Some(format!(
            "the record at byte {} is damaged ({}), and whole ones follow, so no crash did that: restore the store \
             from a copy",
            damage.at, damage.what
        )),
        None if bytes < acknowledged => Some(format!(
            "it ends at byte {bytes}, and all up to byte {acknowledged} was acknowledged as durable: restore the store \
             from a copy"
        )),
        _ => None,
    }
}

/// The logs in RocksDB's directory, `NNNNNN.log`, by number.
fn logs(database: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(database).map_err(|error| access(database, "cannot be listed", error))? {
        let path = entry.map_err(|error| access(database, "cannot be listed", error))?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (Some(number), Some("log")) = (number, path.extension().and_then(|extension| extension.to_str())) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const RECORDS: [&[u8]; 3] = [b"first", b"second", b"third"];

    /// A store's directory with these logs in it.
    fn store(logs: &[(u64, &[u8])]) -> TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (number, bytes) in logs {
            fs::write(path(&directory, *number), bytes).expect("writable");
        }
        directory
    }

    fn path(directory: &TempDir, number: u64) -> PathBuf {
        directory.path().join(format!("{number:06}.log"))
    }

    fn mark(directory: &TempDir, log: u64, bytes: u64) {
        HighWater::open(directory.path())
            .expect("writable")
            .set(Mark { log, bytes, ..Mark::default() })
            .expect("writable");
    }

    fn open(directory: &TempDir) -> Result<Guard, Error> {
        Guard::open(directory.path(), directory.path())
    }

    #[test]
    fn behind_a_torn_log_nothing_is_left() {
        let whole = frames::tests::log(&RECORDS);
        let two = frames::tests::log(&RECORDS[..2]).len() as u64;
        let directory = store(&[(3, &whole), (7, &whole[..whole.len() - 1]), (9, &whole), (12, b"")]);
        mark(&directory, 3, whole.len() as u64);
        open(&directory).expect("above the mark");
        let lengths = [3, 7, 9, 12].map(|number| fs::metadata(path(&directory, number)).expect("it is there").len());
        assert_eq!(lengths, [whole.len() as u64, two, 0, 0]);
    }

    #[test]
    fn a_log_before_the_marked_one_must_be_whole_and_none_is_cut_before_all_are_judged() {
        let whole = frames::tests::log(&RECORDS);
        let torn = &whole[..whole.len() - 1];
        let directory = store(&[(3, torn), (7, torn)]);
        for (log, bytes, damaged) in [(7, 0, 3), (7, 1, 3), (3, whole.len() as u64, 3), (9, 1, 9)] {
            mark(&directory, log, bytes);
            let error = open(&directory).expect_err("below the mark");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert_eq!(error.path(), Some(path(&directory, damaged).as_path()));
            assert_eq!(fs::read(path(&directory, 3)).expect("readable"), torn);
        }
    }

    /// As on a file system that counts no names: files without one are found by links.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_log_and_a_manifest_whose_names_are_not_counted_are_not_taken_for_removed() {
        use std::os::fd::AsRawFd as _;
        let directory = store(&[]);
        let mut guard = open(&directory).expect("it is empty");
        let mut files = ["000003.log", "MANIFEST-000007"].map(|name| {
            let (path, away) = (directory.path().join(name), directory.path().join("away"));
            let file = File::create(&away).expect("writable");
            fs::remove_file(&away).expect("it is there");
            let found = format!("/proc/self/fd/{}", file.as_raw_fd());
            std::os::unix::fs::symlink(found, path).expect("writable");
            file
        });
        fs::write(directory.path().join("CURRENT"), "MANIFEST-000007\n").expect("writable");
        guard.manifest = Some(Manifest::open(directory.path()).expect("it is there"));
        for _ in 0..3 {
            files.iter_mut().for_each(|file| io::Write::write_all(file, b"frames").expect("writable"));
            guard.committed(Durability::Sync).expect("a log has grown");
            guard.check().expect("nothing was removed");
        }
    }

    #[test]
    fn the_mark_follows_the_log_that_grows() {
        let directory = store(&[(3, b"")]);
        let mut guard = open(&directory).expect("it is empty");
        let marked = || high_water::read(directory.path()).expect("readable").map(|mark| (mark.log, mark.bytes));
        for (log, bytes, durability, expected) in [
            (3, 10, Durability::Buffered, (0, 0)),
            (3, 20, Durability::Sync, (3, 20)),
            (3, 30, Durability::Buffered, (3, 20)),
            (5, 5, Durability::Buffered, (3, 20)),
            (5, 8, Durability::Sync, (5, 8)),
            (8, 40, Durability::Sync, (8, 40)),
        ] {
            fs::write(path(&directory, log), vec![0; bytes]).expect("writable");
            // RocksDB may make the next log before it is used.
            fs::write(path(&directory, 99), b"").expect("writable");
            guard.committed(durability).expect("a log has grown");
            assert_eq!(marked(), Some(expected));
        }
    }
}
