//! Which known word was meant by one that is not known.
//!
//! Used where a setting or a lint is misspelt.
//!
//! Invariant: a word that is nothing like any known one is like none.

/// The known word that is nearest to this one, if they are near: at most a third of its letters are wrong, missing, too many
/// or swapped with the next.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distances = known.iter().map(|known| (distance(&word, known), *known));
    distances.filter(|(distance, known)| *distance <= known.len().div_ceil(3)).min().map(|(_, known)| known)
}

/// ` Did you mean …?`, or nothing.
pub(crate) fn guess(word: &str, known: &[&str]) -> String {
    nearest(word, known).map(|known| format!(". Did you mean `{known}`?")).unwrap_or_default()
}

/// How many letters to change, add, leave out, or swap with the next.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // The rows of the table that are still needed: the last but one, and the last.
    let mut before: Vec<usize> = vec![];
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let changed = row[j] + usize::from(a != b);
            let mut least = changed.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["name", "retries", "timeout", "ttl", "at_most_once"];

    #[test]
    fn a_slip_of_the_finger_is_recognized() {
        for (slip, meant) in [
            ("retrys", "retries"),
            ("retires", "retries"),
            ("Retries", "retries"),
            ("tiemout", "timeout"),
            ("time_out", "timeout"),
            ("nam", "name"),
            ("tll", "ttl"),
            ("atmostonce", "at_most_once"),
        ] {
            assert_eq!(nearest(slip, KNOWN), Some(meant), "{slip}");
        }
    }

    #[test]
    fn another_word_is_not() {
        for other in ["", "speed", "x", "concurrency", "once"] {
            assert_eq!(nearest(other, KNOWN), None, "{other}");
            assert_eq!(guess(other, KNOWN), "");
        }
    }

    #[test]
    fn distances_count_letters() {
        assert_eq!([distance("", "abc"), distance("abc", "acb"), distance("abc", "xbcd")], [3, 1, 2]);
    }
}
