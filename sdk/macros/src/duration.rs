//! Durations as people write them in an attribute: "150ms", "30s", "1h30m".

use std::time::Duration;

/// The units, longest first, with their milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Whole numbers, each with its unit, the longest unit first and each at most once.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let (mut rest, mut units, mut total) = (text, UNITS.as_slice(), 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|sign: char| !sign.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|sign: char| sign.is_ascii_digit()).unwrap_or(rest.len());
        let index = units.iter().position(|(unit, _)| *unit == &rest[..letters])?;
        total = total.checked_add(count.checked_mul(units[index].1)?)?;
        (rest, units) = (&rest[letters..], &units[index + 1..]);
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn each_unit_has_its_length() {
        let lengths = [("150ms", 150), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("2d", 172_800_000)];
        for (text, milliseconds) in lengths.into_iter().chain([("1h30m", 5_400_000), ("0s", 0), ("1s5ms", 1_005)]) {
            assert_eq!(parse(text).map(|duration| duration.as_millis()), Some(milliseconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        let too_long = format!("{}d", u64::MAX);
        for text in ["", "30", "s", "1.5s", "-1s", "30 s", "30sec", "30m1h", "1s1s", " 1s", "1µs", &too_long] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
