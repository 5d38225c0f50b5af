//! Finds the files that are about a topic.
//!
//! Pure: the corpus reads the files.
//!
//! Invariant: the same files give the same hits in the same order.

use relive::{Error, Result};
use serde::{Deserialize, Serialize};

/// A file that is about the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hit {
    /// Below the directory.
    pub(crate) path: String,
    /// blake3 of its contents: the summary is of this text and no other.
    pub(crate) digest: String,
    /// How much it is about the topic.
    pub(crate) score: f64,
}

/// Words that a file must hold, all of them; A to Z match a to z.
#[derive(Clone, Debug)]
pub(crate) struct Topic(Vec<String>);

/// Length of a file that counts as ordinary: 8 KiB, about 200 lines.
const ORDINARY_BYTES: f64 = 8192.0;

impl Topic {
    /// The words of a topic.
    ///
    /// # Errors
    /// If there are none.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let words: Vec<String> = text.split_whitespace().map(str::to_ascii_lowercase).collect();
        if words.is_empty() {
            return Err(Error::msg("the topic is empty: name a word to search for, as in --topic atomic"));
        }
        Ok(Self(words))
    }

    /// How much a text is about the topic; `None` if one of the words is missing.
    ///
    /// The term-frequency part of BM25 with its usual constants (k = 1.2, b = 0.75; Robertson and Zaragoza, 2009): the
    /// tenth use of a word says less than the first, and less in a long text than in a short one.
    pub(crate) fn score(&self, text: &str) -> Option<f64> {
        let lower = text.to_ascii_lowercase();
        let length = 0.25 + 0.75 * text.len() as f64 / ORDINARY_BYTES;
        self.0.iter().try_fold(0.0, |sum, word| {
            let count = lower.matches(word.as_str()).count() as f64;
            (count > 0.0).then(|| sum + count * 2.2 / (count + 1.2 * length))
        })
    }
}

/// The best hits so far.
#[derive(Debug)]
pub(crate) struct Hits {
    topic: Topic,
    hits_max: usize,
    matched: u64,
    best: Vec<Hit>,
}

impl Hits {
    /// None yet; `hits_max` will be kept.
    pub(crate) fn new(topic: Topic, hits_max: usize) -> Self {
        Self { topic, hits_max, matched: 0, best: Vec::new() }
    }

    /// Takes a file into account.
    pub(crate) fn look_at(&mut self, path: &str, text: &str) {
        let Some(score) = self.topic.score(text) else { return };
        self.matched += 1;
        self.best.push(Hit { path: path.to_owned(), digest: digest(text), score });
        // Sorted now and then, so that memory stays bounded by what is kept.
        if self.best.len() >= 2 * self.hits_max + 64 {
            self.keep_best();
        }
    }

    fn keep_best(&mut self) {
        self.best.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.path.cmp(&b.path)));
        self.best.truncate(self.hits_max);
    }

    /// How many files matched, and the best of them, the best first.
    pub(crate) fn finish(mut self) -> (u64, Vec<Hit>) {
        self.keep_best();
        (self.matched, self.best)
    }
}

/// Names a text: blake3, in hexadecimal.
pub(crate) fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(topic: &str, text: &str) -> Option<f64> {
        Topic::parse(topic).unwrap().score(text)
    }

    #[test]
    fn every_word_must_be_there_in_whatever_case() {
        assert!(score("Atomic ordering", "AtomicUsize, Ordering::Relaxed").is_some());
        assert!(score("atomic ordering", "AtomicUsize").is_none());
    }

    #[test]
    fn more_uses_count_more_and_longer_files_less() {
        let few = "lock ".repeat(2) + &"x".repeat(1000);
        let many = "lock ".repeat(20) + &"x".repeat(910);
        let long = "lock ".repeat(20) + &"x".repeat(100_000);
        assert!(score("lock", &many) > score("lock", &few));
        assert!(score("lock", &many) > score("lock", &long));
    }

    #[test]
    fn the_best_are_kept_with_equal_ones_in_order_of_their_names() {
        let mut hits = Hits::new(Topic::parse("lock").unwrap(), 3);
        for index in (0..200).rev() {
            hits.look_at(&format!("{index:03}"), "lock");
        }
        hits.look_at("other", "key");
        hits.look_at("best", "lock lock");
        let (matched, best) = hits.finish();
        assert_eq!(matched, 201);
        assert_eq!(best.iter().map(|hit| hit.path.as_str()).collect::<Vec<_>>(), ["best", "000", "001"]);
    }

    #[test]
    fn a_topic_has_words() {
        assert!(Topic::parse(" \n").is_err());
    }
}
