//! Text that fits: escaped, measured in columns, cut, padded.
//!
//! Used by everything that is drawn.
//!
//! Invariant: what comes out of [`escaped`] moves no cursor and breaks no line.

use std::fmt::{self, Write as _};

use relive_engine::printable::{WrittenOut, is_unsafe};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Longest text that is made of a payload before it is cut to its place: 4,096 bytes, more than a line ever shows.
const EXCERPT_BYTES: usize = 4096;

/// Text with its control characters written out, as payloads have them.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // A `String` takes everything.
            c if is_unsafe(c) => drop(write!(safe, "{}", WrittenOut(c))),
            c => safe.push(c),
        }
    }
    safe
}

/// A message of several lines, escaped but for where they end. All but the first are indented, so that no text in one can
/// pass for a line of ours.
pub(crate) fn escaped_lines(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (index, line) in text.trim_end_matches('\n').split('\n').enumerate() {
        if index > 0 {
            safe.push_str(if line.starts_with("  ") { "\n" } else { "\n  " });
        }
        safe.push_str(&escaped(line));
    }
    safe
}

/// How many columns a text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// The beginning of a text, with `…` if it is longer than so many columns.
pub(crate) fn cut(text: &str, columns_max: usize) -> String {
    if columns(text) <= columns_max {
        return text.to_owned();
    }
    let mut short = head(text, columns_max.saturating_sub(1));
    if columns_max > 0 {
        short.push('…');
    }
    short
}

/// The end of a text, with `…` before it if it is longer than so many columns.
pub(crate) fn cut_front(text: &str, columns_max: usize) -> String {
    if columns(text) <= columns_max || columns_max == 0 {
        return cut(text, columns_max);
    }
    format!("…{}", tail(text, columns_max - 1))
}

/// Beginning and end of a text, with `…` between if it is longer than so many columns: of two long paths, what differs
/// is at the end.
pub(crate) fn cut_middle(text: &str, columns_max: usize) -> String {
    if columns(text) <= columns_max || columns_max < 8 {
        return cut(text, columns_max);
    }
    let tail_columns = (columns_max - 1) / 2;
    format!("{}…{}", head(text, columns_max - 1 - tail_columns), tail(text, tail_columns))
}

fn tail(text: &str, columns_max: usize) -> &str {
    let mut used = 0;
    let starts = text.char_indices().rev().take_while(|(_, character)| {
        used += character.width().unwrap_or(0);
        used <= columns_max
    });
    starts.last().map_or("", |(at, _)| &text[at..])
}

fn head(text: &str, columns_max: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|character| {
            used += character.width().unwrap_or(0);
            used <= columns_max
        })
        .collect()
}

/// A text in lines of at most so many columns; the last line there may be ends in `…` if there is more.
pub(crate) fn wrapped(text: &str, columns_max: usize, lines_max: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && lines.len() < lines_max {
        if lines.len() + 1 == lines_max {
            lines.push(cut(rest, columns_max));
            break;
        }
        let mut line = head(rest, columns_max);
        if line.is_empty() {
            // Not even one character fits: better too wide than never done.
            line.extend(rest.chars().next());
        }
        rest = &rest[line.len()..];
        lines.push(line);
    }
    lines
}

/// A text with spaces behind it, up to so many columns.
pub(crate) fn padded(text: &str, columns_min: usize) -> String {
    format!("{text}{:1$}", "", columns_min.saturating_sub(columns(text)))
}

/// A text with spaces before it, up to so many columns.
pub(crate) fn right(text: &str, columns_min: usize) -> String {
    format!("{:1$}{text}", "", columns_min.saturating_sub(columns(text)))
}

/// What `value` prints, if that is short; else its beginning, and `false`. The rest is not even formatted.
pub(crate) fn excerpt(value: &dyn fmt::Display) -> (String, bool) {
    struct Bounded(String);

    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.push_str(text);
            if self.0.len() > EXCERPT_BYTES { Err(fmt::Error) } else { Ok(()) }
        }
    }

    let mut bounded = Bounded(String::new());
    let whole = write!(bounded, "{value}").is_ok();
    (bounded.0, whole)
}

/// What `value` prints, cut to its beginning; always with `…` where something is missing.
pub(crate) fn cut_display(value: &dyn fmt::Display, columns_max: usize) -> String {
    let (mut text, whole) = excerpt(value);
    if !whole {
        text.push('…');
    }
    cut(&text, columns_max)
}

/// `TraceStarted` → `trace_started`: names in JSON.
pub(crate) fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, character) in name.chars().enumerate() {
        if character.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// `n thing` or `n things`, with a comma between thousands.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    format!("{} {thing}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// A number with a comma between thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_fits_its_columns_also_where_characters_are_wide() {
        for text in ["", "abc", "abcdefghijklmnop", "漢字漢字漢字漢字漢字", "äöü\u{301}äöüäöüäöü"]
        {
            for columns_max in 0..20 {
                assert!(columns(&cut(text, columns_max)) <= columns_max, "{text} {columns_max}");
                assert!(columns(&cut_middle(text, columns_max)) <= columns_max, "{text} {columns_max}");
                assert!(columns(&cut_front(text, columns_max)) <= columns_max, "{text} {columns_max}");
            }
        }
        assert_eq!(cut_front("src/deep/lib.rs:7", 9), "…lib.rs:7");
        assert_eq!(cut_middle("/a/very/long/path/to/lib.rs", 16), "/a/very/…/lib.rs");
    }

    #[test]
    fn wrapped_text_is_whole_or_says_that_it_is_not() {
        assert_eq!(wrapped("abcdefgh", 3, 9), ["abc", "def", "gh"]);
        assert_eq!(wrapped("abcdefgh", 3, 2), ["abc", "de…"]);
        assert_eq!(wrapped("漢字", 1, 9), ["漢", "字"]);
        assert!(wrapped("", 3, 9).is_empty());
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(escaped("a\u{1b}[2J\n\u{9b}\u{202e}"), "a\\u001b[2J\\n\\u009b\\u202e");
        assert_eq!(escaped_lines("a\u{1b}\n  b\nrelive: c\r\n"), "a\\u001b\n  b\n  relive: c\\r");
    }

    #[test]
    fn a_huge_value_is_not_formatted_to_its_end() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("abc")?;
                }
            }
        }
        assert_eq!(cut_display(&Endless, 5), "abca…");
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(snake("TraceStarted"), "trace_started");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(counted(1, "trace"), "1 trace");
    }
}
