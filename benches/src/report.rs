//! What was measured, for people (a table) and for programs (one line of JSON).
//!
//! Invariant: a figure that has a bound says whether it holds, and if not, by how much it is missed.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize};

use crate::samples::Samples;

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    /// Smaller is better.
    AtMost(f64),
    /// Larger is better.
    AtLeast(f64),
}

/// One thing that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// Its name in the JSON.
    pub key: Cow<'static, str>,
    /// What it is, for people. Its unit is in it.
    pub what: String,
    /// The median, or the value itself. Not a number if it was not measured: `null` in the JSON.
    #[serde(deserialize_with = "or_no_number")]
    pub value: f64,
    /// p25 and p75 of what `value` is the median of.
    pub spread: Option<(f64, f64)>,
    /// What it should be.
    pub bound: Option<Bound>,
}

impl Figure {
    /// A single value.
    pub fn new(key: impl Into<Cow<'static, str>>, what: impl Into<String>, value: f64) -> Self {
        Self { key: key.into(), what: what.into(), value, spread: None, bound: None }
    }

    /// One that was not measured; `what` says why.
    pub(crate) fn absent(key: impl Into<Cow<'static, str>>, what: impl Into<String>) -> Self {
        Self::new(key, what, f64::NAN)
    }

    /// The median of samples.
    pub(crate) fn of(key: impl Into<Cow<'static, str>>, what: impl Into<String>, samples: &Samples) -> Self {
        Self { spread: Some(samples.spread()), ..Self::new(key, what, samples.median()) }
    }

    pub(crate) fn spread_of(mut self, samples: &Samples) -> Self {
        self.spread = Some(samples.spread());
        self
    }

    pub(crate) fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    /// Whether it is what it should be, in words; empty if nothing is asked of it.
    fn verdict(&self) -> String {
        let (holds, sign, bound) = match self.bound {
            None => return String::new(),
            Some(Bound::AtMost(bound)) => (self.value <= bound, '≤', bound),
            Some(Bound::AtLeast(bound)) => (self.value >= bound, '≥', bound),
        };
        let asked = format!("{sign} {}", number(bound));
        if holds {
            return format!("{asked}: holds");
        }
        let off = (self.value / bound - 1.0) * 100.0;
        format!("{asked}: missed by {:.0} % ({})", off.abs(), number((self.value - bound).abs()))
    }
}

/// JSON has no word for what is not a number but `null`.
fn or_no_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// All figures, one to a line.
pub fn table(figures: &[Figure]) -> String {
    let mut out = String::new();
    let wide = figures.iter().map(|figure| figure.what.chars().count()).max().unwrap_or_default();
    // Writing to a string does not fail.
    let _ = writeln!(out, "{:wide$}  {:>10}  {:>23}", "", "median", "p25 – p75");
    for figure in figures {
        let spread = figure.spread.map(|(low, high)| format!("{} – {}", number(low), number(high)));
        let (value, verdict) = (number(figure.value), figure.verdict());
        let line = format!("{:wide$}  {value:>10}  {:>23}  {verdict}", figure.what, spread.unwrap_or_default());
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// `bench: {…}`: the values by their keys, in one line.
pub fn json_line(figures: &[Figure]) -> String {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let object: serde_json::Map<_, _> =
        figures.iter().map(|figure| (figure.key.clone().into_owned(), rounded(figure.value).into())).collect();
    format!("bench: {}", serde_json::Value::from(object))
}

/// Three digits that count, or all before the point; thousands set apart.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    let decimals = match value.abs() {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    let plain = format!("{value:.decimals$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left.is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_whole_from_another_process() {
        let spread = Some((1.0, 2.5));
        let figures = [
            Figure { spread, ..Figure::new("a", "A", 1.0 / 3.0).bound(Bound::AtMost(7.0)) },
            Figure::absent("b", "B: not built"),
        ];
        let text = serde_json::to_string(&figures).unwrap();
        let back: Vec<Figure> = serde_json::from_str(&text).unwrap();
        assert_eq!((table(&back), json_line(&back)), (table(&figures), json_line(&figures)));
        assert_eq!((back[0].value, back[0].spread, back[0].bound), (1.0 / 3.0, spread, Some(Bound::AtMost(7.0))));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [1.234, 12.34, 123.4, 1234.5, 1_234_567.0].map(number),
            ["1.23", "12.3", "123", "1,234", "1,234,567"]
        );
    }

    #[test]
    fn a_missed_bound_says_by_how_much() {
        let figure = Figure::new("ratio", "ratio", 1.56).bound(Bound::AtMost(1.3));
        assert_eq!(figure.verdict(), "≤ 1.30: missed by 20 % (0.26)");
        let figure = Figure::new("rate", "rate", 50_000.0).bound(Bound::AtLeast(100_000.0));
        assert_eq!(figure.verdict(), "≥ 100,000: missed by 50 % (50,000)");
        assert_eq!(figure.bound(Bound::AtMost(60_000.0)).verdict(), "≤ 60,000: holds");
    }

    #[test]
    fn the_line_for_programs_is_json_behind_its_name() {
        let figures = [Figure::new("a", "A", 1.23456), Figure::new("b", "B", 7.0), Figure::absent("c", "C: not built")];
        assert_eq!(json_line(&figures), r#"bench: {"a":1.235,"b":7.0,"c":null}"#);
        assert!(
            table(&figures).lines().last().is_some_and(|line| line.starts_with("C: not built") && line.ends_with('–'))
        );
    }
}
