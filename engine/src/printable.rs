//! What may be printed as it is: text from a log, or from anyone, that moves no cursor and hides nothing.
//!
//! Used by [`Value`](crate::value::Value) and by the command line, for everything that people read.
//!
//! Invariant: what is escaped here is still JSON inside its quotes.

use std::fmt;

/// Whether a character could do something to a terminal, or to who reads it: control characters, what ends a line or sets the
/// direction of writing, and characters that take no room.
///
/// Not U+200D, which joins emoji, nor U+200C, which some scripts need.
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// A character written out as JSON has it: `\u001b`, and above U+FFFF as two of these.
#[derive(Clone, Copy, Debug)]
pub struct WrittenOut(pub char);

impl fmt::Display for WrittenOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '\n' => f.write_str("\\n"),
            '\r' => f.write_str("\\r"),
            '\t' => f.write_str("\\t"),
            other => other.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(f, "\\u{unit:04x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_is_written_out_reads_back_as_json() {
        let odd = "\0\u{1b}\n\r\t\u{7f}\u{9b}\u{61c}\u{200b}\u{200f}\u{2028}\u{202e}\u{2060}\u{2069}\u{feff}\u{e0041}";
        let written: String = odd.chars().map(|character| WrittenOut(character).to_string()).collect();
        assert!(odd.chars().all(is_unsafe) && !written.chars().any(is_unsafe), "{written}");
        assert_eq!(serde_json::from_str::<String>(&format!("\"{written}\"")).unwrap(), odd);
        assert!(!"aä漢👩\u{200d}🚀\u{200c}".chars().any(is_unsafe));
    }
}
