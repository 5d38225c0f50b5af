//! An extractive summary: the sentences of a text that say most about it.
//!
//! Pure; the service calls it. Prose is taken from comments in source code and from plain text alike. A sentence scores by
//! how often the rest of the text uses its words (Luhn, "The automatic creation of literature abstracts", 1958), with a
//! little more for one that stands early; one that repeats a better one is passed over.
//!
//! Invariant: the same text gives the same summary, and every sentence of a summary is in the text.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::words;

/// What a text is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The best sentences, in the text's order. Empty if it has none, not even a declaration.
    pub(crate) sentences: Vec<String>,
    /// The words it uses most, the most frequent first.
    pub(crate) terms: Vec<Term>,
}

/// A word and how often a text uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Term {
    pub(crate) word: String,
    pub(crate) count: u32,
}

/// A summary has three sentences at most: what fits on a screen beside others.
const SENTENCE_COUNT_MAX: usize = 3;

/// A summary has twelve terms at most.
const TERM_COUNT_MAX: usize = 12;

/// Shorter sentences are headings, longer ones are tables and lists. In words.
const SENTENCE_WORDS: std::ops::RangeInclusive<usize> = 5..=30;

/// Two sentences that share more than half of their words say the same.
const OVERLAP_MAX: f64 = 0.5;

/// Summarizes a text.
pub(crate) fn summarize(text: &str) -> Summary {
    let frequencies = words::frequencies(text);
    let mut candidates: Vec<String> = paragraphs(text).iter().flat_map(|paragraph| sentences(paragraph)).collect();
    if candidates.is_empty() {
        candidates = declarations(text);
    }
    let mut terms: Vec<Term> = frequencies.iter().map(|(word, &count)| Term { word: word.clone(), count }).collect();
    terms.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.word.cmp(&b.word)));
    terms.truncate(TERM_COUNT_MAX);
    Summary { sentences: best(candidates, &frequencies), terms }
}

/// The sentences that score highest, less those that repeat a better one, in the order of the text.
fn best(candidates: Vec<String>, frequencies: &BTreeMap<String, u32>) -> Vec<String> {
    let count = candidates.len() as f64;
    let mut scored: Vec<(f64, usize, BTreeSet<String>)> = candidates
        .iter()
        .enumerate()
        .map(|(index, sentence)| {
            let words: BTreeSet<String> = words::words(sentence).collect();
            let weight: f64 =
                words.iter().map(|word| f64::from(frequencies.get(word).copied().unwrap_or(0)).ln_1p()).sum();
            // By the square root of its length: by the sum the longest would always win, by the mean the shortest.
            let early = 1.25 - 0.25 * index as f64 / count;
            (early * weight / (words.len().max(1) as f64).sqrt(), index, words)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut chosen: Vec<(usize, &BTreeSet<String>)> = Vec::new();
    for (_, index, words) in &scored {
        if chosen.len() < SENTENCE_COUNT_MAX && chosen.iter().all(|(_, other)| overlap(words, other) <= OVERLAP_MAX) {
            chosen.push((*index, words));
        }
    }
    let chosen: BTreeSet<usize> = chosen.iter().map(|(index, _)| *index).collect();
    candidates.into_iter().enumerate().filter(|(index, _)| chosen.contains(index)).map(|(_, text)| text).collect()
}

/// The share of words that two sentences have in common: 0 to 1.
fn overlap(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let shared = a.intersection(b).count() as f64;
    shared / ((a.len() + b.len()) as f64 - shared).max(1.0)
}

/// The prose of a text: its comments, and lines that are no code. Code examples in comments are left out.
fn paragraphs(text: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    let (mut fenced, mut block) = (false, false);
    for line in text.lines() {
        let line = line.trim();
        let comment = comment(line, block);
        block = (block || line.starts_with("/*")) && !line.contains("*/");
        let prose = comment.unwrap_or(line).trim();
        if prose.starts_with("```") || prose.starts_with("~~~") {
            fenced = !fenced;
        }
        let ends = prose.is_empty() || fenced || prose.starts_with("```") || comment.is_none() && is_code(line);
        let begins = ["- ", "* ", "+ ", "#", "@", "\\", "|", "["].iter().any(|mark| prose.starts_with(mark));
        if (ends || begins) && paragraphs.last().is_some_and(|last| !last.is_empty()) {
            paragraphs.push(String::new());
        }
        if !ends && let Some(last) = paragraphs.last_mut() {
            last.push_str(prose.trim_start_matches(['-', '*', '+', '#', ' ']));
            last.push(' ');
        }
    }
    paragraphs.retain(|paragraph| !is_boilerplate(paragraph));
    paragraphs
}

/// What a comment line says; `None` if the line is none. `block` says that it stands inside `/* … */`.
fn comment(line: &str, block: bool) -> Option<&str> {
    let marks = ["//!", "///", "//", "/**", "/*", "# ", ";; ", "-- ", "\"\"\""];
    let stripped = marks.iter().find_map(|mark| line.strip_prefix(mark));
    let stripped = stripped.or_else(|| block.then(|| line.strip_prefix('*').unwrap_or(line)));
    stripped.map(|rest| rest.trim_end_matches("*/"))
}

/// Whether a line that is no comment looks like a program's.
fn is_code(line: &str) -> bool {
    const ENDS: &[char] = &[';', '{', '}', '(', ')', ',', '\\', '>', ']', '=', '|', '&', '*'];
    const INSIDE: &[&str] = &["::", "->", "=>", " = ", "==", "();", "&&", "||", "<<", "</", "#[", "#!", "://"];
    line.ends_with(ENDS) || INSIDE.iter().any(|mark| line.contains(mark))
}

/// Licences and credits stand in every file and say nothing about it.
fn is_boilerplate(paragraph: &str) -> bool {
    const MARKS: &[&str] = &[
        "copyright",
        "license",
        "licence",
        "spdx",
        "all rights reserved",
        "warranty",
        "redistribut",
        "permission is hereby",
    ];
    let lower = paragraph.to_ascii_lowercase();
    MARKS.iter().any(|mark| lower.contains(mark))
}

/// The sentences of a paragraph: those that are of ordinary length and mostly letters.
fn sentences(paragraph: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut rest = paragraph;
    while !rest.is_empty() {
        let end = rest
            .match_indices(['.', '!', '?'])
            .map(|(at, mark)| at + mark.len())
            .find(|&at| rest[at..].starts_with(' ') && !ABBREVIATIONS.iter().any(|word| rest[..at].ends_with(word)));
        let (sentence, after) = rest.split_at(end.unwrap_or(rest.len()));
        let sentence = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
        if is_sentence(&sentence) {
            sentences.push(sentence);
        }
        rest = after;
    }
    sentences
}

/// Not the end of a sentence.
const ABBREVIATIONS: &[&str] = &["e.g.", "i.e.", "etc.", "vs.", "cf.", " al."];

fn is_sentence(text: &str) -> bool {
    let letters = text.chars().filter(|character| character.is_alphabetic() || *character == ' ').count();
    let starts = text.chars().next().is_some_and(|first| first.is_uppercase() || first == '`');
    starts
        && text.ends_with(['.', '!', '?', ':'])
        && SENTENCE_WORDS.contains(&text.split(' ').count())
        && letters * 10 >= text.chars().count() * 8
}

/// Lines of source code that declare something, for a file without a word of prose.
fn declarations(text: &str) -> Vec<String> {
    const WORDS: &[&str] =
        &["fn", "struct", "enum", "trait", "impl", "class", "def", "function", "func", "interface", "type", "typedef"];
    let declares = |line: &&str| line.split_whitespace().take(4).any(|word| WORDS.contains(&word));
    let lines = text.lines().map(str::trim).filter(|line| (8..=160).contains(&line.len())).filter(declares);
    lines.map(|line| line.trim_end_matches(['{', ' ']).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
// Copyright (c) Somebody. All rights reserved. This file is a queue with a licence that repeats queue, queue and queue.

//! A bounded queue of many producers
//! and one consumer. It never blocks.
//!
//! ```
//! let queue = Queue::new(This is no sentence of the summary.);
//! ```

use std::sync::atomic::AtomicUsize;

/// Pushes an element to the back of the queue, unless the queue is full.
pub fn push(queue: &Queue, element: Element) -> bool { queue.push_element(element) }

/* An element of the queue is popped from the front of the queue by its only consumer.
 * Weather is nice here today in this town. */
pub fn pop(queue: &Queue) -> Option<Element> { queue.pop_element() }
"#;

    #[test]
    fn sentences_that_use_the_texts_own_words_are_chosen_in_their_order() {
        let summary = summarize(SOURCE);
        assert_eq!(
            summary.sentences,
            [
                "A bounded queue of many producers and one consumer.",
                "Pushes an element to the back of the queue, unless the queue is full.",
                "An element of the queue is popped from the front of the queue by its only consumer.",
            ]
        );
        assert_eq!(summary.terms[0].word, "queue");
    }

    #[test]
    fn plain_text_is_summarized_too() {
        let text =
            "Rain fell on the town. The rain filled the river, and the river rose.\n\nNobody saw e.g. the bridge fall.";
        let summary = summarize(text);
        assert!(
            summary.sentences.contains(&"The rain filled the river, and the river rose.".to_owned()),
            "{summary:?}"
        );
        assert!(summary.sentences.contains(&"Nobody saw e.g. the bridge fall.".to_owned()), "{summary:?}");
    }

    #[test]
    fn a_sentence_that_repeats_another_is_passed_over() {
        let summary = summarize(
            "The lock guards the queue well.\n\nThe lock guards the queue well.\n\nSpin loops burn a processor.",
        );
        assert_eq!(summary.sentences.len(), 2);
    }

    #[test]
    fn code_without_prose_is_told_by_its_declarations() {
        let summary = summarize("pub struct Lock { held: bool }\nfn acquire(lock: &Lock) {\n    spin();\n}\n");
        assert_eq!(summary.sentences, ["pub struct Lock { held: bool }", "fn acquire(lock: &Lock)"]);
    }

    #[test]
    fn a_text_without_words_has_an_empty_summary() {
        assert_eq!(summarize(""), Summary::default());
        assert_eq!(summarize("1 2 3 \u{1f600} …\n///\n//"), Summary::default());
    }

    #[test]
    fn every_sentence_is_in_the_text() {
        let words_of = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let text = include_str!("summary.rs");
        let all = words_of(&text.replace("//!", "").replace("///", "").replace("//", "")).join(" ");
        for sentence in summarize(text).sentences {
            assert!(all.contains(&sentence), "{sentence}");
        }
    }
}
