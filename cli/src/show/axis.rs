//! From moments to columns: where a bar begins and ends.
//!
//! Used by `grid`. Time between two lives of the process, or two attempts, is cut out, as a run that rested for a night
//! would otherwise be two dots.
//!
//! Invariant: every bar is within the axis and at least one column wide.

use std::ops::Range;

use relive_engine::id::Timestamp;

use super::row::{Life, Part};
use crate::time;

/// The axis of a run.
#[derive(Debug)]
pub(super) struct Axis {
    /// One per life and attempt, in order; one for all where they are too many to draw.
    parts: Vec<Stretch>,
    columns: usize,
}

#[derive(Debug)]
struct Stretch {
    part: Part,
    first: Timestamp,
    micros: u64,
    columns: Range<usize>,
}

impl Axis {
    /// An axis of so many columns, at least one.
    pub(super) fn new(lives: &[Life], columns: usize) -> Self {
        let columns = columns.max(1);
        // Each life takes a column and the cut behind it another; past a quarter of the width nothing could be told.
        let axis = if lives.len() > 1 && lives.len() * 4 <= columns { Self::cut(lives, columns) } else { None };
        axis.unwrap_or_else(|| Self::whole(lives, columns))
    }

    fn whole(lives: &[Life], columns: usize) -> Self {
        let first = lives.iter().map(|life| life.first).min().unwrap_or_default();
        let last = lives.iter().map(|life| life.last).max().unwrap_or_default();
        let micros = time::between(first, last);
        let only = |life: &Life| Stretch { part: life.part, first, micros, columns: 0..columns };
        Self { parts: lives.first().map(only).into_iter().collect(), columns }
    }

    /// `None` if the clock went back between two lives: then nothing is between them.
    fn cut(lives: &[Life], columns: usize) -> Option<Self> {
        if lives.windows(2).any(|pair| pair[0].last > pair[1].first) {
            return None;
        }
        let lengths: Vec<u64> = lives.iter().map(|life| time::between(life.first, life.last)).collect();
        let total = lengths.iter().fold(0u64, |total, length| total.saturating_add(*length)).max(1);
        let cuts = lives.len() - 1;
        let spare = columns - cuts - lives.len();
        let mut widths: Vec<usize> = lengths
            .iter()
            .map(|length| 1 + (u128::from(*length) * spare as u128 / u128::from(total)) as usize)
            .collect();
        let longest = lengths.iter().enumerate().max_by_key(|(_, length)| **length).map_or(0, |(index, _)| index);
        widths[longest] += columns - cuts - widths.iter().sum::<usize>();
        let mut at = 0;
        let parts = lives.iter().zip(lengths).zip(widths).map(|((life, micros), width)| {
            let columns = at..at + width;
            at += width + 1;
            Stretch { part: life.part, first: life.first, micros, columns }
        });
        Some(Self { parts: parts.collect(), columns })
    }

    /// How long the drawn time is.
    pub(super) fn micros(&self) -> u64 {
        self.parts.iter().fold(0, |total, part| total.saturating_add(part.micros))
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The columns between two lives.
    pub(super) fn cuts(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().skip(1).map(|part| part.columns.start - 1)
    }

    /// The columns of what a life did from a moment on for so long, and whether that is less than half a column.
    pub(super) fn bar(&self, part: Part, from: Timestamp, micros: u64) -> (Range<usize>, bool) {
        let Some(part) = self.stretch(part) else { return (0..1, true) };
        let start = column(part, from).min(part.columns.end - 1);
        let width = part.columns.len() as f64;
        let exact = micros as f64 / part.micros.max(1) as f64 * width;
        let end = start.saturating_add((exact.round() as usize).max(1)).min(part.columns.end);
        (start..end, exact < 0.5)
    }

    /// As [`bar`](Self::bar), of what began in one life and ended in another, or in the same.
    pub(super) fn span(&self, from: Part, to: Part, at: Timestamp, micros: u64) -> (Range<usize>, bool) {
        let (begun, tiny) = self.bar(from, at, micros);
        let ended = self.stretch(to).filter(|_| from != to && self.parts.len() > 1);
        let Some(ended) = ended else { return (begun, tiny) };
        let until = column(ended, time::later(at, micros)).min(ended.columns.end - 1);
        (begun.start..begun.end.max(until + 1), false)
    }

    /// The columns from a moment in a life to the end of the axis; of what is over, to the end of that life.
    pub(super) fn rest(&self, part: Part, from: Timestamp, is_over: bool) -> Range<usize> {
        let stretch = self.stretch(part);
        let start = stretch.map_or(0, |stretch| column(stretch, from).min(stretch.columns.end - 1));
        let end = stretch.filter(|_| is_over).map_or(self.columns, |stretch| stretch.columns.end);
        start..end
    }

    fn stretch(&self, part: Part) -> Option<&Stretch> {
        match self.parts.as_slice() {
            [only] => Some(only),
            parts => parts.iter().find(|stretch| stretch.part == part),
        }
    }
}

fn column(part: &Stretch, at: Timestamp) -> usize {
    let since = time::between(part.first, at).min(part.micros);
    let width = part.columns.len() as u128;
    part.columns.start + (u128::from(since) * width / u128::from(part.micros.max(1))) as usize
}

#[cfg(test)]
mod tests {
    use relive_engine::id::Epoch;

    use super::*;

    fn part(epoch: u32) -> Part {
        Part { epoch: Epoch(epoch), attempt: 0 }
    }

    fn life(epoch: u32, first: i64, last: i64) -> Life {
        Life { part: part(epoch), first: Timestamp(first), last: Timestamp(last) }
    }

    #[test]
    fn a_bar_is_where_its_time_is() {
        let axis = Axis::new(&[life(1, 1_000, 2_000)], 10);
        assert_eq!(axis.bar(part(1), Timestamp(1_000), 500), (0..5, false));
        assert_eq!(axis.bar(part(1), Timestamp(1_900), 100), (9..10, false));
        assert_eq!(axis.bar(part(1), Timestamp(2_000), 0), (9..10, true));
        assert_eq!(axis.rest(part(1), Timestamp(1_500), false), 5..10);
    }

    #[test]
    fn the_time_between_two_lives_takes_one_column() {
        let axis = Axis::new(&[life(1, 0, 500), life(4, 1_000_000_000, 1_000_000_500)], 21);
        assert_eq!(axis.cuts().collect::<Vec<_>>(), [10]);
        assert_eq!(axis.bar(part(1), Timestamp(0), 500), (0..10, false));
        assert_eq!(axis.bar(part(4), Timestamp(1_000_000_000), 500), (11..21, false));
        assert_eq!(axis.micros(), 1_000);
    }

    #[test]
    fn what_waits_over_two_lives_reaches_from_the_one_into_the_other() {
        let axis = Axis::new(&[life(1, 0, 500), life(4, 1_000_000_000, 1_000_000_500)], 21);
        assert_eq!(axis.span(part(1), part(4), Timestamp(250), 1_000_000_000), (5..17, false));
        assert_eq!(axis.span(part(1), part(4), Timestamp(0), 1), (0..12, false));
        assert_eq!(axis.span(part(4), part(4), Timestamp(1_000_000_000), 500), (11..21, false));
        assert_eq!(axis.span(part(1), part(9), Timestamp(0), 500), (0..10, false));
    }

    #[test]
    fn every_bar_is_within_the_axis_whatever_the_clocks_did() {
        let odd = [i64::MIN, -1, 0, 1, 999, 1_000_000, i64::MAX];
        for columns in [0, 1, 2, 7, 100] {
            for first in odd {
                for second in odd {
                    let lives =
                        [life(1, first.min(second), second.max(first)), life(2, 5, 9), life(3, second, i64::MAX)];
                    for count in 1..=3 {
                        let axis = Axis::new(&lives[..count], columns);
                        for (epoch, at) in [(1, first), (2, second), (3, 7), (9, 0)] {
                            for micros in [0, 1, u64::MAX] {
                                let (bar, _) = axis.bar(part(epoch), Timestamp(at), micros);
                                assert!(bar.start < bar.end && bar.end <= axis.columns(), "{bar:?} {axis:?}");
                                let (span, _) = axis.span(part(2), part(epoch), Timestamp(at), micros);
                                assert!(span.start < span.end && span.end <= axis.columns(), "{span:?} {axis:?}");
                                let rest = axis.rest(part(epoch), Timestamp(at), micros == 0);
                                assert!(rest.start < axis.columns(), "{rest:?} {axis:?}");
                            }
                        }
                    }
                }
            }
        }
    }
}
