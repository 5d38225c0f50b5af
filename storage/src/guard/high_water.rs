//! The high-water mark: up to which byte of which log, and of which MANIFEST, everything is known to be durable.
//!
//! Two slots in the file `high-water`, written in turn and never synced, so that a torn write leaves the other one.
//! Used by `guard`; knows no log.
//!
//! Invariant: a slot is taken only if its checksum fits; of two good ones the younger counts.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::directory::{access, sync};

const NAME: &str = "high-water";
const MAGIC: &[u8; 4] = b"RLHW";
const SLOT_BYTES: usize = 48;
/// Slots lie a page apart: a page is what may be lost or torn at once.
const SLOT_DISTANCE: u64 = 4096;

/// Everything up to here is durable. The least, numbers 0, says nothing about any file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// A log's number.
    pub(super) log: u64,
    /// So many bytes of it, and all of the logs with lower numbers, were acknowledged.
    pub(super) bytes: u64,
    /// The number of the MANIFEST that counted then.
    pub(super) manifest: u64,
    /// So many bytes of it.
    pub(super) manifest_bytes: u64,
}

/// A slot's content: the mark, and a count that says which slot is younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    mark: Mark,
    generation: u64,
}

/// The mark's file, open for writing.
#[derive(Debug)]
pub(super) struct HighWater {
    file: File,
    path: PathBuf,
    generation: u64,
}

/// The mark in a store's directory; `None` if there is none that can be trusted.
pub(super) fn read(directory: &Path) -> Result<Option<Mark>, Error> {
    Ok(younger(directory)?.map(|slot| slot.mark))
}

impl HighWater {
    /// Opens the mark's file for writing, and makes one that says nothing if there is no good one.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(NAME);
        let found = younger(directory)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(found.is_none())
            .open(&path)
            .map_err(|error| access(&path, "cannot be opened", error))?;
        let mut high_water = Self { file, path, generation: found.map_or(0, |slot| slot.generation) };
        if found.is_none() {
            high_water.set(Mark::default())?;
            // Once; from then on a slot is overwritten in place, and what is unsynced can take no slot's space away.
            high_water.file.sync_all().map_err(|error| access(&high_water.path, "cannot be synced", error))?;
            sync(directory)?;
        }
        Ok(high_water)
    }

    /// Writes the mark into the older slot. Not synced: it survives the process, and most power cuts.
    pub(super) fn set(&mut self, mark: Mark) -> Result<(), Error> {
        self.generation += 1;
        let slot = Slot { mark, generation: self.generation };
        let at = self.generation % 2 * SLOT_DISTANCE;
        self.file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.write_all(&encode(slot)))
            .map_err(|error| access(&self.path, "cannot be written", error))
    }
}

fn younger(directory: &Path) -> Result<Option<Slot>, Error> {
    let path = directory.join(NAME);
    let read = || -> io::Result<Option<Slot>> {
        let mut file = File::open(&path)?;
        let mut slots = [None; 2];
        for (index, slot) in slots.iter_mut().enumerate() {
            let mut bytes = [0; SLOT_BYTES];
            file.seek(SeekFrom::Start(index as u64 * SLOT_DISTANCE))?;
            *slot = match file.read_exact(&mut bytes) {
                Ok(()) => decode(&bytes),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
                Err(error) => return Err(error),
            };
        }
        Ok(slots.into_iter().flatten().max_by_key(|slot| slot.generation))
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map_err(|error| access(&path, "cannot be read", error)),
    }
}

/// Where the checksum stands.
const CRC_AT: usize = SLOT_BYTES - 4;

/// Magic 4; generation, log, bytes, manifest, its bytes 8 each; CRC-32C of all before it 4; integers little-endian.
fn encode(slot: Slot) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    let Mark { log, bytes: log_bytes, manifest, manifest_bytes } = slot.mark;
    for (index, number) in [slot.generation, log, log_bytes, manifest, manifest_bytes].into_iter().enumerate() {
        bytes[4 + 8 * index..12 + 8 * index].copy_from_slice(&number.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<Slot> {
    let number =
        |from: usize| bytes[from..from + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let whole = bytes[..4] == *MAGIC && bytes[CRC_AT..] == crc32c::crc32c(&bytes[..CRC_AT]).to_le_bytes();
    let mark = Mark { log: number(12), bytes: number(20), manifest: number(28), manifest_bytes: number(36) };
    whole.then(|| Slot { generation: number(4), mark })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mark_is_read_back_and_a_torn_one_leaves_the_one_before() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(NAME);
        assert_eq!(read(directory.path()).expect("no file is no error"), None);
        let mut high_water = HighWater::open(directory.path()).expect("it is created");
        assert_eq!(read(directory.path()).expect("readable"), Some(Mark::default()));
        for bytes in 1..6 {
            let mark = Mark { log: 4, bytes, manifest: 5, manifest_bytes: 100 + bytes };
            high_water.set(mark).expect("writable");
            assert_eq!(read(directory.path()).expect("readable"), Some(mark));
        }
        let whole = std::fs::read(&path).expect("readable");
        for byte in (0..SLOT_BYTES).chain(SLOT_DISTANCE as usize..whole.len()) {
            let mut torn = whole.clone();
            torn[byte] ^= 0x40;
            std::fs::write(&path, &torn).expect("writable");
            let mark = read(directory.path()).expect("damage is no error").expect("one slot is left");
            assert!(mark.bytes >= 4 && mark.log == 4);
        }
        std::fs::write(&path, b"").expect("writable");
        assert_eq!(read(directory.path()).expect("damage is no error"), None);
    }
}
