//! Names and places in logs that the program itself holds: read without a copy of their own.
//!
//! Most of a log's starts are of the few traces that the body under replay calls, so each of their names and files would
//! be copied once for every event, to be compared with the very text in the program and thrown away. Noted by
//! `replay` when the body calls a trace; asked by `codec` and the events' `Deserialize`.
//!
//! Invariant: what is read is the text in the log; only where it stands in memory differs.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{Deserializer, Error, Visitor};

/// How many texts a thread knows: the names and files of some eight traces. The oldest goes first.
const COUNT: usize = 16;

thread_local! {
    static KNOWN: Cell<([&'static str; COUNT], usize)> = const { Cell::new(([""; COUNT], 0)) };
}

/// Notes a text of the program's, for what this thread reads from here on.
pub(crate) fn note(text: &Cow<'static, str>) {
    let Cow::Borrowed(text) = *text else { return };
    KNOWN.with(|known| {
        let (mut texts, next) = known.get();
        if !texts.iter().any(|held| std::ptr::eq(*held, text)) {
            texts[next] = text;
            known.set((texts, (next + 1) % COUNT));
        }
    });
}

/// A text that was read: the program's own, if it is known.
pub(crate) fn text(text: &str) -> Cow<'static, str> {
    let held = KNOWN.with(|known| known.get().0.into_iter().find(|held| *held == text));
    held.map_or_else(|| Cow::Owned(text.to_owned()), Cow::Borrowed)
}

/// Reads a text.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'static, str>, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Cow<'static, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(self::text(text))
        }

        fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text))
        }
    }

    deserializer.deserialize_str(Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_one_that_was_read_wherever_it_stands() {
        const NAMES: [&str; 20] =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];
        for name in NAMES {
            note(&Cow::Borrowed(name));
            note(&Cow::Borrowed(name));
        }
        let is_held = NAMES.map(|name| {
            let read = text(&name.to_owned());
            assert_eq!(read, name);
            matches!(read, Cow::Borrowed(_))
        });
        assert_eq!(is_held.map(usize::from).iter().sum::<usize>(), COUNT);
        assert!(is_held[19] && !is_held[0], "the oldest has gone");
    }
}
