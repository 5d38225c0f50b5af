//! Text as words: what a file is about, told by its identifiers and its prose alike.
//!
//! Used by the summary and the insights.

use std::collections::BTreeMap;

/// The words of a text in lower case, names taken apart: `fetch_addAll` is fetch, add, all. Words that every program or
/// every English sentence has are left out, as are those of under 3 or over 24 letters.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_ascii_alphabetic()).flat_map(humps).filter_map(|word| {
        let word = word.to_ascii_lowercase();
        ((3..=24).contains(&word.len()) && STOP_WORDS.binary_search(&&*word).is_err()).then_some(word)
    })
}

/// How often each word is used.
pub(crate) fn frequencies(text: &str) -> BTreeMap<String, u32> {
    let mut frequencies = BTreeMap::new();
    for word in words(text) {
        *frequencies.entry(word).or_insert(0) += 1;
    }
    frequencies
}

/// Splits before each capital that follows a small letter: `AtomicUsize` is Atomic, Usize.
fn humps(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = rest.as_bytes();
        let end = (1..bytes.len()).find(|&at| bytes[at].is_ascii_uppercase() && bytes[at - 1].is_ascii_lowercase());
        let (hump, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(hump)
    })
}

/// English words and keywords of programming languages that say nothing about a file. Sorted.
#[rustfmt::skip]
const STOP_WORDS: &[&str] = &[
    "able", "about", "above", "abstract", "actually", "after", "again", "all", "allow", "allows", "already", "also",
    "always", "and", "another", "any", "are", "arg", "args", "argument", "arguments", "assert", "async", "auto",
    "await", "back", "because", "been", "before", "being", "below", "between", "bool", "both", "break", "but", "call",
    "called", "calling", "calls", "can", "cannot", "case", "cases", "catch", "cfg", "char", "class", "code", "com",
    "const", "constexpr", "continue", "copyright", "could", "crate", "current", "data", "debug", "def", "default",
    "define", "defined", "derive", "did", "different", "do", "doc", "does", "doesn", "doing", "don", "done", "double",
    "due", "each", "either", "elif", "else", "end", "endif", "enum", "eq", "err", "error", "even", "every", "example",
    "examples", "explicit", "export", "extern", "false", "feature", "file", "files", "final", "first", "float",
    "following", "for", "from", "func", "function", "functions", "get", "give", "given", "has", "have", "here", "how",
    "however", "http", "https", "ifdef", "ifndef", "impl", "import", "include", "index", "info", "inline", "input",
    "instead", "int", "interface", "into", "its", "itself", "just", "lambda", "last", "len", "length", "let",
    "license", "like", "line", "list", "long", "loop", "made", "make", "makes", "many", "match", "may", "method",
    "might", "mod", "module", "more", "most", "move", "much", "must", "mut", "name", "names", "namespace", "need",
    "needed", "needs", "new", "next", "none", "not", "note", "nothing", "now", "null", "nullptr", "number", "object",
    "once", "one", "only", "onto", "operator", "option", "options", "org", "other", "our", "out", "output", "over",
    "own", "package", "param", "pass", "passed", "possible", "private", "protected", "ptr", "pub", "public", "read",
    "ref", "return", "returned", "returns", "safe", "same", "see", "self", "set", "should", "signed", "since", "size",
    "sizeof", "some", "source", "src", "start", "static", "std", "still", "str", "string", "struct", "such", "super",
    "switch", "take", "takes", "template", "test", "tests", "than", "that", "the", "their", "them", "then", "there",
    "these", "they", "this", "those", "through", "throw", "time", "todo", "too", "trait", "true", "try", "two", "type",
    "typedef", "typename", "types", "under", "union", "unsafe", "unsigned", "until", "use", "used", "user", "uses",
    "using", "usize", "value", "values", "var", "variable", "vec", "version", "very", "via", "virtual", "void", "want",
    "was", "way", "were", "what", "when", "where", "whether", "which", "while", "who", "will", "with", "within",
    "without", "would", "write", "yet", "yield", "you", "your",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_common_words_left_out() {
        let words: Vec<String> = words("let the AtomicUsize = fetch_add(x); // HTTPServer, größe").collect();
        assert_eq!(words, ["atomic", "fetch", "add", "httpserver"]);
    }

    #[test]
    fn stop_words_are_found() {
        assert!(words(&STOP_WORDS.join(" ")).next().is_none());
    }

    #[test]
    fn words_are_counted() {
        assert_eq!(frequencies("lock Lock unlock"), BTreeMap::from([("lock".into(), 2), ("unlock".into(), 1)]));
    }
}
