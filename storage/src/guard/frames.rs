//! Walks over the frames of one RocksDB write-ahead log: where its whole records end, and what comes behind.
//!
//! Called by `guard` before RocksDB opens the log. Reads bytes, changes nothing, knows no other file.
//!
//! A log is a row of blocks of 32 KiB, a block a row of frames, a frame a header of 7 bytes (CRC-32C, masked; length;
//! type) and a payload; a record is one frame or several. Format: `db/log_format.h` of RocksDB 11.8.1.
//!
//! Invariant: memory is one block, whatever the bytes say.

use std::io::{self, Read};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// The smallest piece that a disk writes or loses.
const SECTOR_BYTES: usize = 512;

/// What a walk found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// Where the last whole record before any damage ends.
    pub(super) whole_bytes: u64,
    /// What is behind that, if anything.
    pub(super) damage: Option<Damage>,
}

/// The first frame that is not what was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where it begins.
    pub(super) at: u64,
    /// What is wrong with it.
    pub(super) what: &'static str,
    /// How that may have come about.
    pub(super) cause: Cause,
}

/// How a damage may have come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The log ends within it: the process or the power ended during a write, or an owner is writing it right now.
    /// RocksDB passes over that by itself.
    CutShort,
    /// The power ended during a write: nothing whole follows, or sectors in between were never written and read as
    /// zeros.
    Interrupted,
    /// Whole frames follow, and nothing was left out before them: these bytes were written and have changed since.
    Changed,
}

/// Walks over a log from its first byte.
pub(super) fn walk(log: impl Read) -> io::Result<Walk> {
    let mut blocks = Blocks { log, bytes: vec![0; BLOCK_BYTES], count: 0, start: 0 };
    let mut whole_bytes = 0;
    // Where the record that is being put together began.
    let mut record: Option<u64> = None;
    while blocks.advance()? {
        let mut offset = 0;
        // Less than a header at the end of a block is padding.
        while offset < blocks.count && offset <= BLOCK_BYTES - HEADER_BYTES {
            let at = blocks.start + offset as u64;
            let frame = match frame(blocks.rest(offset)) {
                Ok(frame) => frame,
                Err(Broken::CutShort) if blocks.count < BLOCK_BYTES => {
                    let damage = Damage { at, what: "it is cut short", cause: Cause::CutShort };
                    return Ok(Walk { whole_bytes, damage: Some(damage) });
                }
                Err(broken) => {
                    let cause = blocks.cause(offset)?;
                    return Ok(Walk { whole_bytes, damage: Some(Damage { at, what: broken.what(), cause }) });
                }
            };
            offset += frame.bytes;
            record = match (frame.part, record) {
                (Part::Full, None) | (Part::Last, Some(_)) => {
                    whole_bytes = at + frame.bytes as u64;
                    None
                }
                (Part::First, None) => Some(at),
                (Part::Middle, Some(start)) => Some(start),
                _ => {
                    let what = "it belongs to another record";
                    return Ok(Walk { whole_bytes, damage: Some(Damage { at, what, cause: Cause::Changed }) });
                }
            };
        }
    }
    let damage = record.map(|at| Damage { at, what: "its end is missing", cause: Cause::CutShort });
    Ok(Walk { whole_bytes, damage })
}

/// One frame that is whole.
struct Frame {
    part: Part,
    /// Header and payload.
    bytes: usize,
}

/// Which part of its record a frame is.
#[derive(Clone, Copy)]
enum Part {
    Full,
    First,
    Middle,
    Last,
}

/// Why bytes are not a frame.
enum Broken {
    CutShort,
    Type,
    Checksum,
}

impl Broken {
    fn what(&self) -> &'static str {
        match self {
            Self::CutShort => "its length leads out of its block",
            Self::Type => "its type is none that RocksDB writes here",
            Self::Checksum => "its checksum does not fit",
        }
    }
}

/// The frame that `bytes`, the rest of a block, begins with.
fn frame(bytes: &[u8]) -> Result<Frame, Broken> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Err(Broken::CutShort) };
    let part = match header[6] {
        // A record; and on their own, at the start of a log: its compression (9), the sizes of timestamps (10), the log
        // before it (130). RocksDB passes over what it does not know from 132 on.
        1 | 9 | 10 | 130 | 132.. => Part::Full,
        2 => Part::First,
        3 => Part::Middle,
        4 => Part::Last,
        // 0 is space that was never written. 5 to 8, 11 and 131 are for recycled logs, which we do not have; met where
        // a plain frame was, they make RocksDB 11.8.1 read for ever.
        _ => return Err(Broken::Type),
    };
    let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let Some(payload) = rest.get(..length) else { return Err(Broken::CutShort) };
    let expected = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    if mask(crc32c::crc32c_append(crc32c::crc32c(&header[6..]), payload)) != expected {
        return Err(Broken::Checksum);
    }
    Ok(Frame { part, bytes: HEADER_BYTES + length })
}

/// RocksDB's masking of a checksum (`util/crc32c.h`): so that a checksum over bytes with checksums in them stays good.
pub(super) fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A log, block by block.
struct Blocks<R> {
    log: R,
    bytes: Vec<u8>,
    /// How many of `bytes` are the block's: fewer than all at the end of the log.
    count: usize,
    /// Where in the log the block begins.
    start: u64,
}

impl<R: Read> Blocks<R> {
    /// Reads the next block; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        self.start += self.count as u64;
        self.count = 0;
        while self.count < BLOCK_BYTES {
            match self.log.read(&mut self.bytes[self.count..]) {
                Ok(0) => break,
                Ok(count) => self.count += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.count > 0)
    }

    fn rest(&self, offset: usize) -> &[u8] {
        &self.bytes[offset..self.count]
    }

    /// Looks behind a damage for a whole frame, and for sectors of zeros on the way there. Reads to the end of the log
    /// if it finds none.
    fn cause(&mut self, damaged: usize) -> io::Result<Cause> {
        let (mut from, mut search) = (damaged, damaged + 1);
        loop {
            let found = (search..self.count).find(|offset| frame(self.rest(*offset)).is_ok());
            if self.has_zero_sector(from, found.unwrap_or(self.count)) {
                return Ok(Cause::Interrupted);
            }
            if found.is_some() {
                return Ok(Cause::Changed);
            }
            if !self.advance()? {
                return Ok(Cause::Interrupted);
            }
            (from, search) = (0, 0);
        }
    }

    fn has_zero_sector(&self, from: usize, to: usize) -> bool {
        let aligned = from.next_multiple_of(SECTOR_BYTES);
        let sectors = self.bytes.get(aligned..to).unwrap_or_default().chunks_exact(SECTOR_BYTES);
        sectors.into_iter().any(|sector| sector.iter().all(|byte| *byte == 0))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What RocksDB's writer makes of these records.
    pub(in crate::guard) fn log(records: &[&[u8]]) -> Vec<u8> {
        let mut log = Vec::new();
        for record in records {
            let (mut rest, mut first) = (*record, true);
            loop {
                let space = BLOCK_BYTES - log.len() % BLOCK_BYTES;
                if space < HEADER_BYTES {
                    log.resize(log.len() + space, 0);
                    continue;
                }
                let (payload, behind) = rest.split_at(rest.len().min(space - HEADER_BYTES));
                let kind = match (first, behind.is_empty()) {
                    (true, true) => 1,
                    (true, false) => 2,
                    (false, false) => 3,
                    (false, true) => 4,
                };
                push(&mut log, kind, payload);
                (rest, first) = (behind, false);
                if rest.is_empty() {
                    break;
                }
            }
        }
        log
    }

    fn push(log: &mut Vec<u8>, kind: u8, payload: &[u8]) {
        let crc = mask(crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload));
        log.extend(crc.to_le_bytes());
        log.extend(u16::try_from(payload.len()).expect("a frame fits a block").to_le_bytes());
        log.push(kind);
        log.extend(payload);
    }

    fn walked(log: &[u8]) -> (u64, Option<(u64, Cause)>) {
        let walk = walk(log).expect("memory can be read");
        (walk.whole_bytes, walk.damage.map(|damage| (damage.at, damage.cause)))
    }

    #[test]
    fn a_whole_log_is_whole_to_its_last_byte() {
        let sizes = [0, 1, 300, BLOCK_BYTES - 7 - 315, 100_000, BLOCK_BYTES - 1, 5];
        let records: Vec<Vec<u8>> = sizes.iter().map(|size| vec![7; *size]).collect();
        let log = log(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert_eq!(walked(&log), (log.len() as u64, None));
        assert_eq!(walked(&[]), (0, None));
    }

    #[test]
    fn a_block_may_end_with_less_than_a_header() {
        for left in 1..=HEADER_BYTES {
            let first = vec![1; BLOCK_BYTES - HEADER_BYTES - left];
            let log = log(&[&first, b"second"]);
            assert_eq!(walked(&log), (log.len() as u64, None), "{left} bytes left");
        }
    }

    #[test]
    fn a_log_cut_anywhere_ends_with_its_last_whole_record() {
        let large = vec![9; 40_000];
        let records: [&[u8]; 4] = [b"first", b"second", &large, b"last"];
        let whole = log(&records);
        let ends: Vec<usize> = (0..=4).map(|count| log(&records[..count]).len()).collect();
        for cut in (0..whole.len()).step_by(97).chain(ends.clone()) {
            let end = ends.iter().rev().find(|end| **end <= cut).expect("0 is an end");
            let (whole_bytes, damage) = walked(&whole[..cut]);
            assert_eq!(whole_bytes, *end as u64);
            assert!(damage.is_none_or(|(_, cause)| cause == Cause::CutShort));
        }
    }

    #[test]
    fn a_flipped_bit_before_whole_frames_is_a_change_and_named() {
        let records: Vec<Vec<u8>> = (0..9).map(|record| vec![record + 1; 50]).collect();
        let whole = log(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let frame_bytes = HEADER_BYTES + 50;
        for byte in 0..whole.len() - 2 * frame_bytes {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[byte] ^= 1 << bit;
                let at = (byte / frame_bytes * frame_bytes) as u64;
                let (whole_bytes, damage) = walked(&flipped);
                assert_eq!((whole_bytes, damage.map(|(at, _)| at)), (at, Some(at)));
                // A length that leads behind the end of the log cannot be told from a frame that was cut short.
                if byte % frame_bytes != 5 && !(byte % frame_bytes == 4 && bit > 5) {
                    assert_eq!(damage.map(|(_, cause)| cause), Some(Cause::Changed), "byte {byte} bit {bit}");
                }
            }
        }
    }

    #[test]
    fn sectors_that_were_never_written_are_no_change_even_if_later_ones_were() {
        let records: Vec<Vec<u8>> = (0..900).map(|_| vec![1; 100]).collect();
        let mut log = log(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for (from, to) in [(512, 1024), (4096, 8192), (20_480, 40_960)] {
            let written = log.clone();
            log[from..to].fill(0);
            assert!(matches!(walked(&log), (whole, Some((_, Cause::Interrupted))) if whole <= from as u64));
            log = written;
        }
    }

    #[test]
    fn recycled_frames_and_parts_out_of_order_are_damage() {
        for kind in [0, 5, 6, 7, 8, 11, 12, 129, 131] {
            let mut log = Vec::new();
            push(&mut log, kind, b"payload");
            assert!(walked(&log).1.is_some(), "type {kind}");
        }
        for kinds in [&[3][..], &[4], &[2, 1], &[2, 2], &[2, 3, 1]] {
            let mut log = Vec::new();
            kinds.iter().for_each(|kind| push(&mut log, *kind, b"payload"));
            assert!(matches!(walked(&log), (0, Some((_, Cause::Changed)))), "types {kinds:?}");
        }
    }
}
