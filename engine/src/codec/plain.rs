//! Reads the batches that most of a log is made of: starts, results and items of traces, in bincode's bytes.
//!
//! Called by `codec` before bincode, which takes a step for each byte of an id and is asked wherever this gives nothing:
//! for other events, failures, and all that is not as it is written. A replay reads each of its events through here.
//!
//! Invariant: what this gives is what bincode gives for the same bytes.

use crate::event::{Batch, Event, TraceCompleted, TraceForm, TraceOutcome, TraceStarted, TraceYielded};
use crate::id::{CodeHash, Epoch, InputHash, RunId, Sequence, Timestamp};
use crate::known;
use crate::payload::Payload;

/// Longest body that is read here: 4 MiB, so that bincode's own limit, which counts what values take in memory, is not
/// met. Batches are cut at 1 MiB, unless one event is larger.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Events for which memory is taken beforehand, whatever the bytes claim.
const EVENT_COUNT_MAX: usize = 1024;

/// The batch that these bytes are, or nothing.
pub(super) fn batch(body: &[u8]) -> Option<Batch> {
    if body.len() > BODY_BYTES_MAX {
        return None;
    }
    let mut bytes = Bytes(body);
    let (first, epoch, settled) = (bytes.sequence()?, Epoch(bytes.short()?), bytes.flag()?);
    let count = usize::try_from(bytes.long()?).ok()?;
    let mut events = Vec::with_capacity(count.min(EVENT_COUNT_MAX));
    for _ in 0..count {
        events.push(match bytes.short()? {
            1 => Event::TraceStarted(bytes.started()?),
            2 => Event::TraceCompleted(bytes.completed()?),
            5 => Event::TraceYielded(bytes.yielded()?),
            _ => return None,
        });
    }
    bytes.0.is_empty().then_some(Batch { first, epoch, settled, events })
}

/// What is not read yet. Each method takes a value of its kind off the front, or gives nothing.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// An integer of at most 32 bits.
    fn short(&mut self) -> Option<u32> {
        match self.byte()? {
            251 => self.array().map(u16::from_le_bytes).map(u32::from),
            252 => self.array().map(u32::from_le_bytes),
            253.. => None,
            small => Some(small.into()),
        }
    }

    /// An integer of at most 64 bits.
    fn long(&mut self) -> Option<u64> {
        match self.byte()? {
            251 => self.array().map(u16::from_le_bytes).map(u64::from),
            252 => self.array().map(u32::from_le_bytes).map(u64::from),
            253 => self.array().map(u64::from_le_bytes),
            254.. => None,
            small => Some(small.into()),
        }
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    fn sequence(&mut self) -> Option<Sequence> {
        self.long().map(Sequence)
    }

    /// The sign is the last bit.
    fn timestamp(&mut self) -> Option<Timestamp> {
        let number = self.long()?;
        Some(Timestamp((number >> 1).cast_signed() ^ -(number & 1).cast_signed()))
    }

    fn slice(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.long()?).ok()?;
        self.take(count)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.slice()?).ok()
    }

    fn payload(&mut self) -> Option<Payload> {
        let [codec, hook] = self.array()?;
        Some(Payload::stored(codec, hook, self.slice()?))
    }

    // The fields of a struct expression are evaluated in the order in which they are written: the one on disk.

    fn started(&mut self) -> Option<TraceStarted> {
        Some(TraceStarted {
            name: known::text(self.slice()?)?,
            code: CodeHash::from_bytes(self.array()?),
            input_hash: InputHash::from_bytes(self.array()?),
            occurrence: self.short()?,
            input: self.payload()?,
            file: known::text(self.slice()?)?,
            line: self.short()?,
            form: match self.short()? {
                0 => TraceForm::Future,
                1 => TraceForm::Inline,
                2 => TraceForm::Stream,
                3 => TraceForm::Iterator,
                _ => return None,
            },
            within: self.option(Self::sequence)?,
            child: self.option(|bytes| bytes.array().map(RunId::from_bytes))?,
            group: self.option(|bytes| bytes.text().map(str::to_owned))?,
            at: self.timestamp()?,
        })
    }

    fn completed(&mut self) -> Option<TraceCompleted> {
        Some(TraceCompleted {
            trace: self.sequence()?,
            outcome: match self.short()? {
                0 => TraceOutcome::Ok(self.payload()?),
                2 => TraceOutcome::Dropped,
                _ => return None,
            },
            tries: self.short()?,
            started_at: self.timestamp()?,
            duration_micros: self.long()?,
            repeats: self.option(Self::sequence)?,
        })
    }

    fn yielded(&mut self) -> Option<TraceYielded> {
        Some(TraceYielded {
            trace: self.sequence()?,
            index: self.long()?,
            item: self.payload()?,
            repeats: self.option(Self::sequence)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Chain, HEADER_BYTES, read, seal};
    use super::*;
    use crate::error::ErrorKind;
    use crate::event::ErrorRecord;

    fn started(form: TraceForm, number: u64) -> Event {
        Event::TraceStarted(TraceStarted {
            name: "fetch".into(),
            code: CodeHash::from_bytes([251; 16]),
            input_hash: InputHash::from_bytes([7; 16]),
            occurrence: number as u32,
            input: Payload::encode(&number).unwrap(),
            file: "src/é.rs".into(),
            line: 70_000,
            form,
            within: (number > 300).then_some(Sequence(number)),
            child: (number > 70_000).then_some(RunId::from_bytes([254; 16])),
            group: (number == 250).then(|| "a/b".to_owned()),
            at: Timestamp(-(number as i64)),
        })
    }

    fn completed(outcome: TraceOutcome, number: u64) -> Event {
        Event::TraceCompleted(TraceCompleted {
            trace: Sequence(number),
            outcome,
            tries: 1,
            started_at: Timestamp(number as i64),
            duration_micros: number,
            repeats: (number > 250).then_some(Sequence(1)),
        })
    }

    /// Batches of all kinds of events that are read here, with integers of every length.
    fn batches() -> Vec<Batch> {
        let forms = [TraceForm::Future, TraceForm::Inline, TraceForm::Stream, TraceForm::Iterator];
        let numbers = [0, 250, 251, 0xffff, 0x1_0000, u64::from(u32::MAX), 1 << 32, u64::MAX >> 1];
        let batch = |(index, number): (usize, u64)| {
            let payload = Payload::encode(&vec![0u8; index * 50]).unwrap();
            let item = TraceYielded { trace: Sequence(1), index: number, item: payload.clone(), repeats: None };
            let events = vec![
                completed(TraceOutcome::Ok(payload), number),
                started(forms[index % 4], number),
                completed(TraceOutcome::Dropped, number),
                Event::TraceYielded(item),
            ];
            Batch { first: Sequence(number), epoch: Epoch(index as u32), settled: index % 2 == 0, events }
        };
        numbers.into_iter().enumerate().map(batch).collect()
    }

    fn written(batch: &Batch) -> Vec<u8> {
        seal(b"", Chain::default(), batch).unwrap().0.split_off(HEADER_BYTES)
    }

    #[test]
    fn what_is_written_is_read_without_bincode() {
        for expected in batches() {
            assert_eq!(batch(&written(&expected)), Some(expected));
        }
    }

    #[test]
    fn whatever_the_bytes_it_reads_what_bincode_reads_or_nothing() {
        for original in batches() {
            let bytes = written(&original);
            let agrees = |bytes: &[u8]| {
                if let Some(plain) = batch(bytes) {
                    assert_eq!(read(bytes), Ok(plain), "{bytes:?}");
                }
            };
            for at in 0..bytes.len() {
                agrees(&bytes[..at]);
                // Each bit, and each of the bytes that say how long an integer is.
                let flipped = (0..8).map(|bit| bytes[at] ^ 1 << bit);
                for byte in flipped.chain([0, 1, 2, 3, 5, 250, 251, 252, 253, 254, 255]) {
                    let mut changed = bytes.clone();
                    changed[at] = byte;
                    agrees(&changed);
                }
            }
            agrees(&[bytes.as_slice(), &[0]].concat());
        }
    }

    #[test]
    fn what_is_rare_is_left_to_bincode() {
        let failed = TraceOutcome::Err(ErrorRecord::new(ErrorKind::Failed, "no"));
        let events = vec![completed(failed, 1)];
        let rare = written(&Batch { first: Sequence(0), epoch: Epoch(1), settled: true, events });
        assert!(batch(&rare).is_none() && read::<Batch>(&rare).is_ok());
    }
}
