//! Moments and durations, for people and for JSON.
//!
//! Used by every command. A moment is printed in the local time zone, in JSON as RFC 3339 in UTC.
//!
//! Invariant: nothing here fails: a moment that no calendar holds is shown as a number.

use jiff::tz::TimeZone;
use relive_engine::clock::{Clock as _, SystemClock};
use relive_engine::id::Timestamp;

/// Now, by the wall clock.
pub(crate) fn now() -> Timestamp {
    SystemClock::default().now()
}

const MICROS_PER_SECOND: u64 = 1_000_000;

/// `2026-01-02 03:04:05`, local.
pub(crate) fn to_the_second(at: Timestamp, zone: &TimeZone) -> String {
    local(at, zone, "%Y-%m-%d %H:%M:%S")
}

/// `2026-01-02 03:04:05.678901`, local.
pub(crate) fn to_the_microsecond(at: Timestamp, zone: &TimeZone) -> String {
    local(at, zone, "%Y-%m-%d %H:%M:%S.%6f")
}

/// `01-02 03:04:05.678`, local: where there is little room.
pub(crate) fn short(at: Timestamp, zone: &TimeZone) -> String {
    local(at, zone, "%m-%d %H:%M:%S.%3f")
}

/// `2026-01-02 03:04:05 +01:00`: local, and how far that is from UTC.
pub(crate) fn with_offset(at: Timestamp, zone: &TimeZone) -> String {
    local(at, zone, "%Y-%m-%d %H:%M:%S %:z")
}

fn local(at: Timestamp, zone: &TimeZone, format: &str) -> String {
    match jiff::Timestamp::from_microsecond(at.0) {
        Ok(moment) => moment.to_zoned(zone.clone()).strftime(format).to_string(),
        Err(_) => beyond(at),
    }
}

/// `2026-01-02T03:04:05.678901Z`.
pub(crate) fn rfc_3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| beyond(at), |moment| format!("{moment:.6}"))
}

fn beyond(at: Timestamp) -> String {
    format!("{} µs after 1970", at.0)
}

/// Microseconds from one moment to another; 0 if the clock went back in between.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
}

/// The moment so many microseconds later.
pub(crate) fn later(from: Timestamp, micros: u64) -> Timestamp {
    Timestamp(from.0.saturating_add_unsigned(micros))
}

/// A duration with three digits: `812 µs`, `12.3 ms`, `1.23 s`, `2 min 03 s`, `3 h 12 min`, `4 d 03 h`.
pub(crate) fn duration(micros: u64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..MICROS_PER_SECOND => format!("{} ms", three_digits(micros, 1_000)),
        MICROS_PER_SECOND..60_000_000 => format!("{} s", three_digits(micros, MICROS_PER_SECOND)),
        _ if seconds < 3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Cut, not rounded: 999.9 ms is not 1,000 ms.
fn three_digits(number: u64, unit: u64) -> String {
    let whole = number / unit;
    let hundredths = number % unit * 100 / unit;
    match whole {
        0..10 => format!("{whole}.{hundredths:02}"),
        10..100 => format!("{whole}.{}", hundredths / 10),
        _ => whole.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_the_unit_that_fits() {
        let shown = |micros| duration(micros);
        assert_eq!(shown(0), "0 µs");
        assert_eq!(shown(999), "999 µs");
        assert_eq!(shown(1_000), "1.00 ms");
        assert_eq!(shown(12_345), "12.3 ms");
        assert_eq!(shown(999_999), "999 ms");
        assert_eq!(shown(1_234_567), "1.23 s");
        assert_eq!(shown(59_999_999), "59.9 s");
        assert_eq!(shown(123_000_000), "2 min 03 s");
        assert_eq!(shown(11_520_000_000), "3 h 12 min");
        assert_eq!(shown(u64::MAX), "213503982 d 08 h");
    }

    #[test]
    fn moments_are_shown_whatever_they_are() {
        let at = Timestamp(1_767_323_045_678_901);
        assert_eq!(rfc_3339(at), "2026-01-02T03:04:05.678901Z");
        assert_eq!(with_offset(at, &TimeZone::UTC), "2026-01-02 03:04:05 +00:00");
        assert_eq!(to_the_microsecond(at, &TimeZone::fixed(jiff::tz::offset(1))), "2026-01-02 04:04:05.678901");
        assert_eq!(rfc_3339(Timestamp(i64::MAX)), "9223372036854775807 µs after 1970");
        assert_eq!(between(Timestamp(5), Timestamp(i64::MIN)), 0);
        assert_eq!(later(Timestamp(i64::MAX), u64::MAX), Timestamp(i64::MAX));
    }
}
