//! Moments as people write them: how long ago, or when.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};
use relive_engine::id::Timestamp;

use crate::time::rfc_3339;

/// A moment, before it is known what the time is.
#[derive(Clone, Debug)]
pub(super) enum Moment {
    /// So long ago.
    Ago(Box<Span>),
    /// Then.
    At(Timestamp),
}

impl Moment {
    /// The moment itself. What no calendar holds is the beginning of time.
    pub(super) fn at(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => *at,
            Self::Ago(span) => {
                let before = || -> Result<Timestamp, jiff::Error> {
                    let now = jiff::Timestamp::from_microsecond(now.0)?.to_zoned(TimeZone::system());
                    Ok(Timestamp(now.checked_sub(**span)?.timestamp().as_microsecond()))
                };
                before().unwrap_or(Timestamp(i64::MIN))
            }
        }
    }
}

impl fmt::Display for Moment {
    /// As it can be written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => f.write_str(&rfc_3339(*at)),
            Self::Ago(span) => write!(f, "{span:#}"),
        }
    }
}

/// Reads `2h`, `3d`, `1w 12h`; `2026-01-31` (its midnight) and `2026-01-31T08:00`, both local; `2026-01-31T07:00:00Z`.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    let text = text.trim();
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Moment::At(Timestamp(at.as_microsecond())));
    }
    if let Ok(local) = text.parse::<DateTime>() {
        let zoned: Zoned = local.to_zoned(TimeZone::system()).map_err(|error| error.to_string())?;
        return Ok(Moment::At(Timestamp(zoned.timestamp().as_microsecond())));
    }
    match text.parse::<Span>() {
        Ok(span) if !span.is_negative() => Ok(Moment::Ago(Box::new(span))),
        _ => Err("how long ago (`2h`, `3d`, `1w 12h`) or when (`2026-01-31`, `2026-01-31T08:00`, \
             `2026-01-31T07:00:00Z`)"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-10 12:00:00 UTC.
    const NOW: Timestamp = Timestamp(1_773_144_000_000_000);

    fn at(text: &str) -> i64 {
        moment(text).unwrap().at(NOW).0 / 1_000_000
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        assert_eq!(at("2h"), 1_773_144_000 - 2 * 3600);
        assert_eq!(at("90 minutes"), 1_773_144_000 - 90 * 60);
        assert_eq!(at("2026-01-02T03:04:05Z"), 1_767_323_045);
        assert_eq!(at("2026-01-02T03:04:05+01:00"), 1_767_323_045 - 3600);
        // Local: at most a day from UTC, on a full minute.
        assert!((at("2026-01-02") - 1_767_312_000).abs() < 86_400 && at("2026-01-02") % 60 == 0);
        assert_eq!(at("2026-01-02T08:00") - at("2026-01-02"), 8 * 3600);
        assert_eq!(moment("20000 years").map(|moment| moment.at(NOW)).ok(), None);
    }

    #[test]
    fn what_is_no_moment_is_refused_with_examples() {
        for wrong in ["", "yesterday", "-2h", "2026-02-30", "5"] {
            assert!(moment(wrong).unwrap_err().contains("2026-01-31"), "{wrong}");
        }
    }
}
