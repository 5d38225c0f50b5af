//! Which blob file is damaged: RocksDB says that one is, and not which.
//!
//! Called once something damaged was met. A blob file is a header, records (key and value, each with a checksum over its
//! lengths and one over both), and a footer: `db/blob/blob_log_format.h` of RocksDB.
//!
//! Invariant: a file that is whole is never named.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::frames::mask;

const HEADER_BYTES: usize = 30;
const RECORD_HEADER_BYTES: usize = 32;
const FOOTER_BYTES: u64 = 32;
const MAGIC: u32 = 0x0024_8f37;

/// So much is looked through, 1 GiB: about a second, for an error that stops the run all the same.
const BYTES_MAX: u64 = 1 << 30;

/// The first damaged blob file of a database, by its name. `None` if none is found.
pub(crate) fn damaged(database: &Path) -> Option<String> {
    let names = fs::read_dir(database).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".blob")).collect();
    names.sort();
    let mut left = BYTES_MAX;
    names.into_iter().find(|name| {
        let Ok(file) = File::open(database.join(name)) else { return false };
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let is_looked_at = bytes <= left;
        left -= bytes.min(left);
        is_looked_at && is_damaged(BufReader::new(file), bytes).unwrap_or(false)
    })
}

/// An error if it cannot be read at all.
fn is_damaged(mut file: impl Read, bytes: u64) -> io::Result<bool> {
    let Some(mut left) = bytes.checked_sub(HEADER_BYTES as u64 + FOOTER_BYTES) else { return Ok(true) };
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)?;
    // Magic and version.
    if number(&header) != MAGIC || number(&header[4..]) != 1 {
        return Ok(true);
    }
    let mut record = Vec::new();
    while left > 0 {
        let mut header = [0; RECORD_HEADER_BYTES];
        let Some(behind) = left.checked_sub(RECORD_HEADER_BYTES as u64) else { return Ok(true) };
        file.read_exact(&mut header)?;
        let lengths = long(&header).checked_add(long(&header[8..])).filter(|length| *length <= behind);
        let Some(length) = lengths.filter(|_| mask(crc32c::crc32c(&header[..24])) == number(&header[24..])) else {
            return Ok(true);
        };
        record.clear();
        (&mut file).take(length).read_to_end(&mut record)?;
        if mask(crc32c::crc32c(&record)) != number(&header[28..]) {
            return Ok(true);
        }
        left = behind - length;
    }
    let mut footer = [0; FOOTER_BYTES as usize];
    file.read_exact(&mut footer)?;
    Ok(number(&footer) != MAGIC || mask(crc32c::crc32c(&footer[..28])) != number(&footer[28..]))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
