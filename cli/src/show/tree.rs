//! Puts rows in the order in which they are drawn.
//!
//! Called by `draw`.
//!
//! Invariant: every row comes once; a trace that an effect called comes below that one, if that one is there.

use super::row::{Row, What};

/// Deeper than this is drawn as deep: 8, so that something of the label is left.
const DEPTH_MAX: usize = 8;

/// Rows, which are in the order of their starts, and how deep each is.
pub(super) fn ordered<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<(usize, &'r Row)> {
    let rows: Vec<&Row> = rows.collect();
    let outer = |row: &Row| match &row.what {
        What::Trace(trace) => trace.within,
        _ => None,
    };
    // Callers come before what they call.
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    let mut roots = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let caller = outer(row).and_then(|outer| rows.binary_search_by_key(&outer, |row| row.sequence).ok());
        match caller {
            Some(caller) if caller < index => below[caller].push(index),
            // Its caller is among the rows that were left out.
            _ => roots.push((usize::from(outer(row).is_some()), index)),
        }
    }
    let mut ordered = Vec::with_capacity(rows.len());
    roots.reverse();
    let mut next = roots;
    while let Some((depth, index)) = next.pop() {
        ordered.push((depth, rows[index]));
        next.extend(below[index].iter().rev().map(|below| ((depth + 1).min(DEPTH_MAX), *below)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use relive_engine::id::{Epoch, Sequence, Timestamp};

    use super::*;
    use crate::show::row::Trace;

    fn row(sequence: u64, within: Option<u64>) -> Row {
        let trace = Trace {
            label: String::new(),
            immediate: false,
            is_signal: false,
            within: within.map(Sequence),
            child: None,
            waits: false,
            answered: None,
            items: None,
            retry: None,
            epoch: Epoch(1),
            at: Timestamp(0),
            end: None,
        };
        Row { sequence: Sequence(sequence), attempt: 0, what: What::Trace(Box::new(trace)) }
    }

    #[test]
    fn what_an_effect_called_comes_below_it() {
        let rows = [row(3, Some(1)), row(4, None), row(5, None), row(6, Some(4)), row(7, Some(5)), row(8, Some(6))];
        let ordered: Vec<_> = ordered(rows.iter()).into_iter().map(|(depth, row)| (depth, row.sequence.0)).collect();
        assert_eq!(ordered, [(1, 3), (0, 4), (1, 6), (2, 8), (0, 5), (1, 7)]);
    }

    #[test]
    fn every_row_comes_once_whatever_the_log_says() {
        let rows = [row(1, Some(2)), row(2, Some(1)), row(3, Some(3)), row(4, Some(9))];
        assert_eq!(ordered(rows.iter()).len(), 4);
    }
}
