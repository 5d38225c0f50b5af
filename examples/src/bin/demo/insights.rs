//! What many summaries say together: the themes they share, each with its files and a sentence.
//!
//! Pure; the last trace of the pipeline.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::summary::Summary;
use crate::words;

/// A file and its summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileSummary {
    /// Below the directory.
    pub(crate) path: String,
    /// The idempotency key under which the service was asked.
    pub(crate) key: String,
    pub(crate) summary: Summary,
}

/// What the summaries say together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Insights {
    /// The idempotency key of the trace that drew them.
    pub(crate) key: String,
    pub(crate) file_count: u64,
    /// The most telling first.
    pub(crate) themes: Vec<Theme>,
}

/// A word that several files are about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Theme {
    pub(crate) word: String,
    /// How many of the files are about it.
    pub(crate) file_count: u64,
    /// The file that uses it most.
    pub(crate) path: String,
    /// What that file says about it, if its summary does.
    pub(crate) sentence: Option<String>,
}

/// The six biggest themes: what fits on a screen.
const THEME_COUNT_MAX: usize = 6;

/// Draws the insights from summaries. The words of the topic itself are no theme.
pub(crate) fn insights(key: String, topic: &str, summaries: &[FileSummary]) -> Insights {
    let asked: Vec<String> = topic.split_whitespace().map(str::to_ascii_lowercase).collect();
    let mut users: BTreeMap<&str, Vec<(u32, &FileSummary)>> = BTreeMap::new();
    for file in summaries {
        // A file is about a word that it uses much and says something about.
        let said: BTreeSet<String> =
            file.summary.sentences.iter().flat_map(|sentence| words::words(sentence)).collect();
        for term in file.summary.terms.iter().filter(|term| said.contains(&term.word)) {
            if !asked.iter().any(|word| word.contains(&term.word) || term.word.contains(word.as_str())) {
                users.entry(&term.word).or_default().push((term.count, file));
            }
        }
    }
    // A word of one file is that file's own; one of all files tells none from another. The product is largest between.
    let count = summaries.len().max(1) as f64;
    let weight = |files: usize| files as f64 * (1.0 + (count / files as f64).ln());
    let mut themes: Vec<(&str, Vec<(u32, &FileSummary)>)> = users.into_iter().collect();
    themes.sort_by(|a, b| weight(b.1.len()).total_cmp(&weight(a.1.len())).then_with(|| a.0.cmp(b.0)));
    let mut quoted = Vec::new();
    let themes = themes.into_iter().take(THEME_COUNT_MAX).filter_map(|(word, mut files)| {
        files.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.path.cmp(&b.1.path)));
        // What its heaviest user says, unless another theme has quoted it.
        let says = files.iter().find_map(|(_, file)| {
            let about =
                |sentence: &&String| words::words(sentence).any(|other| other == word) && !quoted.contains(*sentence);
            file.summary.sentences.iter().find(about).map(|sentence| (*file, sentence.clone()))
        });
        quoted.extend(says.iter().map(|(_, sentence)| sentence.clone()));
        let (file, sentence) = match says {
            Some((file, sentence)) => (file, Some(sentence)),
            None => (files.first()?.1, None),
        };
        Some(Theme { word: word.to_owned(), file_count: files.len() as u64, path: file.path.clone(), sentence })
    });
    Insights { key, themes: themes.collect(), file_count: summaries.len() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::summarize;

    fn file(path: &str, text: &str) -> FileSummary {
        FileSummary { path: path.to_owned(), key: String::new(), summary: summarize(text) }
    }

    #[test]
    fn themes_are_the_words_that_files_share() {
        let files = [
            file("a", "The lock is fair to every thread. Lock."),
            file("b", "A lock that spins forever is bad. Lock, lock, lock, lock."),
            file("c", "Trees grow in the deep forest."),
        ];
        let insights = insights("key".into(), "thread", &files);
        assert_eq!(insights.file_count, 3);
        let theme = &insights.themes[0];
        assert_eq!((theme.word.as_str(), theme.file_count, theme.path.as_str()), ("lock", 2, "b"));
        assert_eq!(theme.sentence.as_deref(), Some("A lock that spins forever is bad."));
        assert!(insights.themes.iter().all(|theme| theme.word != "thread"));
    }

    #[test]
    fn no_summaries_have_no_themes() {
        assert!(insights(String::new(), "a", &[]).themes.is_empty());
    }
}
