//! Two runs' calls, side by side: in step as long as they are the same, by the longest common subsequence where they part.
//!
//! Invariant: every call of both is given out once, in the order of its run but for what was moved.

use std::collections::VecDeque;

use relive_engine::error::Result;
use relive_engine::event::TaskOutcome;

use super::calls::{Call, Calls, Key};

/// So many calls of each run are looked at to find where they meet again: 1,000. A table of a million cells, 2 MB.
pub(super) const WINDOW: usize = 1000;

/// Calls that belong together.
#[derive(Debug)]
pub(super) enum Pair {
    /// The same trace with the same arguments.
    Same(Call, Call),
    /// The same trace with other arguments, at the same place.
    Argument(Call, Call),
    /// The same call at another place.
    Moved(Call, Call),
    /// Only the first run makes it.
    First(Call),
    /// Only the second run makes it.
    Second(Call),
}

/// Pairs the calls of two runs.
pub(super) struct Align {
    first: Calls,
    second: Calls,
    /// Of the last window.
    pairs: VecDeque<Pair>,
}

impl Align {
    pub(super) fn new(first: Calls, second: Calls) -> Self {
        Self { first, second, pairs: VecDeque::new() }
    }

    /// The next pair; `None` once all calls were given out.
    pub(super) fn next_pair(&mut self) -> Result<Option<Pair>> {
        if let Some(pair) = self.pairs.pop_front() {
            return Ok(Some(pair));
        }
        let is_same = match (self.first.first(WINDOW)?, self.second.first(WINDOW)?) {
            (None, None) => return Ok(None),
            (Some(a), Some(b)) => a.key == b.key,
            _ => false,
        };
        if !is_same {
            self.align_window()?;
            return self.next_pair();
        }
        Ok(match (self.first.take(), self.second.take()) {
            (Some(a), Some(b)) => Some(Pair::Same(a, b)),
            _ => None,
        })
    }

    /// How the runs ended, once all pairs were given out.
    pub(super) fn into_ends(self) -> [Option<TaskOutcome>; 2] {
        [self.first.ended, self.second.ended]
    }

    /// Aligns what comes next of both, up to the last calls that they have in common.
    fn align_window(&mut self) -> Result<()> {
        // Twice that, so that it is known how those within the window ended.
        self.first.fill(2 * WINDOW)?;
        self.second.fill(2 * WINDOW)?;
        let is_more = self.first.window().len().max(self.second.window().len()) > WINDOW;
        let keys = |calls: &Calls| calls.window().iter().take(WINDOW).map(|call| call.key.clone()).collect::<Vec<_>>();
        let (a, b) = (keys(&self.first), keys(&self.second));
        let common = longest_common(&a, &b);
        // What follows the last common call may still have its counterpart behind the window.
        let ends = match common.last() {
            Some((i, j)) if is_more => (i + 1, j + 1),
            _ => (a.len(), b.len()),
        };
        let (mut i, mut j) = (0, 0);
        let mut gap = Gap::default();
        let mut rows: Vec<Row> = Vec::new();
        for (until_i, until_j) in common.into_iter().chain([ends]) {
            while i < until_i.min(ends.0) {
                gap.first.extend(self.first.take());
                i += 1;
            }
            while j < until_j.min(ends.1) {
                gap.second.extend(self.second.take());
                j += 1;
            }
            gap.close(&mut rows);
            if (until_i, until_j) != ends
                && let (Some(a), Some(b)) = (self.first.take(), self.second.take())
            {
                rows.push(Row::Pair(Pair::Same(a, b)));
                (i, j) = (i + 1, j + 1);
            }
        }
        self.pairs = moved(rows);
        Ok(())
    }
}

/// What is between two common calls.
#[derive(Default)]
struct Gap {
    first: Vec<Call>,
    second: Vec<Call>,
}

enum Row {
    Pair(Pair),
    First(Call),
    Second(Call),
}

impl Gap {
    /// Calls of one trace at one place are one call with other arguments.
    fn close(&mut self, rows: &mut Vec<Row>) {
        let mut second: VecDeque<Call> = std::mem::take(&mut self.second).into();
        for a in std::mem::take(&mut self.first) {
            let is_like = |b: &Call| b.key.name == a.key.name && b.key.nested == a.key.nested;
            match second.iter().position(is_like) {
                Some(at) => {
                    rows.extend(second.drain(..at).map(Row::Second));
                    if let Some(b) = second.pop_front() {
                        rows.push(Row::Pair(Pair::Argument(a, b)));
                    }
                }
                None => rows.push(Row::First(a)),
            }
        }
        rows.extend(second.into_iter().map(Row::Second));
    }
}

/// Joins calls that stand at different places of the window.
fn moved(rows: Vec<Row>) -> VecDeque<Pair> {
    // Where calls stand that only one run has, or with other arguments.
    let mut places: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    let second_of = |row: &Row| match row {
        Row::Second(call) | Row::Pair(Pair::Argument(_, call)) => Some(call.key.clone()),
        _ => None,
    };
    let seconds: Vec<Option<Key>> = places.iter().flatten().map(second_of).collect();
    for at in 0..seconds.len() {
        let key = match &places[at] {
            Some(Row::First(call) | Row::Pair(Pair::Argument(call, _))) => call.key.clone(),
            _ => continue,
        };
        let holds = |place: usize| {
            seconds[place].as_ref() == Some(&key) && matches!(&places[place], Some(row) if second_of(row).is_some())
        };
        let Some(from) = (0..seconds.len()).find(|place| *place != at && holds(*place)) else { continue };
        let second = match places[from].take() {
            Some(Row::Second(call)) => call,
            Some(Row::Pair(Pair::Argument(a, b))) => {
                places[from] = Some(Row::First(a));
                b
            }
            other => {
                places[from] = other;
                continue;
            }
        };
        places[at] = match places[at].take() {
            Some(Row::First(first)) => Some(Row::Pair(Pair::Moved(first, second))),
            Some(Row::Pair(Pair::Argument(first, left))) => {
                // What it stood beside stands alone now; it keeps its place in the second run's order.
                places.push(Some(Row::Second(left)));
                Some(Row::Pair(Pair::Moved(first, second)))
            }
            other => other,
        };
    }
    let pair = |row| match row {
        Row::Pair(pair) => pair,
        Row::First(call) => Pair::First(call),
        Row::Second(call) => Pair::Second(call),
    };
    places.into_iter().flatten().map(pair).collect()
}

/// The longest common subsequence of two lists, as pairs of indices.
fn longest_common<T: PartialEq>(a: &[T], b: &[T]) -> Vec<(usize, usize)> {
    let width = b.len() + 1;
    // Lengths from each place on; at most `WINDOW`, so that 16 bits do.
    let mut lengths = vec![0u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            lengths[i * width + j] = match a[i] == b[j] {
                true => lengths[(i + 1) * width + j + 1] + 1,
                false => lengths[(i + 1) * width + j].max(lengths[i * width + j + 1]),
            };
        }
    }
    let (mut pairs, mut i, mut j) = (Vec::new(), 0, 0);
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_common_subsequence_is_found() {
        let common = |a: &str, b: &str| {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            longest_common(&a, &b).into_iter().map(|(i, j)| (a[i], b[j])).map(|(a, _)| a).collect::<String>()
        };
        assert_eq!(common("abcdef", "abcdef"), "abcdef");
        assert_eq!(common("abcdef", "abxdef"), "abdef");
        assert_eq!(common("abc", "xyz"), "");
        assert_eq!(common("", "xyz"), "");
        assert_eq!(common("abcbdab", "bdcaba").len(), 4);
    }
}
