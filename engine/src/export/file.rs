//! The bytes of an export: a header, then records, each with its length and checksum and chained to the one before.
//!
//! Written and read an item at a time by `export` and `import`. `docs/format.md`, section 11, gives every byte.
//!
//! Invariant: what is read is what was written, to the last item; else an error says what is wrong with the file. Reading
//! allocates in proportion to the bytes that are there.

use std::io::{self, Read, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{self, BODY_BYTES_MAX, Chain, HEADER_BYTES};
use crate::error::{Error, ErrorKind, Result};
use crate::event::SignalReceived;
use crate::id::{Epoch, RunId, Sequence};
use crate::index::IdRecord;

/// First bytes of every export.
const MAGIC: [u8; 8] = *b"RLEXPORT";

/// Version of the file: of its header and of its items. Readers refuse a higher one.
pub const EXPORT_VERSION: u8 = 1;

/// Length of the header.
const FILE_HEADER_BYTES: usize = 16;

/// What an export is made of. The order of variants and fields is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Item {
    /// First.
    Head(Head),
    /// A run begins.
    Run(RunId),
    /// The next record of the run's log, as it is stored.
    Record {
        /// Position of its first event.
        first: Sequence,
        /// The record.
        bytes: Bytes,
    },
    /// A signal of the run that is not in its log yet.
    Signal { epoch: Epoch, number: u64, signal: SignalReceived },
    /// The id that the run's log fixed for a child, where another run answers for it.
    Alias { child: RunId, record: IdRecord },
    /// Who waits for the run beside the call that began it: a call, and its run; or somebody outside.
    Holder { call: Option<RunId>, by: RunId },
    /// The run ends.
    RunEnd(RunEnd),
    /// Last.
    End {
        /// So many runs.
        run_count: u64,
    },
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Who wrote it, for people.
    pub(crate) program: String,
    /// The run that was asked for: the last in the file.
    pub(crate) root: RunId,
    /// The fields whose values were replaced.
    pub(crate) redacted: Vec<String>,
    /// What hashes of redacted arguments are keyed with; only if there are any, and nothing more was redacted.
    pub(crate) redaction_key: Option<[u8; 32]>,
}

/// What of a run follows from no log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunEnd {
    /// If it is unfinished: which call it is.
    pub(crate) call_key: Option<[u8; 32]>,
    /// If it has an id of the caller's: the hash of its input.
    pub(crate) input_hash: Option<[u8; 32]>,
}

/// Writes an export.
pub(super) struct FileWriter<'a> {
    out: &'a mut dyn Write,
    item_count: u64,
    chain: Chain,
    pub(super) bytes: u64,
}

impl<'a> FileWriter<'a> {
    /// Writes the header.
    pub(super) fn begin(out: &'a mut dyn Write) -> Result<Self> {
        let mut header = [0; FILE_HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8] = EXPORT_VERSION;
        let checksum = crc32c::crc32c(&header[..12]);
        header[12..].copy_from_slice(&checksum.to_le_bytes());
        out.write_all(&header).map_err(unwritable)?;
        Ok(Self { out, item_count: 0, chain: Chain(checksum), bytes: FILE_HEADER_BYTES as u64 })
    }

    pub(super) fn item(&mut self, item: &Item) -> Result<()> {
        let (record, own) = codec::seal(&self.item_count.to_be_bytes(), self.chain, item)
            .map_err(|error| Error::new(ErrorKind::Payload, format!("the export: {error}")))?;
        self.out.write_all(&record).map_err(unwritable)?;
        (self.item_count, self.chain) = (self.item_count + 1, own);
        self.bytes += record.len() as u64;
        Ok(())
    }

    pub(super) fn end(self) -> Result<u64> {
        self.out.flush().map_err(unwritable)?;
        Ok(self.bytes)
    }
}

fn unwritable(error: io::Error) -> Error {
    Error::new(ErrorKind::Storage, format!("the export cannot be written: {error}")).caused_by(error)
}

/// Reads an export.
pub(super) struct FileReader<'a, F: Read> {
    file: &'a mut F,
    item_count: u64,
    chain: Chain,
    /// How far it has been read.
    bytes: u64,
}

impl<'a, F: Read> FileReader<'a, F> {
    /// Reads the header.
    ///
    /// # Errors
    /// Of kind `NotAStore` if this is another kind of file, `NewerFormat` if a newer program wrote it, `Corrupt` if it is
    /// damaged.
    pub(super) fn begin(file: &'a mut F) -> Result<Self> {
        let mut header = Vec::with_capacity(FILE_HEADER_BYTES);
        file.by_ref().take(FILE_HEADER_BYTES as u64).read_to_end(&mut header).map_err(unreadable)?;
        if !header.starts_with(&MAGIC) {
            let why = if header.len() < MAGIC.len() && MAGIC.starts_with(&header) {
                "it is empty, or was cut off in its first bytes"
            } else {
                "it begins with other bytes than a file of `relive export`"
            };
            return Err(Error::new(ErrorKind::NotAStore, format!("this is no export of Relive: {why}")));
        }
        let Ok(header) = <[u8; FILE_HEADER_BYTES]>::try_from(header) else {
            return Err(truncated(MAGIC.len() as u64));
        };
        let version = header[8];
        if version > EXPORT_VERSION {
            return Err(Error::new(
                ErrorKind::NewerFormat,
                format!(
                    "the export has format version {version}, this program reads up to {EXPORT_VERSION}: use a newer one"
                ),
            ));
        }
        let checksum = crc32c::crc32c(&header[..12]);
        if header[12..] != checksum.to_le_bytes() || version != EXPORT_VERSION {
            return Err(Error::new(ErrorKind::Corrupt, "the export is damaged in its header: copy it again"));
        }
        Ok(Self { file, item_count: 0, chain: Chain(checksum), bytes: FILE_HEADER_BYTES as u64 })
    }

    /// The next item. After [`Item::End`] nothing may follow.
    ///
    /// # Errors
    /// Of kind `Corrupt` if the file ends here or a byte is not as it was written; the message says where.
    pub(super) fn item(&mut self) -> Result<Item> {
        let mut record = Vec::with_capacity(HEADER_BYTES);
        self.take(&mut record, HEADER_BYTES)?;
        let length = record.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
        if length > BODY_BYTES_MAX {
            return Err(self.damaged("a length is beyond any that is written"));
        }
        self.take(&mut record, length)?;
        let (item, chain, own) = codec::open::<Item>(&self.item_count.to_be_bytes(), &record).map_err(|error| {
            let why = format!("the export, item {} at byte {}: {error}", self.item_count, self.bytes);
            Error::new(error.kind(), why)
        })?;
        if chain != self.chain {
            return Err(self.damaged("an item does not follow the one before it"));
        }
        (self.item_count, self.chain) = (self.item_count + 1, own);
        self.bytes += record.len() as u64;
        if matches!(item, Item::End { .. }) && self.file.read(&mut [0]).map_err(unreadable)? > 0 {
            return Err(self.damaged("there is something behind its end"));
        }
        Ok(item)
    }

    /// Reads so many bytes more. What is allocated grows with what is there, whatever a length says.
    fn take(&mut self, record: &mut Vec<u8>, count: usize) -> Result<()> {
        let read = self.file.by_ref().take(count as u64).read_to_end(record).map_err(unreadable)?;
        if read < count { Err(truncated(self.bytes + record.len() as u64)) } else { Ok(()) }
    }

    pub(super) fn damaged(&self, why: &str) -> Error {
        let why = format!("the export is damaged before byte {}: {why}. Copy it again", self.bytes);
        Error::new(ErrorKind::Corrupt, why)
    }
}

fn truncated(bytes: u64) -> Error {
    let why = format!("the export ends in the middle, after {bytes} bytes: it was cut off. Copy it again");
    Error::new(ErrorKind::Corrupt, why)
}

fn unreadable(error: io::Error) -> Error {
    Error::new(ErrorKind::Storage, format!("the export cannot be read: {error}")).caused_by(error)
}
