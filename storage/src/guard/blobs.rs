//! Which blob file is damaged: RocksDB says that one is, and not which.
//!
//! Called once something damaged was met. A blob file is a header, records (key and value, each with a checksum over its
//! lengths and one over both), and a footer: `db/blob/blob_log_format.h` of RocksDB.
//!
//! Invariant: a file that is whole is never named; one that only lacks its end, as RocksDB may be writing it, is named if no other
//! one will do.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::OnceLock;

use super::frames::mask;

const HEADER_BYTES: usize = 30;
const RECORD_HEADER_BYTES: usize = 32;
const MAGIC: u32 = 0x0024_8f37;

/// So much is looked through, 1 GiB: about a second, for an error that stops the run all the same.
const BYTES_MAX: u64 = 1 << 30;

/// The damaged blob file of an open database, once it was looked for.
#[derive(Debug, Default)]
pub(crate) struct DamagedBlob(OnceLock<Option<String>>);

impl DamagedBlob {
    /// Its name. Looked for once, as each read of the database may meet it. `None` if none was found.
    pub(crate) fn name(&self, database: &Path) -> Option<String> {
        self.0.get_or_init(|| damaged(database)).clone()
    }
}

/// What is told of a blob file by reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Whole,
    /// It ends before its footer, and all that is there is whole.
    Unfinished,
    Damaged,
}

/// The first damaged blob file of a database, by its name. `None` if none is found.
fn damaged(database: &Path) -> Option<String> {
    let names = fs::read_dir(database).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".blob")).collect();
    names.sort();
    let mut left = BYTES_MAX;
    let mut unfinished = None;
    for name in names {
        let Ok(file) = File::open(database.join(&name)) else { continue };
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let is_looked_at = bytes <= left;
        left -= bytes.min(left);
        match is_looked_at.then(|| found(BufReader::new(file), bytes)) {
            Some(Ok(Found::Damaged)) => return Some(name),
            Some(Ok(Found::Unfinished)) => unfinished = unfinished.or(Some(name)),
            // One that cannot be read at all is told by others.
            Some(Ok(Found::Whole) | Err(_)) | None => {}
        }
    }
    unfinished
}

/// An error if it cannot be read at all.
fn found(mut file: impl Read, bytes: u64) -> io::Result<Found> {
    let Some(mut left) = bytes.checked_sub(HEADER_BYTES as u64) else { return Ok(Found::Unfinished) };
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)?;
    // Magic and version.
    if number(&header) != MAGIC || number(&header[4..]) != 1 {
        return Ok(Found::Damaged);
    }
    let mut record = Vec::new();
    loop {
        // Of a record, or the footer, which is as long.
        let Some(behind) = left.checked_sub(RECORD_HEADER_BYTES as u64) else { return Ok(Found::Unfinished) };
        let mut header = [0; RECORD_HEADER_BYTES];
        file.read_exact(&mut header)?;
        if behind == 0 && number(&header) == MAGIC && mask(crc32c::crc32c(&header[..28])) == number(&header[28..]) {
            return Ok(Found::Whole);
        }
        if mask(crc32c::crc32c(&header[..24])) != number(&header[24..]) {
            return Ok(Found::Damaged);
        }
        let Some(length) = long(&header).checked_add(long(&header[8..])) else { return Ok(Found::Damaged) };
        let Some(after) = behind.checked_sub(length) else { return Ok(Found::Unfinished) };
        record.clear();
        (&mut file).take(length).read_to_end(&mut record)?;
        if mask(crc32c::crc32c(&record)) != number(&header[28..]) {
            return Ok(Found::Damaged);
        }
        left = after;
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut bytes = [key.len() as u64, value.len() as u64, 0].map(u64::to_le_bytes).concat();
        bytes.extend(mask(crc32c::crc32c(&bytes)).to_le_bytes());
        let body = [key, value].concat();
        bytes.extend(mask(crc32c::crc32c(&body)).to_le_bytes());
        [bytes, body].concat()
    }

    /// Two records, with a footer.
    fn blobs() -> Vec<u8> {
        let mut header = [MAGIC, 1].map(u32::to_le_bytes).concat();
        header.resize(HEADER_BYTES, 0);
        let mut footer = MAGIC.to_le_bytes().to_vec();
        footer.resize(28, 0);
        footer.extend(mask(crc32c::crc32c(&footer)).to_le_bytes());
        [header, record(b"key", &[7; 100]), record(b"other", &[8; 50]), footer].concat()
    }

    fn found_in(bytes: &[u8]) -> Found {
        found(bytes, bytes.len() as u64).expect("readable")
    }

    #[test]
    fn a_file_that_is_being_written_is_unfinished_wherever_it_ends() {
        let whole = blobs();
        assert_eq!(found_in(&whole), Found::Whole);
        for bytes in 0..whole.len() {
            assert_eq!(found_in(&whole[..bytes]), Found::Unfinished, "{bytes} bytes");
        }
        for at in (0..8).chain(HEADER_BYTES..whole.len()) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert_eq!(found_in(&damaged), Found::Damaged, "byte {at}");
        }
    }

    #[test]
    fn an_unfinished_file_is_named_only_if_none_is_damaged() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let write = |name, bytes: &[u8]| fs::write(directory.path().join(name), bytes).expect("writable");
        let whole = blobs();
        write("000001.blob", &whole);
        assert_eq!(damaged(directory.path()), None);
        write("000002.blob", &whole[..70]);
        assert_eq!(damaged(directory.path()).as_deref(), Some("000002.blob"));
        write("000003.blob", &[&whole[..70], &[0; 200]].concat());
        assert_eq!(damaged(directory.path()).as_deref(), Some("000003.blob"));
    }

    #[test]
    fn a_database_is_looked_through_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("000001.blob");
        fs::write(&path, [1; 100]).expect("writable");
        let blob = DamagedBlob::default();
        assert_eq!(blob.name(directory.path()).as_deref(), Some("000001.blob"));
        fs::remove_file(path).expect("it is there");
        assert_eq!(blob.name(directory.path()).as_deref(), Some("000001.blob"));
        assert_eq!(DamagedBlob::default().name(directory.path()), None);
    }
}
