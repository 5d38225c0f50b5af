//! What probably made a value differ: a clock, randomness, the order of a map.
//!
//! Called by `diagnose` with the log's value and those of several replays.
//!
//! Invariant: decided from the values and two moments alone; no I/O, no clock.

use crate::id::Timestamp;
use crate::value::Value;

/// How far a value may be from a moment to be taken for it: 2 days, so that dates and other time zones count.
const NEAR_MICROS: i128 = 2 * 24 * 3600 * 1_000_000;

/// Whether two values have the same parts in another order: lists with the same items, texts with the same words.
pub(super) fn is_reordered(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::List(a), Value::List(b)) if a.len() == b.len() && a.len() > 1 => {
            let sorted = |items: &[Value]| {
                let mut texts: Vec<String> = items.iter().map(ToString::to_string).collect();
                texts.sort_unstable();
                texts
            };
            // Only a place may differ, not a part: else it is looked for further down.
            (old != new && sorted(a) == sorted(b)) || parts(a.iter().zip(b))
        }
        (Value::Map(a), Value::Map(b)) if a.len() == b.len() => {
            let find = |key: &Value| b.iter().find(|(other, _)| other == key).map(|(_, value)| value);
            let pairs: Option<Vec<_>> = a.iter().map(|(key, value)| Some((value, find(key)?))).collect();
            pairs.is_some_and(|pairs| parts(pairs.into_iter()))
        }
        (Value::Text(a), Value::Text(b)) => {
            let words = |text: &str| {
                let parts = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
                let mut words: Vec<String> = parts.map(str::to_owned).collect();
                words.sort_unstable();
                words
            };
            a != b && words(a).len() > 1 && words(a) == words(b)
        }
        _ => false,
    }
}

/// Whether all pairs are the same or reordered, and one of them is reordered.
fn parts<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>) -> bool {
    let mut any = false;
    for (old, new) in pairs {
        if old.first_difference(new).is_none() {
            continue;
        }
        if !is_reordered(old, new) {
            return false;
        }
        any = true;
    }
    any
}

/// Whether one value is a moment about when the log was written, and the other one about now.
pub(super) fn are_moments(old: &Value, new: &Value, logged_at: Timestamp, now: Timestamp) -> bool {
    match (old, new) {
        (Value::Text(old), Value::Text(new)) => {
            let (old, new) = differing(old, new);
            text_moment(old).is_some_and(|old| near(old, logged_at))
                && text_moment(new).is_some_and(|new| near(new, now))
                || number(old).zip(number(new)).is_some_and(|(old, new)| in_one_unit(old, new, logged_at, now))
        }
        (old, new) => scalar(old).zip(scalar(new)).is_some_and(|(old, new)| in_one_unit(old, new, logged_at, now)),
    }
}

fn scalar(value: &Value) -> Option<f64> {
    match value {
        Value::Unsigned(number) => Some(*number as f64),
        Value::Negative(number) => Some(*number as f64),
        Value::Float(number) if number.is_finite() => Some(*number),
        _ => None,
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Whether two numbers are moments since 1970 in seconds, milliseconds, microseconds or nanoseconds.
fn in_one_unit(old: f64, new: f64, logged_at: Timestamp, now: Timestamp) -> bool {
    [1e6, 1e3, 1.0, 1e-3]
        .into_iter()
        .any(|micros| near((old * micros) as i128, logged_at) && near((new * micros) as i128, now))
}

fn near(micros: i128, at: Timestamp) -> bool {
    (micros - i128::from(at.0)).abs() < NEAR_MICROS
}

/// The parts of two texts in which they differ, with what belongs to the same number or date around them.
fn differing<'a>(old: &'a str, new: &'a str) -> (&'a str, &'a str) {
    let belongs = |c: char| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | 'T' | 'Z' | '+' | ' ');
    let same = old.chars().zip(new.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum::<usize>();
    let start = old[..same].trim_end_matches(belongs).len();
    let (old, new) = (&old[start..], &new[start..]);
    let token = |text: &'a str| {
        let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
        text[..end].trim_matches(|c| matches!(c, '-' | ':' | '.' | '+' | ' '))
    };
    (token(old), token(new))
}

/// A moment written as ISO 8601 has it, in microseconds since 1970; the time and the zone may be missing.
fn text_moment(text: &str) -> Option<i128> {
    let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let is_dash = |at: usize| text.as_bytes().get(at) == Some(&b'-');
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    if !is_dash(4) || !is_dash(7) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Zones are within what counts as near, and so is the time of day where it cannot be read.
    let seconds = digits(11..13).zip(digits(14..16)).map_or(0, |(hour, minute)| hour * 3600 + minute * 60);
    Some(i128::from(days_since_1970(year, month, day) * 86_400 + seconds) * 1_000_000)
}

/// Days between 1970-01-01 and a day of the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // From 0000-03-01 to 1970-01-01.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_same_parts_in_another_order_are_found_wherever_they_are() {
        let reordered = |a, b| is_reordered(&value(a), &value(b));
        assert!(reordered("[1,2,3]", "[3,1,2]"));
        assert!(reordered(r#"{"of":["a","b"],"n":1}"#, r#"{"n":1,"of":["b","a"]}"#));
        assert!(reordered(r#""a=1, b=2""#, r#""b=2, a=1""#));
        assert!(!reordered("[1,2,3]", "[1,2,4]"));
        assert!(!reordered("[1,2]", "[1,2]"));
        assert!(!reordered(r#"{"of":["a","b"],"n":1}"#, r#"{"of":["b","a"],"n":2}"#));
        assert!(!reordered(r#""a""#, r#""b""#));
    }

    #[test]
    fn moments_are_known_in_every_unit_and_in_texts() {
        // 2026-01-02 03:04:05 and 100 days later.
        let (logged, now) = (Timestamp(1_767_323_045_000_000), Timestamp(1_775_963_045_000_000));
        let moments = |a, b| are_moments(&value(a), &value(b), logged, now);
        assert!(moments("1767323045", "1775963045"));
        assert!(moments("1767323045123", "1775963045123"));
        assert!(moments("1767323045.25", "1775963045.5"));
        assert!(moments("1767323045123456789", "1775963045123456789"));
        assert!(moments(r#""2026-01-02""#, r#""2026-04-12""#));
        assert!(moments(r#""report-2026-01-02T03:04:05Z.pdf""#, r#""report-2026-04-12T03:04:05Z.pdf""#));
        assert!(moments(r#""at 1767323045""#, r#""at 1775963045""#));
        assert!(!moments("1", "2"));
        assert!(!moments("1775963045", "1767323045"), "the log does not know the future");
        assert!(!moments(r#""2026-13-02""#, r#""2026-04-12""#));
        assert!(!moments(r#""ä1""#, r#""ö2""#));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
        assert_eq!(days_since_1970(2026, 1, 2), 20_455);
    }
}
