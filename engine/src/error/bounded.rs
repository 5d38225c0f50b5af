//! What errors say, in bounds: a message is written by a type of the user's, which may write without end, or panic.
//!
//! Used wherever an error becomes a record, so that any error can be recorded, and a body meets the same one live and replayed.
//!
//! Invariant: what was cut once is not cut again.

use std::error::Error as StdError;
use std::fmt::{self, Display, Write as _};
use std::panic::resume_unwind;

use crate::panic::catch;

/// Longest message of an error that is recorded, in bytes: 64 KiB, some thousand lines. A log is for what happened; bulk data
/// belongs elsewhere.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Longest message of a source: 16 KiB, so that all of them take half a MiB at most, and a record of an error always fits.
pub const SOURCE_BYTES_MAX: usize = 16 << 10;

/// Longest chain of sources that is recorded: 32, far beyond what people write. Also against chains that close a circle.
pub const SOURCES_MAX: usize = 32;

/// How many further sources are counted.
const SOURCES_COUNTED_MAX: usize = 10_000;

/// How much of a text that is too long is counted before its writer is stopped: 16 MiB.
const COUNTED_BYTES_MAX: usize = 16 << 20;

/// What the words begin with that say how much was left out.
const NOTE_BEGINS: &str = "… (cut: ";

/// What they end with.
const NOTE_ENDS: &str = " more bytes are not recorded)";

/// Room for the words that say how much was left out.
const NOTE_BYTES_MAX: usize = 64;

/// How often a writer that was stopped may go on writing, before it is left by unwinding.
const IGNORED_MAX: u32 = 1000;

/// A message, cut to [`MESSAGE_BYTES_MAX`] with a word that says so.
pub fn cut(text: String) -> String {
    cut_to(text, MESSAGE_BYTES_MAX)
}

/// What a panic said, cut so that words that name it fit beside it.
pub(crate) fn cut_panic(text: String) -> String {
    cut_to(text, MESSAGE_BYTES_MAX - 1024)
}

pub(crate) fn cut_source(text: String) -> String {
    cut_to(text, SOURCE_BYTES_MAX)
}

/// A text of at most so many bytes, which are at least [`NOTE_BYTES_MAX`], with a word that says what was left out.
pub(crate) fn cut_to(mut text: String, bytes_max: usize) -> String {
    let bytes = text.len();
    if bytes > bytes_max {
        text.truncate(floor(&text, bytes_max - NOTE_BYTES_MAX));
        let left_out = bytes - text.len();
        text.push_str(&note(left_out, ""));
        text.shrink_to_fit();
    }
    text
}

/// The last place between two characters that is not behind this one.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn note(left_out: usize, more_than: &str) -> String {
    format!("{NOTE_BEGINS}{more_than}{left_out}{NOTE_ENDS}")
}

/// Whether a text is this whole one with some of its middle left out, as the word in it says.
pub(crate) fn is_cut_of(text: &str, whole: &str) -> bool {
    let Some((kept, rest)) = text.rsplit_once(NOTE_BEGINS) else { return false };
    let Some((left_out, rest)) = rest.split_once(NOTE_ENDS) else { return false };
    let Ok(left_out) = left_out.parse::<usize>() else { return false };
    whole.len().checked_sub(left_out) == Some(kept.len() + rest.len())
        && whole.starts_with(kept)
        && whole.ends_with(rest)
}

/// What an error's `Display` writes, as a message that can be recorded.
pub fn displayed(value: &(impl Display + ?Sized)) -> String {
    written("Display", MESSAGE_BYTES_MAX, |out| write!(out, "{value}"))
}

/// What an error's `Debug` writes, as a message that can be recorded.
pub fn debugged(value: &(impl fmt::Debug + ?Sized)) -> String {
    written("Debug", MESSAGE_BYTES_MAX, |out| write!(out, "{value:?}"))
}

fn written(of: &str, bytes_max: usize, write: impl FnOnce(&mut Bounded) -> fmt::Result) -> String {
    let mut out = Bounded { text: String::new(), bytes: 0, bytes_max, ignored: 0 };
    let result = catch(|| write(&mut out));
    let Bounded { mut text, bytes, .. } = out;
    if bytes > bytes_max {
        let left_out = bytes - text.len();
        text.push_str(&note(left_out, if bytes > COUNTED_BYTES_MAX { "more than " } else { "" }));
        return text;
    }
    let why = match result {
        Ok(Ok(())) => return text,
        Ok(Err(_)) => format!("(its {of} failed)"),
        Err(why) => format!("(its {of} panicked: {why})"),
    };
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(&why);
    cut_to(text, bytes_max)
}

/// Keeps the beginning of what is written and counts the rest, for a while.
struct Bounded {
    text: String,
    /// All that was written.
    bytes: usize,
    bytes_max: usize,
    ignored: u32,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.bytes > COUNTED_BYTES_MAX {
            self.ignored += 1;
            if self.ignored > IGNORED_MAX {
                // It does not mind the error, and may write for ever.
                resume_unwind(Box::new("it does not stop"));
            }
            return Err(fmt::Error);
        }
        if self.bytes <= self.bytes_max {
            let room = self.bytes_max - self.text.len();
            self.text.push_str(&part[..floor(part, room)]);
        }
        self.bytes = self.bytes.saturating_add(part.len());
        if self.bytes > self.bytes_max {
            self.text.truncate(floor(&self.text, self.bytes_max - NOTE_BYTES_MAX));
        }
        if self.bytes > COUNTED_BYTES_MAX { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The messages of a chain of sources, nearest first: at most [`SOURCES_MAX`], of which the last says how many are left out, if
/// any are.
pub(crate) fn sources_of(source: Option<&(dyn StdError + 'static)>) -> Vec<String> {
    let mut messages = Vec::new();
    let mut next = source;
    while let Some(error) = next {
        messages.push(written("Display", SOURCE_BYTES_MAX, |out| write!(out, "{error}")));
        next = match catch(|| error.source()) {
            Ok(source) => source,
            Err(why) => {
                messages.push(cut_source(format!("(its source() panicked: {why})")));
                None
            }
        };
        if messages.len() > SOURCES_MAX {
            messages.truncate(SOURCES_MAX - 1);
            messages.push(left_out(2, next));
            break;
        }
    }
    messages
}

fn left_out(mut count: usize, mut next: Option<&(dyn StdError + 'static)>) -> String {
    while let Some(error) = next {
        count += 1;
        if count >= SOURCES_COUNTED_MAX {
            return format!("(more than {count} further sources are not recorded)");
        }
        next = catch(|| error.source()).unwrap_or(None);
    }
    format!("({count} further sources are not recorded)")
}

/// Messages of sources that are at hand, in the same bounds.
pub(crate) fn cut_sources(sources: &mut Vec<String>) {
    if sources.len() > SOURCES_MAX {
        let count = sources.len() - (SOURCES_MAX - 1);
        sources.truncate(SOURCES_MAX - 1);
        sources.push(format!("({count} further sources are not recorded)"));
    }
    for source in sources.iter_mut().filter(|source| source.len() > SOURCE_BYTES_MAX) {
        *source = cut_source(std::mem::take(source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Repeated(&'static str, usize);

    impl Display for Repeated {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            (0..self.1).try_for_each(|_| f.write_str(self.0))
        }
    }

    #[test]
    fn a_message_is_cut_between_characters_and_says_how_much_is_left_out() {
        for times in [0, 1, 21_845, 21_846, 30_000, 2_000_000] {
            let (whole, cut_later) = (displayed(&Repeated("€", times)), cut("€".repeat(times)));
            assert_eq!(whole, cut_later, "{times}");
            assert!(whole.len() <= MESSAGE_BYTES_MAX);
            assert_eq!(cut(whole.clone()), whole);
            if times * 3 > MESSAGE_BYTES_MAX {
                let kept = whole.chars().take_while(|character| *character == '€').count();
                assert!(whole.contains(&format!(" {} more bytes", (times - kept) * 3)), "{times}");
            } else {
                assert_eq!(whole, "€".repeat(times));
            }
        }
    }

    #[test]
    fn what_was_cut_is_known_by_what_is_left_of_it() {
        let text = "ä".repeat(40_000);
        let (whole, cut) = (format!("why: {text} at x.rs:1:2"), format!("why: {} at x.rs:1:2", cut_panic(text)));
        assert!(is_cut_of(&cut, &whole));
        for other in [whole.replacen('ä', "ö", 1), whole.replace("1:2", "1:3"), format!("{whole}!"), cut.clone()] {
            assert!(!is_cut_of(&cut, &other));
        }
        assert!(!is_cut_of("short", "short"));
    }

    /// Writes for ever, and minds no error.
    struct Endless;

    impl Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                let _ = f.write_str("0123456789abcdef");
            }
        }
    }

    /// Fails, or panics, half way.
    struct Broken(bool);

    impl Display for Broken {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            assert!(!self.0, "no words");
            Err(fmt::Error)
        }
    }

    #[test]
    fn a_display_that_does_not_end_or_breaks_is_recorded_as_far_as_it_came() {
        let endless = displayed(&Endless);
        assert!(endless.len() <= MESSAGE_BYTES_MAX && endless.contains("(cut: more than 16"), "{}", endless.len());
        assert_eq!(displayed(&Broken(false)), "half (its Display failed)");
        let panicked = displayed(&Broken(true));
        assert!(panicked.starts_with("half (its Display panicked: no words at "), "{panicked}");
    }

    #[derive(Debug)]
    struct Chain(usize, Option<Box<Chain>>);

    impl Display for Chain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0)
        }
    }

    impl StdError for Chain {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|next| next as _)
        }
    }

    #[test]
    fn a_long_chain_of_sources_says_how_many_are_left_out() {
        for length in [1, 31, 32, 33, 34, 100] {
            let chain = (0..length).rev().fold(None, |next, number| Some(Box::new(Chain(number, next))));
            let messages = sources_of(chain.as_deref().map(|first| first as _));
            assert!(messages.len() <= SOURCES_MAX, "{length}");
            let mut at_hand: Vec<_> = (0..length).map(|number| number.to_string()).collect();
            cut_sources(&mut at_hand);
            assert_eq!(messages, at_hand, "{length}");
        }
    }
}
