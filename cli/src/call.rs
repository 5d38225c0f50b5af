//! Calls and payloads in a line: `fetch("a")`, `now() = 2026-01-02T03:04:05Z`, an error with its causes.
//!
//! Used by `show` and `log`.
//!
//! Invariant: everything that comes from a log is escaped here.

use std::fmt;

use relive_engine::event::ErrorRecord;
use relive_engine::id::Timestamp;
use relive_engine::payload::Payload;
use relive_engine::replay::SLEEP;
use relive_engine::value::Value;

use crate::text::{columns, cut_middle, escaped, excerpt};
use crate::time;

/// A call as one writes it: `fetch("a")`, `summarize(path: "a", words: 3)`, in at most so many columns; arguments are cut
/// where that keeps most of them.
pub(crate) fn call(name: &str, input: &Payload, columns_max: usize) -> String {
    call_of(name, &input.to_value(), columns_max)
}

/// As [`call`], of an input that was read already.
pub(crate) fn call_of(name: &str, input: &Value, columns_max: usize) -> String {
    let name = escaped(name);
    let inside = columns_max.saturating_sub(columns(&name) + 2);
    let arguments = match input {
        Value::Map(entries) if name == SLEEP && entries.len() == 1 => slept(entries),
        Value::Map(entries) => match entries.as_slice() {
            [] => String::new(),
            [(_, only)] => short(only, inside),
            entries => cut_middle(&named(entries, inside), inside),
        },
        other => short(other, inside),
    };
    cut_middle(&format!("{name}({arguments})"), columns_max)
}

/// `text: "a", words: 3`; what is short is whole, and what is long shares the rest.
fn named(entries: &[(Value, Value)], columns_max: usize) -> String {
    let mut room = columns_max.saturating_sub(2 * (entries.len() - 1));
    let mut parts: Vec<(usize, String, &Value)> = entries
        .iter()
        .enumerate()
        .map(|(index, (key, value))| {
            let key = match key {
                Value::Text(text) => escaped(text),
                other => other.to_string(),
            };
            room = room.saturating_sub(columns(&key) + 2);
            (index, key, value)
        })
        .collect();
    let length = |value: &Value| columns(&excerpt(value).0);
    parts.sort_by_cached_key(|(_, _, value)| length(value));
    let count = parts.len();
    let mut shown: Vec<(usize, String)> = Vec::with_capacity(count);
    for (taken, (index, key, value)) in parts.into_iter().enumerate() {
        let value = short(value, (room / (count - taken)).max(3));
        room = room.saturating_sub(columns(&value));
        shown.push((index, format!("{key}: {value}")));
    }
    shown.sort_unstable();
    shown.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(", ")
}

/// A call with nothing left out.
pub(crate) fn whole_call(name: &str, input: &Payload) -> String {
    let name = escaped(name);
    match input.to_value() {
        Value::Map(entries) if name == SLEEP && entries.len() == 1 => format!("{name}({})", slept(&entries)),
        Value::Map(entries) if entries.len() == 1 => {
            entries.first().map_or_else(String::new, |(_, only)| format!("{name}({only})"))
        }
        Value::Map(entries) => {
            let named = entries.iter().map(|(key, value)| match key {
                Value::Text(text) => format!("{}: {value}", escaped(text)),
                other => format!("{other}: {value}"),
            });
            format!("{name}({})", named.collect::<Vec<_>>().join(", "))
        }
        other => format!("{name}({other})"),
    }
}

/// How long a sleep is.
fn slept(entries: &[(Value, Value)]) -> String {
    match entries {
        [(_, Value::Unsigned(micros))] => time::duration(*micros),
        _ => String::new(),
    }
}

fn short(value: &Value, columns_max: usize) -> String {
    match excerpt(value) {
        (text, true) => cut_middle(&text, columns_max),
        // Its end is not known.
        (text, false) => crate::text::cut(&format!("{text}…"), columns_max),
    }
}

/// What an immediate trace returned: the moment as one, chance and ids as one number.
pub(crate) fn immediate_value(name: &str, output: &Payload) -> String {
    let value = output.to_value();
    match (name, &value) {
        ("relive::now", Value::Unsigned(micros)) => {
            i64::try_from(*micros).map_or_else(|_| value.to_string(), |micros| time::rfc_3339(Timestamp(micros)))
        }
        ("relive::now", Value::Negative(micros)) => time::rfc_3339(Timestamp(*micros)),
        ("relive::random", value) => sixteen(value).map_or_else(
            || short(value, 40),
            // Little endian, so that the last digits are those of the integer that the task got.
            |bytes| format!("0x{:032x}", u128::from_le_bytes(bytes)),
        ),
        ("relive::uuid", value) => sixteen(value).map_or_else(|| short(value, 40), uuid),
        _ => short(&value, 40),
    }
}

fn sixteen(value: &Value) -> Option<[u8; 16]> {
    let bytes: Vec<u8> = match value {
        Value::Bytes(bytes) => bytes.clone(),
        Value::List(items) => items
            .iter()
            .map(|item| if let Value::Unsigned(byte) = item { u8::try_from(*byte).ok() } else { None })
            .collect::<Option<_>>()?,
        _ => return None,
    };
    bytes.try_into().ok()
}

/// Recorded are the random bits; the task got them with the marks of version 4.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &hex[part]).join("-")
}

/// An error and its causes on one line.
pub(crate) struct OneLine<'a>(pub(crate) &'a ErrorRecord);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.0.message))?;
        self.0.sources.iter().try_for_each(|source| write!(f, ": {}", escaped(source)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use relive_engine::payload::{Encoding, PayloadCodec, PayloadHook};

    use super::*;

    fn input(entries: &[(&str, &str)]) -> Payload {
        Payload::encode(&entries.iter().copied().collect::<BTreeMap<_, _>>()).unwrap()
    }

    #[test]
    fn one_argument_needs_no_name_and_several_share_the_room() {
        assert_eq!(call("relive::now", &input(&[]), 40), "relive::now()");
        assert_eq!(call("fetch", &input(&[("url", "a")]), 40), "fetch(\"a\")");
        let two = input(&[("a", "0123456789012345678901234567890123456789"), ("b", "x")]);
        assert_eq!(call("f", &two, 40), "f(a: \"012345678901…90123456789\", b: \"x\")");
        assert_eq!(whole_call("f", &two), "f(a: \"0123456789012345678901234567890123456789\", b: \"x\")");
    }

    /// A hook that this program does not have when it reads.
    struct Foreign;

    impl PayloadHook for Foreign {
        fn id(&self) -> u8 {
            199
        }

        fn name(&self) -> &str {
            "foreign"
        }

        fn seal(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
            Ok(bytes.iter().map(|byte| !byte).collect())
        }

        fn open(&self, _bytes: &[u8]) -> Result<Vec<u8>, String> {
            unreachable!("it is not registered")
        }
    }

    #[test]
    fn what_cannot_be_read_without_its_program_shows_as_what_it_is() {
        let bincode = Encoding::DEFAULT.with_codec(Some(PayloadCodec::BINCODE));
        let positional = Payload::encode_with(&bincode, &("a", 7u8)).unwrap();
        assert_eq!(call("fetch", &positional, 40), "fetch({\"bytes\":\"016107\"})");
        assert_eq!(whole_call("fetch", &positional), "fetch({\"bytes\":\"016107\"})");
        let sealed = Payload::encode_with(&Encoding::DEFAULT.with_hook(Arc::new(Foreign)), "a").unwrap();
        assert_eq!(call("fetch", &sealed, 60), "fetch(sealed_by: 199, content: {\"bytes\":\"5e9e\"})");
        assert_eq!(whole_call("fetch", &sealed), "fetch(sealed_by: 199, content: {\"bytes\":\"5e9e\"})");
    }

    #[test]
    fn a_call_fits_its_columns() {
        let long = "漢字\u{1b}".repeat(5000);
        let inputs = [input(&[]), input(&[("a", &long)]), input(&[("a", &long), ("b", "x"), (&long, &long)])];
        for input in &inputs {
            for columns_max in 0..60 {
                let text = call("名前", input, columns_max);
                assert!(columns(&text) <= columns_max && !text.contains('\u{1b}'), "{columns_max}: {text}");
            }
        }
    }

    #[test]
    fn moments_chance_and_ids_are_readable() {
        let payload = |bytes: [u8; 16]| Payload::encode(&bytes).unwrap();
        assert_eq!(immediate_value("relive::random", &payload([1; 16])), "0x01010101010101010101010101010101");
        assert_eq!(immediate_value("relive::uuid", &payload([255; 16])), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let moment = Payload::encode(&1_767_323_045_678_901_i64).unwrap();
        assert_eq!(immediate_value("relive::now", &moment), "2026-01-02T03:04:05.678901Z");
        assert_eq!(immediate_value("relive::now", &Payload::encode("odd").unwrap()), "\"odd\"");
    }
}
