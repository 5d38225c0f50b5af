//! Bytes of records: an envelope around a bincode body. The only file that names bincode.
//!
//! Called by `log` and `index` for every value the engine stores. `docs/format.md` gives every byte.
//!
//! Invariant: [`open`] returns the body that [`seal`] was given for the same key and chain, or an error; never other
//! bytes. Decoding allocates at most in proportion to the bytes it is given.

mod plain;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::serde::BorrowedSerdeDecoder;
use relive_storage::planted::{Planted, planted};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ErrorKind;
use crate::event::Batch;
use crate::payload::{InBounds, PAYLOAD_BYTES_LIMIT, PayloadError, exact, explain};

/// First bytes of every record.
const MAGIC: [u8; 2] = *b"RL";

/// Version of the envelope and of what is in it. Readers refuse a higher one. What older versions wrote is read as it is: 2
/// adds a variant to where an unfinished run stands, 3 another one, and one to why there is an attempt; all others have their bytes.
pub const FORMAT_VERSION: u8 = 3;

/// bincode 2, variable integers, little endian.
const CODEC_BINCODE: u8 = 1;

/// Length of the envelope before the body.
pub(crate) const HEADER_BYTES: usize = 16;

/// Largest body: 256 MiB, more is damage. A batch is cut at 1 MiB; beyond that it holds a few payloads of at most 32 MiB,
/// and an entry of the cache one, with the canonical form of another, which is up to three times as large.
pub(crate) const BODY_BYTES_MAX: usize = 256 << 20;

const CONFIGURATION: Configuration<LittleEndian, Varint, Limit<BODY_BYTES_MAX>> =
    bincode::config::standard().with_limit::<BODY_BYTES_MAX>();

/// As for records, with the limit that payloads need.
const PAYLOAD_CONFIGURATION: Configuration<LittleEndian, Varint, Limit<PAYLOAD_READ_MAX>> =
    bincode::config::standard().with_limit::<PAYLOAD_READ_MAX>();

/// What a value may claim to take in memory while it is read: 512 MiB. An integer of 16 bytes is written in one if it is
/// small, so less could refuse what was written. What it really takes depends on the bytes that are there.
const PAYLOAD_READ_MAX: usize = 16 * PAYLOAD_BYTES_LIMIT;

/// Checksum of a record's predecessor in its run; 0 for the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain(pub u32);

/// Why bytes are no record. `Display` says what is wrong, not where: the caller knows the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// Written by a newer version.
    Newer {
        /// Its version.
        version: u8,
    },
    /// Damaged, cut, or at the wrong place.
    Damaged(String),
    /// The record itself is whole, but it does not follow the one before it: one is missing or replaced.
    Chain,
}

impl CodecError {
    /// What to do about it, roughly.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Newer { .. } => ErrorKind::NewerFormat,
            Self::Damaged(_) | Self::Chain => ErrorKind::Corrupt,
        }
    }
}

impl std::fmt::Display for CodecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Newer { version } => write!(
                f,
                "the record has format version {version}, this program reads up to {FORMAT_VERSION}: use a newer one"
            ),
            Self::Damaged(why) => f.write_str(why),
            Self::Chain => f.write_str("the record does not follow the one before it: a record is missing or replaced"),
        }
    }
}

/// Writes a record: the envelope and the body. Returns the checksum that the next record of the run chains to.
///
/// # Errors
/// If the body is larger than 256 MiB.
pub fn seal<T: Serialize>(key: &[u8], chain: Chain, body: &T) -> Result<(Vec<u8>, Chain), CodecError> {
    seal_into(Vec::with_capacity(320), key, chain, body)
}

/// As [`seal`], in memory that is there already; what it held is gone.
pub(crate) fn seal_into<T: Serialize>(
    mut record: Vec<u8>,
    key: &[u8],
    chain: Chain,
    body: &T,
) -> Result<(Vec<u8>, Chain), CodecError> {
    let old = if planted(Planted::StaleTail) { record.clone() } else { Vec::new() };
    record.clear();
    record.extend_from_slice(&MAGIC);
    record.extend_from_slice(&[FORMAT_VERSION, CODEC_BINCODE]);
    record.extend_from_slice(&[0; HEADER_BYTES - 4]);
    bincode::serde::encode_into_writer(body, Out(&mut record), CONFIGURATION)
        .map_err(|error| CodecError::Damaged(format!("the record cannot be written: {error}")))?;
    if planted(Planted::StaleTail) {
        record.extend(old.iter().skip(record.len()));
    }
    let length = record.len() - HEADER_BYTES;
    if length > BODY_BYTES_MAX {
        return Err(CodecError::Damaged(format!("the record has {length} bytes, more than {BODY_BYTES_MAX}")));
    }
    record[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    record[8..12].copy_from_slice(&chain.0.to_le_bytes());
    let checksum = checksum(key, &record);
    record[12..16].copy_from_slice(&checksum.to_le_bytes());
    Ok((record, Chain(checksum)))
}

/// Reads a record that was sealed for this key. Returns its body, what it chains to, and its own checksum.
///
/// # Errors
/// If one bit is not as it was sealed, or the version is newer.
pub fn open<T: DeserializeOwned>(key: &[u8], record: &[u8]) -> Result<(T, Chain, Chain), CodecError> {
    let (body, chain, own) = unsealed(key, record)?;
    Ok((read(body)?, chain, own))
}

/// As [`open`], of a batch: what most logs consist of is read faster.
///
/// # Errors
/// As for [`open`].
pub fn open_batch(key: &[u8], record: &[u8]) -> Result<(Batch, Chain, Chain), CodecError> {
    let (body, chain, own) = unsealed(key, record)?;
    let batch = match plain::batch(body) {
        Some(batch) => batch,
        None => read(body)?,
    };
    Ok((batch, chain, own))
}

/// The body of a record that is whole.
fn unsealed<'a>(key: &[u8], record: &'a [u8]) -> Result<(&'a [u8], Chain, Chain), CodecError> {
    let damaged = |why: &str| Err(CodecError::Damaged(why.to_owned()));
    let Some((header, body)) = record.split_at_checked(HEADER_BYTES) else {
        return damaged("the record is shorter than its header");
    };
    if header[..2] != MAGIC {
        return damaged("the record does not begin with its magic bytes");
    }
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let own = Chain(word(12));
    if checksum(key, record) != own.0 {
        // A newer version may compute its checksum in another way, so the version is looked at in both cases.
        return if header[2] > FORMAT_VERSION {
            Err(CodecError::Newer { version: header[2] })
        } else {
            damaged("the record's checksum does not match its bytes and key")
        };
    }
    if header[2] > FORMAT_VERSION {
        return Err(CodecError::Newer { version: header[2] });
    }
    if header[2] == 0 {
        return damaged("the record's version never existed");
    }
    if header[3] != CODEC_BINCODE {
        return damaged("the record's codec is not known");
    }
    if word(4) as usize != body.len() || body.len() > BODY_BYTES_MAX {
        return damaged("the record's length does not match its bytes");
    }
    Ok((body, Chain(word(8)), own))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, CodecError> {
    let (value, used) = bincode::serde::borrow_decode_from_slice(body, CONFIGURATION)
        .map_err(|error| CodecError::Damaged(format!("the record's body cannot be read: {error}")))?;
    if used != body.len() {
        return Err(CodecError::Damaged("the record's body is longer than what it holds".to_owned()));
    }
    Ok(value)
}

/// Writes a user's value for a payload.
pub(crate) fn write_payload<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), PayloadError> {
    bincode::serde::encode_into_writer(value, Out(out), PAYLOAD_CONFIGURATION)
        .map_err(|error| PayloadError::new(format!("bincode cannot write it: {error}")))
}

/// Reads a user's value from the whole of a payload.
pub(crate) fn read_payload<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PayloadError> {
    match bincode::serde::decode_from_slice::<InBounds<T>, _>(bytes, PAYLOAD_CONFIGURATION) {
        Ok((value, used)) => exact(value.0, bytes.len() - used),
        Err(error) => {
            let mut decoder = BorrowedSerdeDecoder::from_slice(bytes, PAYLOAD_CONFIGURATION, ());
            Err(explain::<_, InBounds<T>>(decoder.as_deserializer(), &error))
        }
    }
}

/// As [`read_payload`], of a type that borrows.
pub(crate) fn read_payload_borrowed<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, PayloadError> {
    let (value, used) = bincode::serde::borrow_decode_from_slice::<InBounds<T>, _>(bytes, PAYLOAD_CONFIGURATION)
        .map_err(|error| PayloadError::new(error.to_string()))?;
    exact(value.0, bytes.len() - used)
}

/// Where bincode writes. Its own writer for a `Vec` goes through `std::io::Write`, which costs a call and a check per byte
/// of an id or a hash.
struct Out<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Out<'_> {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Covers the key, so that a record at another's place is found out, and all bytes but the checksum itself.
fn checksum(key: &[u8], record: &[u8]) -> u32 {
    let mut checksum = crc32c::crc32c(key);
    checksum = crc32c::crc32c_append(checksum, &record[..12]);
    crc32c::crc32c_append(checksum, &record[HEADER_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back() {
        let (record, own) = seal(b"key", Chain(7), &("text", 5u64)).unwrap();
        let (body, chain, checksum) = open::<(String, u64)>(b"key", &record).unwrap();
        assert_eq!((body, chain, checksum), (("text".to_owned(), 5), Chain(7), own));
    }

    #[test]
    fn one_bit_another_key_or_another_length_is_an_error() {
        let (record, _) = seal(b"key", Chain(7), &("text", 5u64)).unwrap();
        assert!(open::<(String, u64)>(b"kez", &record).is_err());
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open::<(String, u64)>(b"key", &flipped).is_err(), "bit {bit}");
        }
        for length in 0..record.len() {
            assert!(open::<(String, u64)>(b"key", &record[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage_whatever_its_checksum_is() {
        let (record, _) = seal(b"key", Chain(7), &("text", 5u64)).unwrap();
        let of_version = |version| {
            let mut record = record.clone();
            record[2] = version;
            open::<(String, u64)>(b"key", &record).unwrap_err()
        };
        assert_eq!(of_version(FORMAT_VERSION + 1), CodecError::Newer { version: FORMAT_VERSION + 1 });
        assert!(matches!(of_version(0), CodecError::Damaged(_)));
        let mut flipped = record.clone();
        flipped[HEADER_BYTES] ^= 1;
        assert!(matches!(open::<(String, u64)>(b"key", &flipped), Err(CodecError::Damaged(_))));
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        // A sequence that claims 2^60 elements, or a text of as many bytes.
        let body: &[u8] = &[253, 0, 0, 0, 0, 0, 0, 0, 16];
        assert!(bincode::serde::borrow_decode_from_slice::<Vec<u64>, _>(body, CONFIGURATION).is_err());
        assert!(bincode::serde::borrow_decode_from_slice::<String, _>(body, CONFIGURATION).is_err());
    }
}
