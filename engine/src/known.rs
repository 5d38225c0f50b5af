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
    static KNOWN: Known = const { Known { texts: [const { Cell::new("") }; COUNT], next: Cell::new(0) } };
}

struct Known {
    texts: [Cell<&'static str>; COUNT],
    /// Which of them goes next.
    next: Cell<usize>,
}

/// Notes a text of the program's, for what this thread reads from here on.
#[expect(clippy::ptr_arg, reason = "whether it is the program's own counts")]
pub(crate) fn note(text: &Cow<'static, str>) {
    let Cow::Borrowed(text) = *text else { return };
    KNOWN.with(|known| {
        if !known.texts.iter().any(|held| std::ptr::eq(held.get(), text)) {
            known.texts[known.next.get()].set(text);
            known.next.set((known.next.get() + 1) % COUNT);
        }
    });
}

/// The text that was read as these bytes: the program's own, if it is known. Nothing if they are no UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Option<Cow<'static, str>> {
    let held = KNOWN.with(|known| known.texts.iter().map(Cell::get).find(|held| held.as_bytes() == bytes));
    match held {
        Some(held) => Some(Cow::Borrowed(held)),
        None => std::str::from_utf8(bytes).ok().map(|text| Cow::Owned(text.to_owned())),
    }
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
            Ok(self::text(text.as_bytes()).unwrap_or_else(|| Cow::Owned(text.to_owned())))
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
            let read = text(name.to_owned().as_bytes()).unwrap();
            assert_eq!(read, name);
            matches!(read, Cow::Borrowed(_))
        });
        assert_eq!(is_held.map(usize::from).iter().sum::<usize>(), COUNT);
        assert!(is_held[19] && !is_held[0], "the oldest has gone");
        assert_eq!(text(b"\xff"), None);
    }
}
